"""The settings of `karel-fast steer`, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from karel_fast.probing.settings import Layers, check_layers
from karel_fast.support.checks import distinct, one_of
from karel_fast.support.settings import keep_all_whole, keep_real, keep_whole, named, setting, to_json

KINDS = ("turned", "moved", "marked", "ending", "written")
"""What differs between the two specifications of a pair: `karel_fast.probing.edits.pairs` says what each is."""

DIRECTED = ("turned", "written")
"""Those in which robots face elsewhere when the model goes on, and so have another turn to make."""


@named
@dataclass(frozen=True)
class SteerConfig:
    """Which states are edited, on how many counterfactual pairs."""

    kinds: tuple[str, ...] = setting(
        ("turned", "moved", "ending", "written"),
        "What a pair's specifications differ in: the robot's direction (turned), cell (moved), a marker (marked), the outputs (ending), or "
        "actions that are given (written).",
    )
    subspace_kinds: tuple[str, ...] = setting(("turned",), "Kinds of which subspaces are exchanged.")
    layers: Layers = setting("all", "all, or a list of states to edit (0: the embedding).")
    ranks: tuple[int, ...] = setting((1, 2, 4, 8, 16), "Dimensions of the subspaces that are exchanged.")
    choice_pairs: int = setting(48, "Pairs of the val split that the layer and tokens are chosen on.")
    map_pairs: int = setting(64, "Test pairs of each kind that whole states are exchanged of.")
    test_pairs: int = setting(128, "Test pairs of each kind that subspaces are exchanged of.")
    train_pairs: int = setting(500, "Pairs of the train split that subspaces are found on.")
    test_start: int = setting(
        30_000_000, "First specification of the test split to use: take a slice that no choice was made on."
    )
    given: int = setting(4, "For pairs of kind written: how many actions the program already has.")
    carries: float = setting(
        0.9, "Share of programs that must obey a whole swap, for tokens to count as carrying it all."
    )
    rotation_steps: int = setting(200, "Steps of the learned rotation.")
    rotation_batch: int = setting(32, "Pairs that a step of the learned rotation takes.")
    rotation_rate: float = setting(3e-3, "Learning rate of the learned rotation.")
    erased: int = setting(200, "Test specifications to write for with the direction erased; 0: none.")
    erasure_train: int = setting(800, "Specifications that the erasure is fit on.")
    seed: int = setting(0, "Of all random choices: pairs that are drawn, rotations, control subspaces, noise.")

    def __post_init__(self) -> None:
        for name in ("kinds", "subspace_kinds"):
            for kind in getattr(self, name):
                one_of(name, kind, KINDS)
        if not self.kinds:
            raise ValueError("kinds is empty: name at least one")
        for kind in self.subspace_kinds:
            if kind not in DIRECTED:
                raise ValueError(
                    f"subspace_kinds has {kind!r}: only in {' and '.join(DIRECTED)} pairs do robots face elsewhere"
                )
            if kind not in self.kinds:
                raise ValueError(f"subspace_kinds has {kind!r}, which is none of kinds: add it there")
        if isinstance(self.layers, str):
            one_of("layers", self.layers, ("all",))
        else:
            object.__setattr__(self, "layers", check_layers(self.layers))
        if not self.ranks:
            raise ValueError("ranks is empty: name at least one")
        keep_all_whole(self, ("ranks",), 1)
        for name in ("kinds", "subspace_kinds", "ranks"):
            distinct(name, getattr(self, name))
        keep_whole(
            self, ("choice_pairs", "map_pairs", "test_pairs", "rotation_steps", "rotation_batch", "erasure_train"), 1
        )
        keep_whole(self, ("train_pairs",), 20)
        keep_whole(self, ("given",), 2)
        keep_whole(self, ("test_start", "erased", "seed"), 0)
        keep_real(self, ("carries", "rotation_rate"), 0, 1)

    def to_json(self) -> dict[str, Any]:
        return to_json(self)
