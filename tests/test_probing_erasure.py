"""What a label's erasure from states leaves to be read."""

from __future__ import annotations

import json

import pytest
import torch
from edited_pairs import RECIPE, small_model

from karel_fast.data import Tokenizer, generate
from karel_fast.model import Capture
from karel_fast.model.decode import write_programs
from karel_fast.model.scoring import hidden_states
from karel_fast.probing.edits.erasing import METHODS, Erasing
from karel_fast.probing.edits.erasure import fit_eraser, readable
from karel_fast.training.written import generated_programs, satisfied


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(RECIPE)


def test_what_is_erased_cannot_be_read():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (600,), generator=generator)
    z = torch.eye(4)[labels]
    x = torch.randn(600, 3, 12, generator=generator)
    x[:, 1] += z @ torch.randn(4, 12, generator=generator) * 3  # the second token says it
    eraser, random = fit_eraser(x, z), fit_eraser(x, z, torch.Generator().manual_seed(1))
    assert eraser.rank.tolist() == random.rank.tolist() == [3, 3, 3]
    erased = eraser(x)
    crossed = torch.einsum("ntd,nz->tdz", erased - erased.mean(0), z - z.mean(0)) / 600
    assert crossed.abs().max() < 1e-4
    assert readable(x, z, x, z, 4)[1] > 0.95
    assert readable(erased, z, erased, z, 4).max() < 0.35
    assert readable(random(x), z, random(x), z, 4)[1] > 0.6
    torch.testing.assert_close(eraser(erased), erased, atol=1e-3, rtol=1e-3)
    # It moves states least of all that do: an orthogonal projection off the means moves them further.
    span = torch.linalg.svd((z - z.mean(0)).mT @ (x[:, 1] - x[:, 1].mean(0)), full_matrices=False).Vh[:3]
    moved = ((x[:, 1] - x[:, 1].mean(0)) @ span.mT).norm() ** 2
    assert (erased - x)[:, 1].norm() ** 2 <= moved * 1.001


def test_tokens_that_never_vary_are_left_alone():
    x = torch.ones(50, 2, 6)
    eraser = fit_eraser(x, torch.eye(4)[torch.arange(50) % 4])
    assert eraser.rank.tolist() == [0, 0]
    assert torch.equal(eraser(x), x)


def test_erasing_layers_of_a_model(tokenizer, monkeypatch):
    model, test = small_model(tokenizer), generate(RECIPE, "test", 0, 20)
    written, edits = [], []

    def spied(*arguments, intervention, **settings):
        edits.append(intervention)
        written.append(write_programs(*arguments, intervention=intervention, **settings))
        return written[-1]

    monkeypatch.setattr("karel_fast.probing.edits.erasing.write_programs", spied)
    records = Erasing(model, tokenizer, generate(RECIPE, "train", 0, 80), test, seed=0).records([0, 1])
    assert [(r["method"], r["layers"]) for r in records] == [
        ("nothing", []), *((method, layers) for layers in ([0], [1], [0, 1]) for method in METHODS)
    ]  # fmt: skip
    json.dumps(records, allow_nan=False)
    assert edits[0] is None
    for record, edit, made in zip(records, edits, written, strict=True):
        right = satisfied(generated_programs(tokenizer, made), test)[0] & made.finished
        assert record["satisfied"] == pytest.approx(right.mean(), abs=1e-6)
        if edit is not None:
            assert list(edit.layers) == record["layers"]
            assert 0 < record["variance"] < 1
            assert 0 < record["base"] < 1
    prompts = tokenizer.encode_prompts(test)
    [own] = hidden_states(model, prompts, Capture([0], torch.arange(prompts.shape[1])), compile=False)
    assert not torch.allclose(edits[1].values[:, :, 0], own[:, :, 0], atol=1e-3)
