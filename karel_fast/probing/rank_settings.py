"""The settings of `karel-fast rank`, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from karel_fast.probing.features import sources_of
from karel_fast.probing.settings import Grid, ProbeConfig, ProbeRun
from karel_fast.support.settings import keep_whole, named, part, setting, to_json


@named
@dataclass(frozen=True)
class RankRun:
    """Which probes are trained under every bijective mapping of the actions, and on which programs.

    The settings are those of `ProbeRun` and `Grid`, with meanings left out: they are all mappings.
    """

    config: ProbeConfig = part(ProbeConfig)
    features: tuple[str, ...] = setting(("direction",), "What is read: features.")
    depths: Mapping[str, tuple[int, ...]] = setting(
        {"linear": (), "mlp1": (256,)}, "Probes: linear, mlp1, mlp2; or others by their hidden units, as narrow=64+32."
    )
    offsets: tuple[int, ...] = setting((0, 1), "States before (-) or after (+) the predicted action's.")
    seeds: tuple[int, ...] = setting((0, 1, 2), "Of the probes' weights and order of rows.")
    programs: Mapping[str, int] = setting(
        {"train": 4_000, "validation": 400, "test": 1_000},
        "Specifications per split that the model writes programs for.",
    )
    test_start: int = setting(
        10_000_000, "First specification of the test split to use: take a slice that no choice was made on."
    )
    max_rows: Mapping[str, int] = setting(
        {"train": 100_000, "validation": 10_000, "test": 10_000}, "Most rows taken per split."
    )
    initialisations: int = setting(1, "How many untrained models, each with weights of its own (0: none).")
    labelings_at_once: int = setting(10, "Meanings probed per piece: a killed call loses at most one piece.")

    def __post_init__(self) -> None:
        keep_whole(self, ("initialisations",), 0)
        keep_whole(self, ("labelings_at_once",), 1)
        checked = self.probe_run()
        for name in ("depths", "offsets", "seeds", "max_rows"):
            object.__setattr__(self, name, getattr(checked.grid, name))
        for name in ("programs", "test_start"):
            object.__setattr__(self, name, getattr(checked, name))

    def grid(self, semantics: tuple[str, ...], features: tuple[str, ...] | None = None) -> Grid:
        """The probes of some meanings; no controls."""
        return Grid(
            features=features or self.features,
            depths=self.depths,
            offsets=self.offsets,
            semantics=semantics,
            seeds=self.seeds,
            max_rows=self.max_rows,
            shuffled=False,
            control_task=False,
        )

    def probe_run(self) -> ProbeRun:
        """What decides the tables of hidden states."""
        return ProbeRun(
            grid=self.grid(("original",)),
            config=self.config,
            programs=self.programs,
            test_start=self.test_start,
            untrained=self.initialisations > 0,
            initialisations=max(1, self.initialisations),
            examples=0,
        )

    def to_json(self) -> dict[str, Any]:
        return {**to_json(self), "config": self.config.to_json(), **sources_of(self.features)}
