"""Whole experiments as TOML files: data, model, training, evaluation and probing in one place."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from karel_fast.data import Recipe
    from karel_fast.probing.snapshot import ProbeRun
    from karel_fast.training import TrainConfig


PRESETS = files("karel_fast.experiment") / "presets"

FAITHFUL = "-faithful"
"""What the name of a preset's variant with the original's model, optimizer, layout and data ends in."""


@dataclass(frozen=True, slots=True)
class Data:
    """samples: how many training samples there are, used over and over; 0: never the same one twice."""

    samples: int = 0

    def __post_init__(self) -> None:
        _check_whole("samples", self.samples, 0)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Size of the Transformer: blocks, width of the residual stream, attention heads, dimensions of each head that are
    rotated (None: half).
    """

    layers: int
    width: int
    heads: int
    rotary_dim: int | None = None

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads"):
            _check_whole(name, getattr(self, name), 1)
        if self.rotary_dim is not None:
            _check_whole("rotary_dim", self.rotary_dim, 2)
            if self.rotary_dim % 2 or self.rotary_dim > self.width // self.heads:
                raise ValueError(
                    f"rotary_dim={self.rotary_dim}: use an even number up to the head width {self.width // self.heads}"
                )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """specifications: how many of the test split the last snapshot writes programs for, and on_the_way the snapshots
    before it (None: as many); batch_size: decoded together; compile: torch.compile decoding, which pays for thousands of
    programs.
    """

    specifications: int
    on_the_way: int | None = None
    batch_size: int = 256
    compile: bool = True

    def __post_init__(self) -> None:
        for name in ("specifications", "on_the_way"):
            if getattr(self, name) is not None:
                _check_whole(name, getattr(self, name), 1)

    def of(self, last: bool) -> int:
        """How many specifications a snapshot is evaluated on."""
        return self.specifications if last or self.on_the_way is None else self.on_the_way


@dataclass(frozen=True, slots=True)
class Probing:
    """What `karel-fast probe` takes, with lists in place of comma-separated text. programs: per split. depths: names, or a
    table of names and hidden units of each layer.
    """

    programs: dict[str, int]
    features: list[str] = field(default_factory=lambda: ["direction", "position", "facing"])
    depths: list[str] | dict[str, list[int]] = field(default_factory=lambda: ["linear", "mlp1", "mlp2"])
    offsets: list[int] = field(default_factory=lambda: [-2, -1, 0, 1, 2])
    semantics: list[str] = field(default_factory=lambda: ["original", "flip", "adversarial"])
    seeds: int = 5
    epochs: int = 6
    least_steps: int = 1000
    batch_size: int = 512
    learning_rate: float = 3e-3
    examples: int = 8
    layers: str | list[int] = "mean"

    def __post_init__(self) -> None:
        from karel_fast.probing.experiments import SPLITS

        if isinstance(self.layers, str) and self.layers not in ("mean", "all"):
            raise ValueError(f'probing.layers is {self.layers!r}: give "mean", "all" or a list of states')
        if isinstance(self.depths, dict):
            for depth, units in self.depths.items():
                if not isinstance(units, list):
                    raise ValueError(f"depths.{depth}={units!r}: give a list of hidden units, [] for a linear probe")
                for number in units:
                    _check_whole(f"depths.{depth}", number, 1)
        if sorted(self.programs) != sorted(SPLITS):
            raise ValueError(f"probing.programs needs {', '.join(SPLITS)}, got {', '.join(self.programs) or 'nothing'}")

    def run(self, precision: str, closer: bool = False) -> ProbeRun:
        """The task for one snapshot; precision is that of the probes' products, "float32" or "bfloat16"."""
        from karel_fast.probing.experiments import Grid
        from karel_fast.probing.probes.training import DEPTHS, ProbeConfig
        from karel_fast.probing.snapshot import ProbeRun

        table = self.depths if isinstance(self.depths, dict) else {}
        hidden = {**DEPTHS, **{name: tuple(units) for name, units in table.items()}}
        unknown = sorted(set(self.depths) - set(hidden))
        if unknown:
            raise ValueError(f"probing.depths has {unknown[0]!r}; the depths are {', '.join(DEPTHS)}")
        return ProbeRun(
            grid=Grid(
                features=tuple(self.features),
                depths={depth: hidden[depth] for depth in self.depths},
                offsets=tuple(self.offsets),
                semantics=tuple(self.semantics),
                seeds=tuple(range(self.seeds)),
            ),
            config=ProbeConfig(
                epochs=self.epochs,
                least_steps=self.least_steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                precision=precision,
            ),
            programs=dict(self.programs),
            examples=self.examples,
            layers=self.layers,
            closer=closer,
        )


