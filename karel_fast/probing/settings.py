"""Everything that decides what probes are trained on what: the settings of `karel-fast probe`, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from karel_fast.karel.language.semantics import resolve_semantics
from karel_fast.probing.features import CODE_FEATURES, PAPER_FEATURES, resolve_feature, sources_of
from karel_fast.support.checks import distinct, one_of, whole
from karel_fast.support.checksums import file_sum
from karel_fast.support.settings import (
    build,
    bundle,
    default_of,
    keep_all_whole,
    keep_real,
    keep_whole,
    named,
    part,
    plain,
    setting,
    to_json,
    whole_list,
)

PROBE_SPLITS = ("train", "validation", "test")
MOST_OFFSET = 1000  # states, far beyond any program's

Layers = str | Sequence[int]
"""What `Capture` takes: "mean", or a list of states (0 the embedding, i after block i)."""

DEPTHS: dict[str, tuple[int, ...]] = {"linear": (), "mlp1": (256,), "mlp2": (256, 1024)}
"""Hidden units per depth. The published code's probes with one and two hidden layers have these sizes."""


@named
@dataclass(frozen=True)
class ProbeConfig:
    """How probes are trained.

    schedule: "linear" rises over the first twentieth of the steps, then falls linearly to nothing; "exponential" falls from
    the start, 150 times by 5 %, as in the published code. normalization "batch" stands after every hidden layer's ReLU,
    trained on a minibatch's statistics and scored with running ones. precision, "float32" or
    "bfloat16" (matrix products only; weights, loss and optimiser stay float32), is decided by the decoding's precision
    and the device, and is kept with the results.
    """

    epochs: int = setting(6, "Epochs of probe training.")
    least_steps: int = setting(
        1000,
        "Least steps of probe training: few rows are gone through more often, and validated some twenty times in all.",
    )
    batch_size: int = setting(512, "Rows per step of probe training.")
    learning_rate: float = setting(3e-3, "Peak learning rate of probes.")
    weight_decay: float = setting(0.01, "AdamW's, of the probes' matrices.")
    schedule: Literal["linear", "exponential"] = setting(
        "linear", "How the probes' learning rate falls: linear (after a short rise), or exponential."
    )
    normalization: Literal["none", "batch"] = setting(
        "none", "Of a probe's hidden layers, after the ReLU: none, or batch."
    )
    best_on_test: bool = setting(
        False, "Also keep the best test accuracy after any epoch, as the published code reports: it flatters."
    )
    precision: str = "float32"
    group_bytes: int | None = setting(None, "Memory for one group of probes; it changes speed only.")

    def __post_init__(self) -> None:
        keep_whole(self, ("epochs", "least_steps", "batch_size", "group_bytes"), 1)
        keep_real(self, ("learning_rate", "weight_decay"), 0, inf)
        if not 0 < self.learning_rate < inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; give a finite number above 0")
        if self.weight_decay == inf:
            raise ValueError("weight_decay is inf; give a finite number of at least 0")
        one_of("schedule", self.schedule, ("linear", "exponential"))
        one_of("normalization", self.normalization, ("none", "batch"))
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"ProbeConfig.precision must be 'float32' or 'bfloat16', got {self.precision!r}")

    def to_json(self) -> dict[str, Any]:
        return _without_later(self, to_json(self))


