"""The bits of samples and token rows, of the published recipes and of some of one's own, in both layouts."""

import hashlib

import pytest

from karel_fast import Semantics
from karel_fast.data import ControlFlow, Recipe, Tokenizer, generate
from karel_fast.karel.backends import available_backends

RECIPES = {
    "paper": Recipe.paper(),
    "paper-short": Recipe.paper_short(),
    "colm": Recipe.colm(),
    "control-flow": Recipe.control_flow(),
    "small": Recipe(height=5, width=6, examples=2, held_out=1, lengths=(1, 9), avoid_noops=True, semantics="adversarial"),
    "blocks": Recipe(
        height=6, width=5, examples=3, held_out=0, lengths=(3, 8), semantics=Semantics(move="turn_left"), seed=2**63,
        split_by="program", action_weights=(1, 2, 3, 4, 5),
        control=ControlFlow(
            while_weight=3, repeat_weight=2, condition_weights=(1, 0, 2, 0, 3), negate=False, depth=3, repeat_counts=(0, 12)
        ),
    ),
}  # fmt: skip

GOLDEN = {
    "paper": "cbae1fbba3f98b646f1c0b26",
    "paper-short": "a3ce8a77f62096cd625070ea",
    "colm": "76170d60c632e199fb80dffb",
    "control-flow": "d4146b9799977009091aed6d",
    "small": "8bb2d31a9801833f1330f760",
    "blocks": "c3c7543467fe4ba795545e85",
}


def digest_of(recipe: Recipe, backend: str) -> str:
    """SHA-256, cut short, over 200 samples' arrays and their token rows in both layouts."""
    samples = generate(recipe, "val", start=7, count=200, backend=backend)
    parts = [samples.symbols, samples.lengths.astype("<i4")]
    parts += [
        array for worlds in (samples.inputs, samples.outputs) for array in (worlds.walls, worlds.markers, worlds.robot)
    ]
    parts += [Tokenizer(recipe, layout=layout).encode(samples).astype("<u2") for layout in ("compact", "reference")]
    total = hashlib.sha256()
    for part in parts:
        total.update(f"{part.dtype.str}{part.shape}".encode() + part.tobytes())
    return total.hexdigest()[:24]


@pytest.mark.parametrize("backend", [name for name in available_backends() if name != "reference"])
@pytest.mark.parametrize("name", RECIPES)
def test_golden(name, backend):
    """If this fails the data has changed: restore it, or raise GENERATOR_VERSION and store new digests."""
    assert digest_of(RECIPES[name], backend) == GOLDEN[name]
