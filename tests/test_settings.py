"""Every setting once: each field means the same, with the same default and help, in Python, TOML and on the command line."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import get_type_hints

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from karel_fast.cli.options import from_text, to_text, with_settings
from karel_fast.cli.probing import probe_command
from karel_fast.cli.steering import steer_command
from karel_fast.cli.training import evaluate_command, train_command
from karel_fast.data import Recipe
from karel_fast.experiment.preset import load_preset, preset_names, read_changes, tables
from karel_fast.model.shape import DecodingConfig, ModelShape
from karel_fast.probing.latent_settings import LatentGrid
from karel_fast.probing.rank_settings import RankRun
from karel_fast.probing.settings import DEPTHS, Grid, ProbeConfig, ProbeRun
from karel_fast.probing.steer_settings import SteerConfig
from karel_fast.support.checks import InputError
from karel_fast.support.settings import build, default_of, flat_fields, flat_types
from karel_fast.training.config import DataConfig, EvaluationConfig, SearchConfig, TrainConfig

KINDS = (DataConfig, ModelShape, TrainConfig, EvaluationConfig, DecodingConfig, ProbeRun, SteerConfig)
COMMANDS = {
    train_command: {DataConfig, ModelShape, TrainConfig},
    evaluate_command: {EvaluationConfig, DecodingConfig},
    probe_command: {ProbeRun, DecodingConfig},
    steer_command: {SteerConfig},
}
FIELDS = [(kind, name) for kind in KINDS for name in flat_fields(kind)]

OTHER = {
    "optimizer": "adamw", "schedule": "linear", "loss": "program", "precision": "fp32", "reduce": "bf16", "split": "val",
    "device": "cpu", "features": ("facing",), "depths": {"narrow": (4, 3), "plain": ()}, "semantics": ("flip",),
    "outcome": "wrong", "worlds": "first", "normalization": "batch", "protocol": "paper", "shortest": 1,
    "split_by": "program", "programs_from": "reference", "withhold": "input", "actions": {"train": (0, 1), "test": (2,)},
    "layers": (0, 1), "offsets": (-1, 2), "seeds": (7, 8), "rotary_dim": 2, "on_the_way": 3, "group_bytes": 9_000,
    "extra_snapshots": (1, 2), "restarts": (1, 2), "kinds": ("turned", "marked"), "subspace_kinds": ("written",), "ranks": (3,),
    "active_examples": 1, "inactive_outputs": "flip",
    "programs": {"train": 5, "validation": 6, "test": 7}, "max_rows": {"train": 5, "validation": 6, "test": 7},
}  # fmt: skip
"""A value that is not the default, for settings where one more, or the opposite, would not do."""


NEEDED = {
    "active_examples": ("random_active", "inactive_outputs"),
    "draws": ("temperature", "top_p", "draw_seed"),
    "beam_width": ("length_penalty",),
}
"""Settings that decide nothing without another one."""


def other(kind: type, name: str):
    default = default_of(flat_fields(kind)[name])
    if name == "schedule" and kind is ProbeRun:
        return "exponential"
    if name == "specifications" and kind is ProbeRun:
        return "own.jsonl"
    if name in OTHER and not (kind is ModelShape and name == "layers"):
        return OTHER[name]
    if isinstance(default, bool):
        return not default
    return default / 2 if isinstance(default, float) and default else 0.5 if isinstance(default, float) else default + 1


def with_company(kind: type, name: str, value) -> dict:
    """Settings that this one needs beside it."""
    if name == "accumulate":
        return {name: value, "batch_size": 8}
    for needed, names in NEEDED.items():
        if name in names:
            return {name: value, needed: 2}
    return {name: value, "programs_from": "reference"} if name == "withhold" else {name: value}


def get(settings, name: str):
    parts = [getattr(settings, key) for key, field in settings.__dataclass_fields__.items() if "part" in field.metadata]
    for inner in (settings, *parts):
        if name in {
            f for f in getattr(inner, "__dataclass_fields__", {}) if "help" in inner.__dataclass_fields__[f].metadata
        }:
            return getattr(inner, name)
    raise AssertionError(name)


def as_toml(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {as_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def on_the_command_line(kind: type, values: dict):
    """The settings that a command with this class's options receives."""
    received = []

    def receive(settings):
        received.append(settings)

    receive.__annotations__ = {"settings": kind}
    app = typer.Typer()
    app.command()(with_settings(receive))
    words = []
    for name, value in values.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", to_text(value)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return received[0]