@named
@dataclass(frozen=True)
class Grid:
    """Which probes to train.

    depths: a mapping from names to hidden units per layer, or names out of DEPTHS. shuffled, control_task: controls at
    offset 0, see `karel_fast.probing.controls`. split_by "program": no program, and none that begins with the same
    three actions, is in two of the splits; half of the train split's beginnings stay, 15 % of validation's, 35 % of
    test's.
    """

    features: tuple[str, ...] = setting(PAPER_FEATURES, "What is read: features.")
    depths: Mapping[str, tuple[int, ...]] = setting(
        DEPTHS, "Probes: linear, mlp1, mlp2; or others by their hidden units, as narrow=64+32."
    )
    offsets: tuple[int, ...] = setting((-2, -1, 0, 1, 2), "States before (-) or after (+) the predicted action's.")
    semantics: tuple[str, ...] = setting(
        ("original", "flip", "adversarial"), "Names of meanings; or written>performed pairs joined by +."
    )
    seeds: tuple[int, ...] = setting((0, 1, 2, 3, 4), "Of the probes' weights and order of rows.")
    worlds: Literal["all", "first"] = setting(
        "all", "Which of a specification's worlds a probe answers: all, or the first only."
    )
    unfinished: bool = setting(False, "Programs that the length limit cut off give rows too.")
    outcome: Literal["all", "correct", "wrong"] = setting(
        "all", "Which programs give rows: all, correct or wrong ones."
    )
    actions: Mapping[str, tuple[int, ...]] = setting(
        {},
        "Per split, which of a program's actions give rows, from 0 (all of a split not named): as train=0+1,test=2+3.",
    )
    first_state: bool = setting(False, "Also read the state before the first action, which the specification shows.")
    last_state: bool = setting(False, "Also read the state after the last action, which the specification shows.")
    max_rows: Mapping[str, int] = setting(
        {"train": 100_000, "validation": 10_000, "test": 10_000}, "Most rows taken per split."
    )
    shuffled: bool = setting(True, "Also train probes on shuffled labels.")
    control_task: bool = setting(True, "Also train probes on labels fixed per last three actions.")
    split_by: Literal["specification", "program"] = setting(
        "specification", "specification, or program: no program, and no three first actions, in two splits."
    )

    def __post_init__(self) -> None:
        for name in ("features", "offsets", "semantics", "seeds", "depths"):
            if not getattr(self, name):
                raise ValueError(f"Grid.{name} is empty: name at least one")
        object.__setattr__(self, "depths", _depths(self.depths))
        keep_all_whole(self, ("seeds",), 0, 2**63 - 1)
        keep_all_whole(self, ("offsets",), -MOST_OFFSET, MOST_OFFSET)
        for feature in self.features:
            resolve_feature(feature)
        for name in self.semantics:
            resolve_semantics(name)
        for name in ("features", "offsets", "semantics", "seeds"):
            distinct(name, getattr(self, name))
        object.__setattr__(self, "max_rows", check_splits("max_rows", self.max_rows))
        for split in self.actions:
            one_of("a split of actions", split, PROBE_SPLITS)
        actions = {split: whole_list(f"actions.{split}", places, 0) for split, places in self.actions.items()}
        object.__setattr__(self, "actions", actions)
        one_of("outcome", self.outcome, ("all", "correct", "wrong"))
        one_of("split_by", self.split_by, ("specification", "program"))
        one_of("worlds", self.worlds, ("all", "first"))

    def size(self, layers: int, untrained: int = 0) -> int:
        """How many probes it has, with its controls and so many untrained models."""
        each = len(self.features) * len(self.depths) * len(self.seeds) * len(self.semantics)
        controls = (self.shuffled + self.control_task) if 0 in self.offsets else 0
        return layers * each * (len(self.offsets) * (1 + untrained) + controls)

    def to_json(self) -> dict[str, Any]:
        return _without_later(self, to_json(self)) | sources_of(self.features)


