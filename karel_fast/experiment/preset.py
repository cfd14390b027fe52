"""Whole experiments as TOML files: data, model, training, evaluation and probing in one place.

`extends = "laptop"` at the top of a file takes all settings of that preset, or of another file (its path is seen from this
file's folder), and changes those that it names itself.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karel_fast.experiment.earlier import in_todays_words
from karel_fast.model.shape import DecodingConfig, ModelShape
from karel_fast.probing.settings import ProbeRun, check_layers
from karel_fast.runs.folder import CONFIG
from karel_fast.support.checks import InputError, nearest, one_of
from karel_fast.support.files import read_json, read_text
from karel_fast.support.settings import build
from karel_fast.training.config import DataConfig, EvaluationConfig, TrainConfig

if TYPE_CHECKING:
    from karel_fast.data import Recipe

PRESETS = files("karel_fast.experiment") / "presets"

FAITHFUL = "-faithful"
"""What the name of a preset's variant with the original's model, optimizer, layout and data ends in."""

GPU = "-gpu"
"""What the name of a preset's variant for a graphics processor ends in: `reproduce` takes it where there is one."""

SAMPLES_PER_SEED = 2**32
"""Samples from where one seed's run begins to where the next one's does, unless a preset says where: more than any run sees."""


def tables() -> dict[str, type]:
    """The settings class of each table that a preset may have."""
    from karel_fast.data import Recipe

    return {
        "recipe": Recipe,
        "data": DataConfig,
        "model": ModelShape,
        "training": TrainConfig,
        "decoding": DecodingConfig,
        "evaluation": EvaluationConfig,
        "probing": ProbeRun,
        "closer": ProbeRun,
    }


@dataclass(frozen=True, slots=True)
class Preset:
    """One experiment. closer: how the last snapshot is looked at more closely than all are (None: not at all). `source`
    is the TOML file's content, which decides all the rest.
    """

    name: str
    description: str
    layout: str
    recipe: Recipe
    data: DataConfig
    model: ModelShape
    training: TrainConfig
    decoding: DecodingConfig
    evaluation: EvaluationConfig
    probing: ProbeRun
    closer: ProbeRun | None
    source: dict[str, Any]


def preset_names() -> list[str]:
    """The presets that come with the package."""
    return sorted(path.name.removesuffix(".toml") for path in PRESETS.iterdir() if path.name.endswith(".toml"))


def faithful_name(name: str) -> str:
    """The preset with the original's own settings beside `name`. Raises InputError if there is none."""
    if name.endswith(FAITHFUL) and name in preset_names():
        return name
    if name + FAITHFUL not in preset_names():
        having = [known.removesuffix(FAITHFUL) for known in preset_names() if known.endswith(FAITHFUL)]
        raise InputError(f"preset {name!r} has no faithful variant; those that have: {', '.join(having)}")
    return name + FAITHFUL


def name_on(name: str, device: str) -> str:
    """The preset to take for `name` on a device, "auto", "cpu", "cuda" or "cuda:N": its variant for a GPU, if it has one."""
    if name + GPU not in preset_names() or not isinstance(device, str):
        return name  # what is no device is refused with the other settings
    from karel_fast.model.device import resolve_device

    return name + GPU if resolve_device(device).type == "cuda" else name


def load_preset(name: str, changes: Mapping[str, Mapping[str, Any]] | None = None) -> Preset:
    """A preset by name, from a TOML file, or the one that the run of a folder was begun with; `changes` replaces settings, by table
    and name.

    Raises InputError for an unknown name, or naming the table and the setting that is unknown or wrong; FileNotFoundError.
    """
    if is_run(name):
        name, source = _begun(Path(name))
        place = f"preset {name}"
    else:
        source = _read(name)
        place = name if _is_file(name) else f"preset {name}"
        name = Path(name).stem if _is_file(name) else name
    kinds = tables()
    for key in kinds:
        if not isinstance(source.get(key, {}), dict):
            raise InputError(f"{place}: {key} is {source[key]!r}; give a table of settings, [{key}]")
    for table, values in (changes or {}).items():
        one_of("the table of a setting", table, kinds)
        source[table] = {**source.get(table, {}), **values}
    for key in source:
        if key not in kinds and key not in ("description", "layout"):
            raise InputError(f"{place}: unknown {key!r}; {nearest(key, [*kinds, 'description', 'layout'])}")
    if source.get("probing", {}).get("closer"):
        raise InputError(f"{place}, [probing]: closer is for the table [closer]")
    given = {"closer": {"closer": True, **source["closer"]}} if "closer" in source else {}
    made = {
        key: build(kind, given.get(key, source.get(key, {})), f"{place}, [{key}]")
        for key, kind in kinds.items()
        if key != "closer" or key in source
    }
    made.setdefault("closer", None)
    for table in ("probing", "closer"):
        if made[table] is not None and not isinstance(made[table].layers, str):
            try:
                check_layers(made[table].layers, made["model"].layers)
            except ValueError as error:
                raise InputError(f"{place}, [{table}]: {error} (states of a model with so many blocks)") from error
    for table in ("data", "evaluation"):
        try:
            made[table].active.check(made["recipe"].examples)
        except ValueError as error:
            raise InputError(f"{place}, [{table}]: {error}") from error
    _check_layout(place, source)
    # Always there, so that leaving them out and giving their defaults are the same experiment.
    source["training"] = {**source.get("training", {}), "seed": made["training"].seed}
    first = source.get("data", {}).get("first_sample", made["training"].seed * SAMPLES_PER_SEED)
    source["data"] = {**source.get("data", {}), "first_sample": first}
    made["data"] = replace(made["data"], first_sample=first)
    return Preset(name, source.get("description", ""), source.get("layout", "compact"), source=source, **made)