@pytest.mark.parametrize(("kind", "name"), FIELDS)
def test_a_setting_can_be_set_in_all_three(kind, name, tmp_path):
    value = other(kind, name)
    assert value != default_of(flat_fields(kind)[name])
    values = with_company(kind, name, value)
    from_python = build(kind, values, "here")
    assert get(from_python, name) == value
    assert on_the_command_line(kind, values) == from_python
    (table,) = [key for key, known in tables().items() if known is kind and key != "closer"] or [None]
    if table is None:  # steering is a command, and no part of an experiment
        assert kind is SteerConfig
    elif name != "closer":  # a table of its own
        path = tmp_path / "one.toml"
        path.write_text(f"[{table}]\n" + "".join(f"{key} = {as_toml(v)}\n" for key, v in values.items()))
        assert getattr(load_preset(str(path)), table) == from_python
        changes = read_changes([f"{table}.{key}={as_toml(v)}" for key, v in values.items()])
        path.write_text("")
        assert getattr(load_preset(str(path), changes), table) == from_python


@pytest.mark.parametrize(("needed", "name"), [(needed, name) for needed, names in NEEDED.items() for name in names])
def test_a_setting_that_decides_nothing_is_refused(needed, name):
    says = f"{name} decides nothing without {needed}; give {needed}, or leave out {name}"
    with pytest.raises(InputError, match=says):
        build(EvaluationConfig, {name: other(EvaluationConfig, name)}, "evaluate")
    if name in flat_fields(DataConfig):
        with pytest.raises(InputError, match=says):
            build(DataConfig, {name: other(DataConfig, name)}, "train")


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_the_same(kind, tmp_path):
    assert on_the_command_line(kind, {}) == kind() == build(kind, {}, "here")
    path = tmp_path / "empty.toml"
    path.write_text("")
    for table, known in tables().items():
        if known is kind and table != "closer":
            assert getattr(load_preset(str(path)), table) == kind()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_every_setting_with_its_help(command):
    parameters = inspect.signature(command).parameters
    for kind in COMMANDS[command]:
        for name, field in flat_fields(kind).items():
            (option,) = parameters[name].annotation.__metadata__
            assert option.help == field.metadata["help"]
            read = from_text(name, flat_types(kind)[name], parameters[name].default)
            assert read == default_of(field)
            assert field.metadata["help"][0].isupper() or field.metadata["help"].split()[0].strip(",") in {
                "muon", "wsd", "bf16", "auto", "train", "mean", "all", "written", "specification"
            }  # fmt: skip


def test_no_setting_class_is_left_out():
    used = {kind for kinds in COMMANDS.values() for kind in kinds}
    assert used == set(KINDS)
    assert set(tables().values()) - used == {Recipe}
    for kind in KINDS:
        for name, hint in get_type_hints(kind).items():
            assert is_dataclass(hint) or name in flat_fields(kind)
    # Decided by the decoding's precision and the device, so it is no setting.
    assert {*Grid.__dataclass_fields__, *ProbeConfig.__dataclass_fields__} - set(flat_fields(ProbeRun)) == {"precision"}


@pytest.mark.parametrize("kind", [*KINDS, Grid, ProbeConfig])
def test_unknown_names_are_refused_with_the_nearest(kind):
    known = next(name for name in flat_fields(kind) if name in kind.__dataclass_fields__)
    wrong = known + "x"
    with pytest.raises(TypeError, match=f"no setting '{wrong}'; did you mean '{known}'"):
        kind(**{wrong: 1})
    with pytest.raises(InputError, match=f"there: unknown setting '{wrong}'; did you mean '{known}'"):
        build(kind, {wrong: 1}, "there")


def test_unknown_options_are_refused_with_the_nearest():
    app = typer.Typer()
    app.command()(train_command)
    done = CliRunner().invoke(app, ["run", "--stepz", "3"])
    assert done.exit_code == 2
    assert "--stepz" in done.output
    assert "--steps" in done.output