@named
@dataclass(frozen=True)
class ProbeRun:
    """Everything that decides a snapshot's probing results.

    untrained, initialisations: models of the same shape with fresh weights, on the same programs.

    programs_from "reference" (latent causal probing, COLM 2024): the model does not write but reads the
    specifications' own programs, with their outputs withheld as `withhold` says (see `forced_states`), and results go
    to RUN/latent/WITHHELD; choose `grid.actions` to learn on some positions of a program and test on others.

    closer: results go to RUN/closer, beside those that all snapshots were probed for alike. What is said of one
    snapshot then comes from there; what is said of training does not.

    pieces: part of what decides the results, because a matrix product's last bits follow how many probes stand in it.

    protocol: stands for the values in PROTOCOLS of whatever is not given itself, and gives the results a folder of their
    own, RUN/paper-grid or RUN/paper. In Python a `grid` or `config` that is given is given whole; from flat names:
    `ProbeRun.of(protocol="paper", seeds=(0,))`.
    """

    grid: Grid = part(Grid)
    config: ProbeConfig = part(ProbeConfig)
    programs: Mapping[str, int] = setting(
        {"train": 16_000, "validation": 1_600, "test": 1_600},
        "Specifications per split that the model writes programs for.",
    )
    shortest: int | None = setting(
        None, "Fewest actions of the specifications' own programs (default: the recipe's); the authors': 1."
    )
    specifications: str | None = setting(
        None,
        "Take specifications from this file, JSON lines with code, input0, output0, ..: the first for train, the next for "
        "validation, then test.",
    )
    test_start: int = setting(
        0, "First specification of the test split to use: take a slice that no choice was made on."
    )
    layers: Layers = setting("mean", "mean, all, or a list of states (0: the embedding).")
    untrained: bool = setting(True, "Also probe an untrained model's states.")
    initialisations: int = setting(1, "How many untrained models, each with weights of its own.")
    examples: int = setting(
        8, "Specifications kept to be shown in the report, with what was written for them; 0: none."
    )
    programs_from: Literal["written", "reference"] = setting(
        "written", "written, or reference: probe the states of reading the reference programs (results: RUN/latent/..)."
    )
    withhold: Literal["input", "space"] | None = setting(
        None, "For reference programs: input or space in place of the specifications' outputs."
    )
    ideal: bool = setting(False, "Also say what ideal readers of the specifications know: the ceiling of each probe.")
    closer: bool = setting(False, "Keep the results apart (RUN/closer): the report's figures of one snapshot use them.")
    protocol: Literal["own", "paper-grid", "paper"] = bundle(
        "own",
        "Whose values, unless given: own; paper (the published code's); paper-grid (its probes, trained our way).",
        lambda name: PROTOCOLS[one_of("protocol", name, PROTOCOLS)],
    )
    pieces: bool = setting(
        False, "Keep what is done after every meaning and offset, to go on from; with ray, each is a task."
    )

    @classmethod
    def of(cls, **values: Any) -> ProbeRun:
        """From flat names, as on the command line: what is given wins over the protocol's values. Raises InputError."""
        made: ProbeRun = build(cls, values, "probing")
        return made

    def __post_init__(self) -> None:
        object.__setattr__(self, "programs", check_splits("programs", self.programs))
        keep_whole(self, ("examples", "test_start"), 0)
        keep_whole(self, ("initialisations", "shortest"), 1)
        if isinstance(self.layers, str):
            one_of("layers", self.layers, ("mean", "all"))
        else:
            object.__setattr__(self, "layers", check_layers(self.layers))
        one_of("programs_from", self.programs_from, ("written", "reference"))
        if self.withhold is not None:
            one_of("withhold", self.withhold, ("input", "space"))
        if self.withhold is not None and self.programs_from == "written":
            raise ValueError(
                "a model cannot write for specifications whose outputs are withheld; use the reference programs"
            )
        if self.ideal and self.withhold is not None:
            raise ValueError("ideal readers read whole specifications; leave out ideal, or withhold")
        if self.closer and self.programs_from == "reference":
            raise ValueError("a closer look is at programs that the model writes, not at the reference programs")
        if self.closer and self.protocol != "own":
            raise ValueError(f"a closer look has settings of its own: leave out protocol {self.protocol!r}, or closer")
        if self.protocol != "own" and self.programs_from == "reference":
            raise ValueError(
                f"protocol {self.protocol!r} is of programs that the model writes; leave out programs_from, or protocol"
            )
        if self.specifications is not None:
            for name, asked in (("shortest", self.shortest), ("test_start", self.test_start), ("ideal", self.ideal)):
                if asked:
                    raise ValueError(
                        f"{name} is about the recipe's own specifications; leave it out, or specifications"
                    )

    def first(self, split: str) -> int:
        """The first specification taken of a probing split; of a file, counted over the whole file."""
        if self.specifications is not None:
            return sum(self.programs[earlier] for earlier in PROBE_SPLITS[: PROBE_SPLITS.index(split)])
        return self.test_start if split == "test" else 0

    @property
    def specifications_digest(self) -> str | None:
        """Which file the specifications are from: 16 digits of its checksum. OSError if it cannot be read."""
        return None if self.specifications is None else file_sum(self.specifications)[:16]

    @property
    def kind(self) -> str:
        """Which folder of a run the results go to."""
        if self.programs_from == "reference":
            return f"latent/{self.withhold or 'shown'}"
        if self.protocol != "own":
            return self.protocol
        return "closer" if self.closer else "probing"

    def to_json(self) -> dict[str, Any]:
        values = {
            "protocol": self.protocol,
            "shortest": self.shortest,
            "specifications": self.specifications_digest,
            "grid": self.grid.to_json(),
            "config": self.config.to_json(),
            "programs": plain(self.programs),
            "test_start": self.test_start,
            "layers": plain(self.layers),
            "untrained": self.untrained,
            "initialisations": self.initialisations,
            "examples": self.examples,
            "programs_from": self.programs_from,
            "withhold": self.withhold,
            "ideal": self.ideal,
            "closer": self.closer,
            "pieces": self.pieces,
        }
        return _without_later(self, values)


