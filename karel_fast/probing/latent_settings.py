"""The settings of `karel-fast latent`, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from karel_fast.probing.features import CODE_FEATURES, sources_of
from karel_fast.probing.settings import DEPTHS, Grid, ProbeConfig, check_splits
from karel_fast.support.checks import distinct, one_of
from karel_fast.support.settings import keep_all_whole, keep_whole, named, part, setting, to_json

REFERENCE_TOKENS = 3
"""Tokens of an action in the published code's text, in which offsets are counted."""

POSITIONS = {"ends": (0, 2), "start": (0,), "middle": (1,), "end": (2,)}
"""Which thirds of a program's actions each set of training positions has."""

ACTIONS = 15
"""Of every program of `Recipe.colm`."""


@named
@dataclass(frozen=True)
class LatentGrid:
    """The grid of Jin & Rinard (COLM 2024): probes of a model that reads programs it was not trained on, outputs withheld.

    `Grid` and `ProbeRun` say what the shared settings mean. Only the specification's first world is read, as there.
    """

    config: ProbeConfig = part(ProbeConfig)
    features: tuple[str, ...] = setting(CODE_FEATURES, "What is read: features.")
    depths: Mapping[str, tuple[int, ...]] = setting(
        DEPTHS, "Probes: linear, mlp1, mlp2; or others by their hidden units, as narrow=64+32."
    )
    token_offsets: tuple[int, ...] = setting(
        (-1, -2, -3, -6, -9), "How far back states are read, in tokens of the reference layout (three an action)."
    )
    semantics: tuple[str, ...] = setting(
        ("original", "map8", "map11"), "Names of meanings; or written>performed pairs joined by +."
    )
    seeds: tuple[int, ...] = setting((0, 1, 2, 3, 4), "Of the probes' weights and order of rows.")
    withhold: tuple[str, ...] = setting(("input", "space"), "What stands in place of the outputs: input, space.")
    learn_on: tuple[str, ...] = setting(
        ("ends", "start", "middle", "end"),
        "Thirds of a program that probes learn on: start, middle, end, or ends (first and last); tested on all.",
    )
    actions: int | None = setting(
        None, "Actions of every program (default: 15, or as many as the model's context holds)."
    )
    programs: Mapping[str, int] = setting(
        {"train": 2_000, "validation": 250, "test": 600}, "Programs per split that the model reads."
    )
    test_start: int = setting(
        10_000_000, "First specification of the test split to use: take a slice that no choice was made on."
    )
    initialisations: int = setting(0, "How many untrained models to probe likewise, each with weights of its own.")

    def __post_init__(self) -> None:
        for name in ("token_offsets", "withhold", "learn_on"):
            if not getattr(self, name):
                raise ValueError(f"LatentGrid.{name} is empty: name at least one")
            distinct(name, getattr(self, name))
        keep_all_whole(self, ("token_offsets",), -1000)
        for offset in self.token_offsets:
            if offset >= 0:
                raise ValueError(f"token offset {offset}: only states back are read here; use a number below 0")
        for name in self.withhold:
            one_of("withhold", name, ("input", "space"))
        for name in self.learn_on:
            one_of("learn_on", name, POSITIONS)
        keep_whole(self, ("actions",), 3, 200)
        keep_whole(self, ("initialisations", "test_start"), 0)
        object.__setattr__(self, "programs", check_splits("programs", self.programs))
        checked = self.grid(-1, (0, 1, 2), 0)
        for name in ("depths", "seeds"):
            object.__setattr__(self, name, getattr(checked, name))

    def grid(self, offset: int, learn_on: tuple[int, ...], longest: int) -> Grid:
        """The probes of states `offset` actions back, learnt where the state is that after one of the actions `learn_on`."""
        rows = tuple(action - offset for action in learn_on if action - offset < longest or not longest)
        return Grid(
            features=self.features,
            depths=self.depths,
            offsets=(offset,),
            semantics=self.semantics,
            seeds=self.seeds,
            actions={"train": rows},
            last_state=True,
            worlds="first",
            shuffled=False,
            control_task=False,
        )

    def to_json(self) -> dict[str, Any]:
        return {**to_json(self), "config": self.config.to_json(), **sources_of(self.features)}


def place_of(token_offset: int, tokens_per_action: int) -> tuple[int, int]:
    """(actions back, tokens into the action): where a layout's model has read what the reference layout's has.

    -3 is the state that predicts the action after the one asked about; -1 and -2 are inside that action's own tokens, once it
    is read. A layout with one token an action has no such place: there all three are one.
    """
    back, inside = divmod(-token_offset, REFERENCE_TOKENS)
    inside = min(inside, tokens_per_action)
    return (back + 1, 0) if inside == tokens_per_action else (back, inside)


def positions_of(name: str, actions: int) -> tuple[int, ...]:
    """The actions of a set of training positions, from 0: of 15, 0-4, 5-9 and 10-14 are the thirds."""
    edges = [actions * third // 3 for third in range(4)]
    return tuple(a for third in POSITIONS[name] for a in range(edges[third], edges[third + 1]))
