"""Subspaces of states: found, exchanged, learnt as rotations, and where that is tried."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from edited_pairs import turned_exchange

from karel_fast.model import Capture
from karel_fast.probing.edits.exchange import Exchange
from karel_fast.probing.edits.rotation import learn_rotation, other_programs
from karel_fast.probing.edits.subspace_rows import choose_site, strangers, subspace_rows
from karel_fast.probing.edits.subspaces import (
    Reading,
    label_probe,
    labels_of,
    means_basis,
    principal_basis,
    probe_basis,
    probe_turn,
    random_basis,
)
from karel_fast.probing.probes.training import ProbeWeights


@pytest.fixture(scope="module")
def exchange() -> Exchange:
    return turned_exchange()


def test_labels_are_where_robots_face_and_how_far_they_turn(exchange):
    base, other = (labels_of(exchange, side, "direction") for side in ("base", "other"))
    assert base.shape == (len(exchange), 2)
    turned = (other - base)[:, 0] % 4
    assert np.array_equal(
        (labels_of(exchange, "base", "turn") - labels_of(exchange, "other", "turn"))[:, 0] % 4, turned
    )


def test_bases_are_orthonormal_and_of_their_rank(exchange):
    mask = exchange.groups["changed"]
    reading = Reading(exchange, 1, mask, "direction")
    matrix = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    probe = ProbeWeights(((matrix, torch.zeros(8)),), torch.zeros(32), torch.ones(32), 2, 1, 4)
    for basis, rank in (
        (means_basis(reading), 6),
        (principal_basis(exchange, 1, mask, 5), 5),
        (probe_basis(probe), 6),
        (random_basis(32, 7, 0), 7),
    ):
        assert basis.shape == (rank, 32)
        torch.testing.assert_close(basis @ basis.mT, torch.eye(rank), atol=1e-4, rtol=0)
    # At the embedding a turned robot is another token, so the means' span holds all of the difference.
    reading = Reading(exchange, 0, mask, "direction")
    difference = (exchange.states("other", 0) - exchange.states("base", 0))[torch.from_numpy(mask)]
    basis = principal_basis(exchange, 0, mask, 3)
    torch.testing.assert_close((difference @ basis.mT) @ basis, difference, atol=1e-4, rtol=1e-4)


def test_both_sides_of_a_pair_are_in_one_part(exchange, monkeypatch):
    """Also where the last pairs have no edited tokens."""
    mask = exchange.groups["changed"].copy()
    mask[5:] = False
    seen = {}

    def spied(states, tasks, parts, **settings):
        seen["parts"] = parts
        return [None]

    monkeypatch.setattr("karel_fast.probing.edits.subspaces.train_probes", spied)
    reading = Reading(exchange, 1, mask, "direction")
    for seed in range(5):
        label_probe(reading, seed)
        base, other = seen["parts"][: len(seen["parts"]) // 2], seen["parts"][len(seen["parts"]) // 2 :]
        assert (base == other).all()


def test_along_a_probe_its_scores_change_places():
    generator = torch.Generator().manual_seed(1)
    layer = (torch.randn(32, 8, generator=generator), torch.randn(8, generator=generator))
    probe = ProbeWeights((layer,), torch.zeros(32), torch.rand(32, generator=generator) + 0.5, 2, 1, 4)
    states = torch.randn(50, 32, generator=generator)
    wanted = np.random.default_rng(0).integers(0, 4, (50, 2))
    present = probe.predict(states)[..., 0]
    scores = probe.logits(states)[:, :, 0].numpy()
    changed = probe.logits(states + probe_turn(probe, states, wanted))[:, :, 0].numpy()
    assert (present == wanted).mean() < 0.5
    np.testing.assert_array_equal(changed.argmax(-1), wanted)
    np.testing.assert_allclose(np.sort(changed, -1), np.sort(scores, -1), atol=2e-3)
    assert (probe_turn(probe, states, present) == 0).all()


def test_strangers_have_the_label_that_is_asked_for(exchange):
    mask, label = exchange.groups["changed"], labels_of(exchange, "other", "turn")[:, 0]
    states = exchange.states("other", 1)
    for alike in (True, False):
        source = strangers(exchange, mask, 1, 0, "turn", alike)
        assert torch.equal(source[torch.from_numpy(~mask)], exchange.states("base", 1)[torch.from_numpy(~mask)])
        for row in range(len(exchange)):
            here = source[row, np.flatnonzero(mask[row])]
            of = [i for i in range(len(exchange)) if torch.equal(states[i, np.flatnonzero(mask[i])], here)]
            if of:
                assert row not in of
                assert ((label[of] == label[row]) == alike).all()


def test_going_on_from_a_state_is_the_model_with_it_set(exchange):
    model = exchange.model
    tokens = torch.from_numpy(exchange.tokens)
    mask = exchange.groups["changed"]
    edit = exchange.swapped(1, mask)
    with torch.no_grad():
        expected = model(tokens, intervention=edit)
        _, states = model(tokens, Capture([1], torch.arange(tokens.shape[1])), intervention=edit)
        later = model.lm_head(model.blocks_from(1, states[:, :, 0], first=3))
        torch.testing.assert_close(later, expected[:, 3:], atol=1e-5, rtol=1e-5)
        unedited = model(tokens, logits_from=3)
        _, states = model(tokens, Capture([0, 1], torch.arange(tokens.shape[1])))
        for layer in (0, 1):
            later = model.lm_head(model.blocks_from(layer, states[:, :, layer], first=3))
            torch.testing.assert_close(later, unedited, atol=0, rtol=0)
    for layer in (-1, model.config.n_layer):
        with pytest.raises(ValueError, match=f"layer is {layer}: of this model, states 0..{model.config.n_layer - 1}"):
            model.blocks_from(layer, states[:, :, 0])


def test_a_rotation_learns_and_leaves_the_model_alone(exchange):
    mask, model = exchange.groups["changed"], exchange.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    start = random_basis(32, 4, 0)
    settings = {"ranks": (1, 4), "batch_size": 16, "learning_rate": 0.03}
    frame = learn_rotation(exchange, 1, mask, start, steps=40, **settings)
    torch.testing.assert_close(frame @ frame.mT, torch.eye(4), atol=1e-4, rtol=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    targets = other_programs(exchange)

    def loss(basis: torch.Tensor) -> float:
        rows = np.concatenate([exchange.tokens, np.maximum(targets, 0)], axis=1)
        with torch.no_grad():
            edit = exchange.swapped(1, mask, basis=basis)
            logits = model(torch.from_numpy(rows), intervention=edit, logits_from=exchange.tokens.shape[1] - 1)[:, :-1]
        wanted = torch.from_numpy(targets)
        return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-1))

    assert loss(frame) < loss(start)
    with pytest.raises(ValueError, match=r"rank 5: the frame has ranks 1\.\.4"):
        learn_rotation(exchange, 1, mask, start, steps=1, **{**settings, "ranks": (5,)})


def test_sites_are_chosen_where_most_obey(exchange):
    def record(layer, group, obeys):
        return {"layer": layer, "group": group, "obeys": obeys}

    records = [
        record(0, "changed", 1.0), record(1, "changed", 0.0), record(0, "output world", 0.0), record(1, "output world", 0.95),
        record(0, "elsewhere", 0.0), record(1, "elsewhere", 0.97), record(0, "input", 0.0), record(1, "input", 0.1),
        record(0, "all", 1.0), record(1, "all", 1.0), record(0, "none", 0.0),
    ]  # fmt: skip
    site = choose_site(records, exchange.groups, 0.9)
    assert (site.layer, site.group, site.wrong_group) == (1, "output world", "changed")
    deeper = [*records, record(2, "output world", 0.2), record(3, "output world", 0.1)]
    assert choose_site(deeper, exchange.groups, 0.9).wrong_layer == 3
    assert choose_site(records, exchange.groups, 1.0).group == "elsewhere"
    assert choose_site([r for r in records if r["layer"] == 0], exchange.groups, 0.9).group == "changed"


def test_controls_change_no_state_of_the_right_tokens(exchange):
    """Each row edits what it says it does."""
    site = choose_site(
        [{"layer": layer, "group": group, "obeys": float(group == "output world" and layer)} for layer in (0, 1)
         for group in ("changed", "output world", "input")], exchange.groups, 0.9,
    )  # fmt: skip
    frames = {"learned": random_basis(32, 4, 1), "learned elsewhere": random_basis(32, 4, 2)}
    rows = list(subspace_rows(exchange, exchange, site, frames, (1, 4), 0))
    assert len({(w["method"], w.get("source"), w["rank"], w["layer"], w["group"]) for w, _ in rows}) == len(rows)
    for what, edit in rows:
        assert list(edit.layers) == [what["layer"]]
        base = exchange.states("base", what["layer"])
        outside = torch.from_numpy(~exchange.groups[what["group"]])
        assert torch.equal(edit.values[:, :, 0][outside], base[outside])
        if edit.basis is not None:
            assert edit.basis.shape[1] == what["rank"]