_GRID: dict[str, Any] = {
    "features": CODE_FEATURES,
    "semantics": ("original", "map0", "map3", "map5", "map8", "map11"),
    "offsets": (0, 1, 2, -1, -2),
    "seeds": (0, 1, 2, 3, 4),
    "depths": ("linear", "mlp1", "mlp2"),
    "worlds": "first",
    "unfinished": True,
    "shortest": 1,
    "max_rows": {"train": 100_000, "validation": 10_000, "test": 100_000},
    "shuffled": False,
    "control_task": False,
    "untrained": False,
    "examples": 0,
    "pieces": True,
}
_TRAINING: dict[str, Any] = {
    "programs": {"train": 50_000, "validation": 10_000, "test": 10_000},
    "epochs": 100,
    "least_steps": 1,
    "batch_size": 1024,
    "learning_rate": 0.02,
    "weight_decay": 0.2,
    "schedule": "exponential",
    "normalization": "batch",
    "best_on_test": True,
}
PROTOCOLS: dict[str, dict[str, Any]] = {"own": {}, "paper-grid": _GRID, "paper": {**_GRID, **_TRAINING}}
"""What each protocol sets, read off charlesjin/emergent-semantics at commit 75e0384 (docs/protocol.md says where)."""

_LATER: dict[type, tuple[str, ...]] = {
    ProbeConfig: ("schedule", "normalization", "best_on_test"),
    Grid: ("worlds", "unfinished"),
    ProbeRun: ("protocol", "shortest", "specifications", "pieces", "ideal"),
}
"""Settings that are younger than stored results: at their defaults they are not written, so that old results still count."""


def _without_later(owner: Any, values: dict[str, Any]) -> dict[str, Any]:
    later = {name: default_of(type(owner).__dataclass_fields__[name]) for name in _LATER[type(owner)]}
    return {name: value for name, value in values.items() if name not in later or value != later[name]}


def check_layers(layers: Sequence[int], last: int | None = None) -> tuple[int, ...]:
    """The states as plain ints. Raises ValueError or TypeError for a list that is empty, names one twice, or one that no model, or
    none of `last` blocks, has.
    """
    numbers = whole_list("layers", layers, 0, last)
    if not numbers:
        raise ValueError("layers is empty: name at least one state")
    distinct("layers", numbers)
    return numbers


def _depths(depths: Mapping[str, tuple[int, ...]] | tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """Hidden units per depth, from names or a mapping, checked; the deepest last, whatever order they are given in."""
    if not isinstance(depths, Mapping):
        distinct("depths", depths)
        return _deepest_last({name: DEPTHS[one_of("depth", name, DEPTHS)] for name in depths})
    for name, units in depths.items():
        if not isinstance(units, tuple | list):
            raise ValueError(
                f"depths.{name} is {units!r}; give a list of hidden units, an empty one for a linear probe"
            )
    return _deepest_last({name: whole_list(f"depths.{name}", units, 1) for name, units in depths.items()})


def _deepest_last(depths: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return dict(sorted(depths.items(), key=lambda one: len(one[1])))


def check_splits(name: str, counts: Mapping[str, int]) -> dict[str, int]:
    """The counts as plain ints. ValueError or TypeError unless there is one of at least 1 for every split of probes."""
    given = list(counts)  # names without numbers, if it is no mapping
    if not isinstance(counts, Mapping) or sorted(given) != sorted(PROBE_SPLITS):
        example = ",".join(f"{split}={count}" for split, count in zip(PROBE_SPLITS, (16000, 1600, 1600), strict=True))
        raise ValueError(f"{name} is of {', '.join(map(str, given))}; give {', '.join(PROBE_SPLITS)}, as in {example}")
    return {split: whole(f"{name}.{split}", count, 1) for split, count in counts.items()}