@pytest.mark.parametrize("text", ["training.steps", "steps=3", "training.loss=all"])
def test_wrong_changes(text):
    with pytest.raises(InputError, match=text.split("=")[0]):
        read_changes([text])


def test_what_is_given_twice_is_refused():
    with pytest.raises(InputError, match=r"training\.steps is set twice"):
        read_changes(["training.steps=1", "training.steps=2"])
    with pytest.raises(ValueError, match="--programs has 'train' twice"):
        from_text("programs", Mapping[str, int], "train=40,validation=5,test=5,train=4")
    with pytest.raises(ValueError, match="depths has 'linear' twice"):
        Grid(depths=("linear", "linear"))


def test_the_deepest_depth_is_last_in_whatever_order_they_are_given():
    assert list(Grid(depths=("mlp2", "linear", "mlp1")).depths) == ["linear", "mlp1", "mlp2"]
    assert list(Grid(depths={"wide": (64,), "linear": ()}).depths) == ["linear", "wide"]


def test_depths_by_name():
    assert Grid(depths=("mlp1",)) == Grid(depths={"mlp1": DEPTHS["mlp1"]})
    assert on_the_command_line(ProbeRun, {"depths": ("linear", "mlp1")}).grid == Grid(depths=("linear", "mlp1"))


def test_numbers_in_lists_are_written_as_elsewhere():
    training, probing = flat_types(TrainConfig), flat_types(ProbeRun)
    for name, kinds, text, value in (
        ("extra_snapshots", training, "1e2", (100,)),
        ("extra_snapshots", training, "log", "log"),
        ("restarts", training, "1e2,1e3", (100, 1000)),
        ("offsets", probing, "-1,1e1", (-1, 10)),
        ("programs", probing, "train=1e3,test=20", {"train": 1000, "test": 20}),
        ("depths", probing, "wide=64+1e2,linear=", {"wide": (64, 100), "linear": ()}),
    ):
        assert from_text(name, kinds[name], text) == value


def test_presets_have_no_other_settings():
    for name in preset_names():
        source = load_preset(name).source
        for table, kind in tables().items():
            known = flat_fields(kind) or kind.__dataclass_fields__
            assert set(source.get(table, {})) <= set(known)


def test_presets_of_earlier_versions(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("[evaluation]\ncompile = false\nbatch_size = 7\n[probing]\nseeds = 2\n[closer]\nseeds = 3\n")
    earlier = load_preset(str(path))
    path.write_text(
        "[evaluation]\n[decoding]\ncompile_decoding = false\ndecode_batch_size = 7\n[probing]\nseeds = [0, 1]\n"
        "[closer]\nseeds = [0, 1, 2]\n"
    )
    assert earlier == load_preset(str(path))
    path.write_text("[evaluation]\ncompile = false\n[decoding]\ncompile_decoding = true\n")
    with pytest.raises(InputError, match=r"\[evaluation\]: unknown setting 'compile'"):
        load_preset(str(path))
    for seeds in (0, -1, 10**9):
        path.write_text(f"[probing]\nseeds = {seeds}\n")
        with pytest.raises(InputError, match=rf"\[probing\]: seeds is {seeds}; give a list"):
            load_preset(str(path))


@pytest.mark.parametrize("table", ["recipe", "probing", "closer", "evaluation"])
@pytest.mark.parametrize("value", ["3", "[[1]]", '"x"'])
def test_a_table_that_is_none(tmp_path, table, value):
    (tmp_path / "x.toml").write_text(f"{table} = {value}\n")
    with pytest.raises(InputError, match=rf"x\.toml: {table} is .*; give a table of settings, \[{table}\]"):
        load_preset(str(tmp_path / "x.toml"), {"training": {"steps": 1}})


def numbers(kind: type) -> list[tuple[type, str]]:
    """The settings of a class and its parts that are whole numbers, with the class that each belongs to."""
    found = []
    for field in dataclasses.fields(kind):
        if "part" in field.metadata:
            found += numbers(field.metadata["part"])
        elif get_type_hints(kind)[field.name] in (int, int | None):
            found.append((kind, field.name))
    return found


ALL = (*KINDS, SearchConfig, RankRun, LatentGrid)


@pytest.mark.parametrize(("kind", "name"), sorted({pair for kind in ALL for pair in numbers(kind)}, key=str))
def test_whole_numbers_are_kept_as_plain_ones(kind, name):
    given = {first: 1 for first, names in NEEDED.items() if name in names}
    value = default_of(flat_fields(kind)[name]) or {"actions": 9}.get(name, 2)
    made = kind(**given, **{name: np.int64(value)})
    assert type(getattr(made, name)) is int
    assert getattr(made, name) == value
    for wrong in (value + 0.5, float(value), str(value), True):
        with pytest.raises(TypeError, match=f"{name} is {wrong!r}; give a whole number"):
            kind(**given, **{name: wrong})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Grid, "seeds", (3, 4)), (Grid, "offsets", (-1, 2)), (RankRun, "seeds", (3, 4)), (RankRun, "offsets", (0, 1)),
        (SteerConfig, "ranks", (1, 4)), (SteerConfig, "layers", (0, 2)), (ProbeRun, "layers", (0, 2)),
        (LatentGrid, "seeds", (3,)), (LatentGrid, "token_offsets", (-1, -3)),
    ],
)  # fmt: skip
def test_lists_of_whole_numbers_too(kind, name, value):
    made = kind(**{name: tuple(np.array(value))})
    assert getattr(made, name) == value
    assert {type(number) for number in getattr(made, name)} == {int}
    with pytest.raises(TypeError, match=name):
        kind(**{name: (value[0] + 0.5,)})


