"""Mutation fuzzing of every kind of file: what is changed gives the same data or an error that speaks to the user, never another
exception, never other data. KAREL_FAST_MUTATIONS=100 tries a hundred times as many.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_run
import numpy as np
import pytest
import torch
from mutations import Kept, mutated_bytes, mutated_value
from tiny_model import tiny_config, tiny_rows

import karel_fast as kf
from karel_fast.cli import _is_about_input
from karel_fast.cli.data import read_recipe
from karel_fast.data import Recipe, open_shards, write_shards
from karel_fast.data.storage.jsonl import read_records
from karel_fast.exact.solution_files import SolutionSet, read_solutions, write_solutions
from karel_fast.experiment.preset import PRESETS, load_preset
from karel_fast.model import from_hf
from karel_fast.probing.table import HiddenTable, TableWriter
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import list_snapshots, read_card, read_resume
from karel_fast.support.files import parse_json, write_json
from karel_fast.training import TrainConfig, train

RECIPE = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(2, 3))
CONTROL = Recipe.control_flow(height=5, width=5, examples=2, held_out=1)
RECORD = {"code": "def run() { repeat (3) { move() } }", "input0": "####\n#>.#\n####", "output0": "####\n#.>#\n####"}

Read = Callable[[], Any]
REFUSED = object()


def read_or_refused(read: Read) -> Any:
    """What is read, or REFUSED for an error that is one line at the command line; any other error is a fault."""
    try:
        return read()
    except Exception as error:
        if not _is_about_input(error) or not str(error):
            raise
        return REFUSED


def never_other_data(
    path: Path, read: Read, count: int, same: Callable[[Any, Any], bool] = lambda a, b: a == b
) -> None:
    """Whatever happens to the file's bytes, it is refused or gives what it gave."""
    right = read()
    with Kept(path) as content:
        for number, damaged in enumerate(mutated_bytes(content, count)):
            path.write_bytes(damaged)
            found = read_or_refused(read)
            assert found is REFUSED or same(found, right), f"mutation {number}: other data"


def never_another_exception(path: Path, read: Read, mutations: Any) -> int:
    """Whatever somebody writes into the file, it is read or refused. Returns how often it was refused."""
    refused = 0
    with Kept(path):
        for changed in mutations:
            path.write_bytes(changed if isinstance(changed, bytes) else json.dumps(changed).encode())
            refused += read_or_refused(read) is REFUSED
    return refused


def without_seal(path: Path) -> dict[str, Any]:
    """A JSON file's content as a forger, or an earlier version, writes it: without checksums."""
    content = parse_json(path.read_text(encoding="utf-8"), path)
    return {name: value for name, value in content.items() if name not in ("sha256", "files")}


# -- what people write ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [RECIPE, CONTROL], ids=["straight", "control"])
def test_recipes(tmp_path, recipe):
    path = tmp_path / "recipe.json"
    path.write_text(recipe.to_json())

    def read() -> str:
        return read_recipe(str(path)).hash

    assert never_another_exception(path, read, mutated_value(json.loads(recipe.to_json()), 300)) > 100
    assert never_another_exception(path, read, mutated_bytes(path.read_bytes(), 200)) > 50


@pytest.mark.parametrize("name", ["smoke", "laptop"])
def test_presets(tmp_path, name):
    path = tmp_path / "preset.toml"
    content = (PRESETS / f"{name}.toml").read_bytes()
    path.write_bytes(content)
    assert never_another_exception(path, lambda: load_preset(str(path)), mutated_bytes(content, 150)) > 50


def test_settings_of_presets(tmp_path):
    path = tmp_path / "preset.toml"
    path.write_text("")
    source = load_preset("laptop").source
    tables = {key: value for key, value in source.items() if isinstance(value, dict)}

    def toml(value: dict[str, Any]) -> bytes:
        lines = [f"[{json.dumps(table)}]\n" + "".join(f"{json.dumps(k)} = {inline(v)}\n" for k, v in settings.items())
                 for table, settings in value.items() if isinstance(settings, dict)]  # fmt: skip
        return "\n".join(lines).encode("utf-8", "replace")

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        return '"nothing"' if value is None else json.dumps(value)

    changed = (toml(value) for value in mutated_value(tables, 300))
    assert never_another_exception(path, lambda: load_preset(str(path)), changed) > 100


def test_programs():
    sources = ("def run() { repeat (3) { ifelse (not front_is_clear()) { move() } else { turnLeft(); } }; put_marker() }",
               "DEF run m( REPEAT R=3 r( IFELSE c( not c( frontIsClear c) c) i( move i) ELSE e( turnLeft e) r) m)")  # fmt: skip
    for source in sources:
        for damaged in mutated_bytes(source.encode(), 400):
            text = damaged.decode("utf-8", "surrogateescape")
            found = read_or_refused(lambda text=text: kf.parse(text))
            assert found is REFUSED or kf.parse(str(found)) == found


def test_worlds():
    text = "#####\n#>.3#\n#.#.#\n#####"
    for damaged in mutated_bytes(text.encode(), 300):
        found = read_or_refused(lambda content=damaged: kf.Worlds.from_text([content.decode("latin-1")]))
        assert found is REFUSED or kf.Worlds.from_text(found.to_text()).to_text() == found.to_text()