@dataclass(frozen=True, slots=True)
class Preset:
    """One experiment. closer: how the last snapshot is looked at more closely than all are (None: not at all). `source`
    is the TOML file's content, which decides all the rest.
    """

    name: str
    description: str
    layout: str
    recipe: Recipe
    data: Data
    model: ModelShape
    training: TrainConfig
    evaluation: Evaluation
    probing: Probing
    closer: Probing | None
    source: dict[str, Any]


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(path.name.removesuffix(".toml") for path in PRESETS.iterdir() if path.name.endswith(".toml"))


def faithful_name(name: str) -> str:
    """The preset with the original's own settings beside `name`. Raises ValueError if there is none."""
    if name.endswith(FAITHFUL) and name in preset_names():
        return name
    if name + FAITHFUL not in preset_names():
        having = [known.removesuffix(FAITHFUL) for known in preset_names() if known.endswith(FAITHFUL)]
        raise ValueError(f"preset {name!r} has no faithful variant; those that have: {', '.join(having)}")
    return name + FAITHFUL


def load_preset(name: str, **training: Any) -> Preset:
    """A preset by name, or from a TOML file; `training` changes settings of its [training] table.

    Raises ValueError for an unknown name, or naming the table and key that is missing, unknown or wrong.
    """
    from karel_fast.data import Recipe
    from karel_fast.training import TrainConfig

    path = Path(name)
    if path.suffix == ".toml":
        text, name = path.read_text(encoding="utf-8"), path.stem
    elif name in preset_names():
        text = (PRESETS / f"{name}.toml").read_text(encoding="utf-8")
    else:
        raise ValueError(f"unknown preset {name!r}; choose from {', '.join(preset_names())}, or give a .toml file")
    try:
        source = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    source = {**source, "training": {**source.get("training", {}), **training}}
    tables = {
        "recipe": Recipe,
        "data": Data,
        "model": ModelShape,
        "training": TrainConfig,
        "evaluation": Evaluation,
        "probing": Probing,
        "closer": Probing,
    }
    unknown = sorted(set(source) - {*tables, "description", "layout"})
    if unknown:
        raise ValueError(
            f"preset {name}: unknown {unknown[0]!r}; a preset has layout, description and the tables {', '.join(tables)}"
        )
    wanted = {key: kind for key, kind in tables.items() if key != "closer" or key in source}
    made = {key: _make(f"preset {name}, [{key}]", kind, source.get(key, {})) for key, kind in wanted.items()}
    made.setdefault("closer", None)
    return Preset(name, source.get("description", ""), source.get("layout", "compact"), source=source, **made)


def _make(where: str, kind: Any, values: Any) -> Any:
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: must be a table")
    known = {f.name: f for f in dataclasses.fields(kind)}
    for key in values:
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}; it takes {', '.join(known)}")
    missing = [
        key
        for key, f in known.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and key not in values
    ]
    if missing:
        raise ValueError(f"{where}: {missing[0]} is missing")
    try:
        return kind(
            **{key: tuple(v) if isinstance(v, list) and kind.__name__ == "Recipe" else v for key, v in values.items()}
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name}={value!r}: use a whole number of at least {least}")