def test_tables_of_whole_numbers_too():
    counts = {"train": 5, "validation": 6, "test": 7}
    given = {split: np.int32(count) for split, count in counts.items()}
    for kind, name in ((ProbeRun, "programs"), (RankRun, "programs"), (LatentGrid, "programs"), (RankRun, "max_rows")):
        kept = getattr(kind(**{name: given}), name)
        assert json.dumps(kept) == json.dumps(counts)
    grid = Grid(depths={"narrow": (np.int64(4),)}, actions={"train": (np.int64(2),)}, max_rows=given)
    assert json.loads(json.dumps(grid.to_json()))["depths"] == {"narrow": [4]}
    with pytest.raises(TypeError, match=r"actions\.train is 0\.5"):
        Grid(actions={"train": (0.5,)})


def test_numbers_are_kept_as_they_are_written():
    """Results are found again by the text of their settings."""
    made = ProbeConfig(learning_rate=np.float32(0.5), weight_decay=0)
    assert json.dumps([made.learning_rate, made.weight_decay]) == "[0.5, 0]"
    for wrong in (
        {"learning_rate": 0.0},
        {"learning_rate": math.inf},
        {"weight_decay": math.inf},
        {"weight_decay": -1},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is"):
            ProbeConfig(**wrong)


@pytest.mark.parametrize(
    ("made", "digest"),
    [
        (ProbeConfig(), "7002b748037ef296"),
        (ProbeConfig(weight_decay=0, schedule="exponential"), "b854a29635006949"),
        (Grid(), "57d70c5617cedc57"),
        (Grid(depths=("mlp1", "linear"), actions={"train": (0, 1)}, worlds="first"), "a924d61d98da132e"),
        (ProbeRun(), "26b890a660b1078d"),
        (ProbeRun(layers=(0, 2), protocol="paper"), "d17d526901519d17"),
        (ProbeRun.of(protocol="paper", seeds=(7,)), "955fa90898b462a5"),
        (RankRun(), "d7d8edba5e3e3817"),
        (RankRun(depths={"wide": (9, 8)}), "233aadad2b6019d7"),
        (SteerConfig(), "a47db9489123745f"),
        (SteerConfig(layers=[1, 2], carries=1), "1a5594314bff1fef"),
        (LatentGrid(), "da788acc524d5c75"),
        (LatentGrid(actions=4, config=ProbeConfig(best_on_test=True)), "0e86e7cbb6f65a97"),
    ],
)
def test_the_text_that_stored_results_are_found_by(made, digest):
    assert hashlib.sha256(json.dumps(made.to_json()).encode()).hexdigest()[:16] == digest