def test_records(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(RECORD) + "\n" + json.dumps(RECORD) + "\n")

    def read() -> int:
        return len(read_records(path).programs)

    assert never_another_exception(path, read, mutated_bytes(path.read_bytes(), 150)) > 30
    assert never_another_exception(path, read, mutated_value(RECORD, 100)) > 20


# -- data -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(RECIPE, "train", folder, count=40, shard_size=20, threads=1)
    return folder


def arrays(folder: Path) -> list[np.ndarray]:
    samples = open_shards(folder).samples(0, 40)
    worlds = (samples.inputs, samples.outputs)
    return [samples.symbols, samples.lengths, *(part for w in worlds for part in (w.walls, w.markers, w.robot))]


def same_arrays(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def test_shards(shards):
    never_other_data(shards / "shard-00001.parquet", lambda: arrays(shards), 150, same_arrays)


def test_manifests(shards):
    path = shards / ".manifest.json"
    never_other_data(path, lambda: arrays(shards), 60, same_arrays)
    assert never_another_exception(path, lambda: arrays(shards), mutated_value(without_seal(path), 150)) > 80


def test_solutions(tmp_path):
    write_solutions(SolutionSet(RECIPE, "test", count=6, shard_size=3), tmp_path, threads=1)
    path = sorted(tmp_path.glob("*.parquet"))[0]
    never_other_data(path, lambda: read_solutions(tmp_path), 100, lambda some, other: some.equals(other))


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    config = TrainConfig(steps=2, batch_size=2, snapshot_every=2, compile=False, precision="fp32", device="cpu")
    train(config, tiny_config(layers=1), tiny_rows, run, pad_id=0)
    return run


def same_tensors(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> bool:
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "karel_fast.json"])
def test_snapshots(trained, name):
    snapshot = list_snapshots(trained)[-1]

    def read() -> dict[str, torch.Tensor]:
        read_card(snapshot)
        return from_hf(snapshot).state_dict()

    never_other_data(snapshot / name, read, 40, same_tensors)


def test_snapshots_of_others(trained, tmp_path):
    """Without checksums other weights cannot be told; but nothing else may happen."""
    folder = shutil.copytree(list_snapshots(trained)[-1], tmp_path / "snapshot")
    card = folder / "karel_fast.json"
    content = without_seal(card)
    card.unlink()
    config = folder / "config.json"
    assert never_another_exception(config, lambda: from_hf(folder), mutated_value(without_seal(config), 150)) > 30
    weights = folder / "model.safetensors"
    assert (
        never_another_exception(weights, lambda: from_hf(folder), mutated_bytes(weights.read_bytes()[:2000], 40)) > 20
    )
    card.write_text(json.dumps(content))
    assert never_another_exception(card, lambda: read_card(folder), mutated_value(content, 100)) > 5


def test_the_state_of_training(trained):
    def same(some: Any, other: Any) -> bool:
        return (
            (some.step, some.seconds, some.card) == (other.step, other.seconds, other.card)
            and same_tensors(some.weights, other.weights)
            and same_tensors(some.optimizer, other.optimizer)
        )

    never_other_data(trained / "resume.safetensors", lambda: read_resume(trained), 100, same)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    writer = TableWriter(folder, width=4, layers=(0,), max_actions=3, identity={})
    actions, every = np.zeros((9, 3), np.uint8), np.ones(9, bool)
    writer.append(actions, np.full(9, 3), every, every, np.ones((9, 3, 4), np.float32))
    writer.close()
    return folder


def read_table(folder: Path) -> list[np.ndarray]:
    opened = HiddenTable(folder)
    return [
        opened.actions, opened.lengths, opened.correct, opened.finished, opened.first_row,
        opened.hidden(np.arange(min(opened.rows, 27))),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["hidden.npy", "lengths.npy"])
def test_tables(table, name):
    never_other_data(table / "part-00000" / name, lambda: read_table(table), 60, same_arrays)


def test_heads_of_tables(table):
    path = table / "table.json"
    never_other_data(path, lambda: read_table(table), 60, same_arrays)
    assert never_another_exception(path, lambda: read_table(table), mutated_value(without_seal(path), 150)) > 50


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    run = fake_run.make(tmp_path_factory.mktemp("runs") / "whole", snapshots=3, seeds=2, layers=["mean"])
    for path in (run / "probing").glob("step-*.json"):
        write_json(path, {**without_seal(path), "records": without_seal(path)["records"][:20]})
    return run


def test_the_log_of_training(reported):
    path = reported / "metrics.jsonl"
    lines = {json.dumps(line) for line in RunFolder(reported).metrics()}
    with Kept(path) as content:
        for damaged in mutated_bytes(content, 60):
            path.write_bytes(damaged)
            found = RunFolder(reported).metrics()
            assert (
                len(lines & {json.dumps(line) for line in found}) >= len(lines) - 4 or len(damaged) < len(content) - 100
            )


@pytest.mark.parametrize("kind", ["probing", "evaluation"])
def test_results(reported, kind):
    """A damaged file is left out, and said to be; the others are read."""
    path = sorted((reported / kind).glob("step-*.json"))[-1]
    whole = RunFolder(reported).read_all(kind)
    without = {step: value for step, value in whole.items() if step != max(whole)}
    with Kept(path) as content:
        for damaged in mutated_bytes(content, 40):
            path.write_bytes(damaged)
            folder = RunFolder(reported)
            found = folder.read_all(kind)
            assert found == whole or (found == without and path.name in folder.problems[-1])