def _is_file(name: str) -> bool:
    """Whether that is the name of a preset's file."""
    return name.lower().endswith(".toml")


def is_run(name: str) -> bool:
    """Whether that is the folder of a run which `reproduce` began, and no preset's name."""
    return name not in preset_names() and (Path(name) / CONFIG).is_file()


def _begun(folder: Path) -> tuple[str, dict[str, Any]]:
    """The name of the preset that a run was begun with, and its tables."""
    stored = read_json(folder / CONFIG)
    name, source = stored.get("preset"), stored.get("experiment")
    if not isinstance(name, str) or not isinstance(source, dict):
        raise InputError(
            f"{folder / CONFIG} does not say what the run was begun with: give its preset, and --output {folder}"
        )
    # Where the seed alone says which samples it trains on, another seed must say so anew.
    seed, data = source.get("training", {}).get("seed"), source.get("data", {})
    if isinstance(seed, int) and data.get("first_sample") == seed * SAMPLES_PER_SEED:
        del data["first_sample"]
    return name, source


def _read(name: str, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The tables of a preset or file, with those of what it extends. extending: the files that led here."""
    path = Path(name)
    if _is_file(name):
        path = (extending[-1].parent if extending else Path()) / path
        text = read_text(path)
    elif name in preset_names():
        text = (PRESETS / f"{name}.toml").read_text(encoding="utf-8")
    else:
        place = f"{extending[-1]}: extends an " if extending else ""
        raise InputError(f"{place}unknown preset {name!r}; {nearest(name, preset_names())} (or give a .toml file)")
    try:
        source = in_todays_words(tomllib.loads(text))
    except ValueError as error:  # or a number of more digits than Python reads
        raise InputError(f"{path}: {error}") from error
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply") from None
    if "extends" not in source:
        return source
    base, here = source.pop("extends"), path.resolve()
    if not isinstance(base, str):
        raise InputError(f"{path}: extends is {base!r}; give the name of a preset, or a .toml file")
    if here in extending:
        raise InputError(f"{path}: extends itself, by way of {', '.join(file.name for file in extending)}")
    below = _read(base, (*extending, here))
    for key, value in source.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        below[key] = {**below[key], **value} if both else value
    return below


def _check_layout(place: str, source: Mapping[str, Any]) -> None:
    from karel_fast.data.tokens.interpreter import NAMES

    for key, default in (("layout", "compact"), ("description", "")):
        if not isinstance(source.get(key, default), str):
            raise InputError(f"{place}: {key} is {source[key]!r}; give text")
    try:
        one_of("layout", source.get("layout", "compact"), NAMES)
    except ValueError as error:
        raise InputError(f"{place}: {error}") from error


def read_changes(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`training.steps=100` and the like as changes for `load_preset`; the value is spelt as in a TOML file.

    Raises InputError for another form.
    """
    changes: dict[str, dict[str, Any]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        table, dot, key = place.strip().partition(".")
        if not (equals and dot):
            raise InputError(f"{text!r} sets nothing; write TABLE.NAME=VALUE, as in training.steps=100")
        if key in changes.get(table, {}):
            raise InputError(f"{table}.{key} is set twice; set it once")
        try:
            changes.setdefault(table, {})[key] = tomllib.loads(f"value = {value}")["value"]
        except ValueError as error:  # or a number of more digits than Python reads
            raise InputError(f"{text!r}: {value!r} is no TOML value ({error}); text stands in quotes") from error
    return changes
