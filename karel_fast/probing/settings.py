"""Everything that decides what probes are trained on what: the settings of `karel-fast probe`, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from karel_fast.karel.language.semantics import resolve_meaning
from karel_fast.probing.features import PAPER_FEATURES, resolve_feature

SPLITS = ("train", "validation", "test")

Layers = str | Sequence[int]
"""What `Capture` takes: "mean", or a list of states (0 the embedding, i after block i)."""

DEPTHS: dict[str, tuple[int, ...]] = {"linear": (), "mlp1": (256,), "mlp2": (256, 1024)}
"""Hidden units per depth. The published code's probes with one and two hidden layers have these sizes."""


@dataclass(frozen=True)
class ProbeConfig:
    """How probes are trained.

    epochs; least_steps (few rows are gone through more often, until that many steps were made, and then validated
    some twenty times in all), batch_size (rows), learning_rate (peak; rises over the first twentieth of the steps,
    then falls linearly to nothing), weight_decay (AdamW, matrices only), precision "float32" or "bfloat16" (matrix
    products only; weights, loss and optimiser stay float32), group_bytes (memory for one group of probes; it changes
    speed only).
    """

    epochs: int = 6
    least_steps: int = 1000
    batch_size: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    precision: str = "float32"
    group_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "least_steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"ProbeConfig.{name} must be at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"ProbeConfig.learning_rate must be above 0, got {self.learning_rate}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"ProbeConfig.precision must be 'float32' or 'bfloat16', got {self.precision!r}")


@dataclass(frozen=True)
class Grid:
    """Which probes to train. `layers` are names out of the table's, None for all it has.

    programs: "all", "correct" or "wrong" ones. actions: per split, which of a program's actions give rows (from 0;
    all of a split not named): to learn on some positions and be tested on others. max_rows: most rows taken per
    split. first_state, last_state: also the states that the specification shows. shuffled, control_task: add
    the shuffled-label control, and that of a label fixed per last three actions, at offset 0 under every semantics (see
    `karel_fast.probing.controls`). split_by: "specification", or "program" (no program, and none that begins with the
    same three actions, in two of the splits; half of the train split's beginnings stay, 15 % of validation's, 35 % of
    test's).
    """

    features: tuple[str, ...] = PAPER_FEATURES
    depths: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: dict(DEPTHS))
    offsets: tuple[int, ...] = (-2, -1, 0, 1, 2)
    semantics: tuple[str, ...] = ("original", "flip", "adversarial")
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    layers: tuple[int | str, ...] | None = None
    programs: str = "all"
    actions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    first_state: bool = False
    last_state: bool = False
    max_rows: Mapping[str, int] = field(
        default_factory=lambda: {"train": 100_000, "validation": 10_000, "test": 10_000}
    )
    shuffled: bool = True
    control_task: bool = True
    split_by: str = "specification"

    def __post_init__(self) -> None:
        for name in ("features", "offsets", "semantics", "seeds", "depths"):
            if not getattr(self, name):
                raise ValueError(f"Grid.{name} is empty: name at least one")
        for feature in self.features:
            resolve_feature(feature)
        for name in self.semantics:
            resolve_meaning(name)
        for split, most in self.max_rows.items():
            if most < 1:
                raise ValueError(f"Grid.max_rows has {most} for {split}; take at least 1")
        if self.programs not in ("all", "correct", "wrong"):
            raise ValueError(f"Grid.programs must be 'all', 'correct' or 'wrong', got {self.programs!r}")
        if self.split_by not in ("specification", "program"):
            raise ValueError(f"Grid.split_by must be 'specification' or 'program', got {self.split_by!r}")

    def size(self, layers: int, untrained: int = 0) -> int:
        """How many probes it has, with its controls and so many untrained models."""
        each = len(self.features) * len(self.depths) * len(self.seeds) * len(self.semantics)
        controls = (self.shuffled + self.control_task) if 0 in self.offsets else 0
        return layers * each * (len(self.offsets) * (1 + untrained) + controls)

    def to_json(self) -> dict[str, Any]:
        return {k: _plain(v) for k, v in asdict(self).items()}


@dataclass(frozen=True)
class ProbeRun:
    """Everything that decides a snapshot's probing results.

    programs: how many specifications of each split the model writes programs for. layers: "mean", "all", or a list of
    states. untrained: also probe models of the same shape with fresh weights, on the same programs; initialisations:
    so many of them. examples: how many
    specifications to draw for the report (0: none).

    programs_from "reference" (latent causal probing, COLM 2024): the model does not write but reads the
    specifications' own programs, with their outputs withheld as `withhold` says (see `forced_states`), and results go
    to RUN/latent/WITHHELD; choose `grid.actions` to learn on some positions of a program and test on others.

    closer: results go to RUN/closer, beside those that all snapshots were probed for alike. What is said of one
    snapshot then comes from there; what is said of training does not.
    """

    grid: Grid = field(default_factory=Grid)
    config: ProbeConfig = field(default_factory=ProbeConfig)
    programs: dict[str, int] = field(default_factory=lambda: {"train": 16_000, "validation": 1_600, "test": 1_600})
    layers: Layers = "mean"
    untrained: bool = True
    initialisations: int = 1
    examples: int = 8
    programs_from: str = "written"
    withhold: str | None = None
    closer: bool = False

    def __post_init__(self) -> None:
        if self.programs_from not in ("written", "reference"):
            raise ValueError(f"programs_from must be 'written' or 'reference', got {self.programs_from!r}")
        if self.initialisations < 1:
            raise ValueError(f"ProbeRun.initialisations must be at least 1, got {self.initialisations}")
        if self.withhold is not None and self.programs_from == "written":
            raise ValueError(
                "a model cannot write for specifications whose outputs are withheld; use the reference programs"
            )
        if self.closer and self.programs_from == "reference":
            raise ValueError("a closer look is at programs that the model writes, not at the reference programs")

    @property
    def kind(self) -> str:
        """Which folder of a run the results go to."""
        if self.programs_from == "reference":
            return f"latent/{self.withhold or 'shown'}"
        return "closer" if self.closer else "probing"

    def to_json(self) -> dict[str, Any]:
        layers = self.layers if isinstance(self.layers, str) else list(self.layers)
        return {
            "grid": self.grid.to_json(),
            "config": asdict(self.config),
            "programs": dict(self.programs),
            "layers": layers,
            "untrained": self.untrained,
            "initialisations": self.initialisations,
            "examples": self.examples,
            "programs_from": self.programs_from,
            "withhold": self.withhold,
            "closer": self.closer,
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
