"""The grid over a snapshot: interventions tell knowledge from computation, and nothing undefined gets out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from known_states import GRID, make_split, make_splits
from scipy import stats

import karel_fast as kf
from karel_fast.karel.language import CompiledPrograms
from karel_fast.model.tensors import write_tensors
from karel_fast.probing.clusters import read_clusters
from karel_fast.probing.experiments import (
    PROBE_SPLITS,
    Grid,
    Split,
    differences,
    gather_rows,
    run_experiment,
)
from karel_fast.probing.measures import MEASURES, measures_of_sums
from karel_fast.probing.pieces import PieceStore
from karel_fast.probing.places import read_places
from karel_fast.probing.probes.training import ProbeConfig
from karel_fast.support.files import read_json, write_json

FAST = ProbeConfig(epochs=4, least_steps=150, batch_size=128)
QUICK = ProbeConfig(epochs=1, least_steps=10, batch_size=128)


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> dict[str, Split]:
    return make_splits(tmp_path_factory.mktemp("tables"))


def find(result: dict, **where) -> list[dict]:
    return [r for r in result["records"] if all(r[k] == v for k, v in where.items())]


def test_knowledge_is_told_from_computation(splits, tmp_path):
    blank = {n: make_split(tmp_path / n, s.table.programs, i, knows=False) for i, (n, s) in enumerate(splits.items())}
    done: list[int] = []
    config = ProbeConfig(least_steps=600, batch_size=128)
    kept = tmp_path / "step-000001.npz"
    result = run_experiment(splits, GRID, config=config, untrained=[blank], clusters=kept, progress=done.append)
    assert sum(done) == len(result["records"]) == GRID.size(2, untrained=1)
    json.dumps(result, allow_nan=False)

    now = {"feature": "direction", "offset": 0, "labels": "true", "states": "trained", "layer": 1}
    original = [r["accuracy"] for r in find(result, semantics="original", **now)]
    flipped = [r["accuracy"] for r in find(result, semantics="flip", **now)]
    assert min(original) > 0.9
    assert max(flipped) < min(original) - 0.1
    noise = find(result, semantics="original", **{**now, "layer": 0})
    assert all(abs(r["accuracy"] - r["majority"]) < 0.12 for r in noise)
    for other in ({"labels": "shuffled"}, {"labels": "control"}, {"states": "untrained"}):
        for semantics in ("original", "flip"):
            baseline = find(result, semantics=semantics, **{**now, **other})
            assert len(baseline) == 3
            assert all(r["accuracy"] - r["majority"] < 0.12 for r in baseline)
    for record in result["records"]:
        assert record["lift"] == pytest.approx(record["accuracy"] - record["majority"])
        assert record["bits"] == pytest.approx(record["entropy"] - record["cross_entropy"])
    assert min(r["bits_share"] for r in find(result, semantics="original", **now)) > 0.7
    assert max(r["bits_share"] for r in find(result, semantics="original", **{**now, "states": "untrained"})) < 0.1

    [difference] = [
        d
        for d in result["differences"]
        if all(d[k] == v for k, v in now.items()) and (d["semantics"], d["measure"]) == ("flip", "accuracy")
    ]
    assert difference["mean"] == pytest.approx(np.mean(original) - np.mean(flipped))
    assert 0 < difference["low"] < difference["mean"] < difference["high"]
    assert 0 < difference["cluster_low"] < difference["mean"] < difference["cluster_high"]
    assert difference["seeds"] == 3

    del now["states"]
    doubled = {d["measure"]: d for d in result["differences_in_differences"] if all(d[k] == v for k, v in now.items())}
    of = {
        (s, k): np.mean([r["bits"] for r in find(result, semantics=s, states=k, **now)])
        for s in ("original", "flip")
        for k in ("trained", "untrained")
    }
    assert doubled["bits"]["mean"] == pytest.approx(
        of["original", "trained"] - of["original", "untrained"] - of["flip", "trained"] + of["flip", "untrained"]
    )
    assert doubled["bits"]["cluster_low"] < doubled["bits"]["mean"] < doubled["bits"]["cluster_high"]

    # What is kept is enough for every measure, without probing again.
    clusters = read_clusters(kept)
    again = measures_of_sums({name: sums.sum(1) for name, sums in clusters.sums.items()})
    for name in MEASURES:
        np.testing.assert_allclose(again[name], [r[name] for r in result["records"]], atol=1e-5)
    assert len(np.unique(clusters.actions, axis=0)) == len(clusters.actions)


def test_sums_by_place_are_those_of_the_records(splits, tmp_path):
    found = run_experiment(
        splits, replace(GRID, seeds=(0,), shuffled=False), config=FAST, clusters=tmp_path / "sums.npz"
    )
    places = read_places(tmp_path / "sums.npz")
    assert places is not None
    lengths = places.places.sum(1) + 1
    assert 2 <= lengths.min() <= lengths.max() <= 6
    for index, record in enumerate(found["records"]):
        total = places.sums["right"][index].sum() / places.sums["known"][index].sum()
        assert total == pytest.approx(record["accuracy"])
    # At offset 0 the state after the last action is left out, at offset 1 that after the last but one, too.
    index = [r["offset"] for r in found["records"]].index(1)
    distances, sums = places.by_distance("end")
    assert not sums["known"][index][distances < 2].any()


def test_the_first_world_alone(splits):
    """Its labels are the first of all; with the rows, nothing else changes."""
    every, first = (gather_rows(splits["test"], replace(GRID, worlds=w), "test", 300) for w in ("all", "first"))
    np.testing.assert_array_equal(every.rows, first.rows)
    for key, labels in every.labels.items():
        np.testing.assert_array_equal(labels[:, :1], first.labels[key])
    result = run_experiment(splits, replace(GRID, worlds="first", shuffled=False, control_task=False), config=FAST)
    knowing = find(result, layer=1, feature="direction", semantics="original", offset=0)
    assert len(knowing) == 3
    assert all(r["lift"] > 0.2 for r in knowing)


def test_pieces_are_the_whole(splits, tmp_path):
    """Stopped and gone on with, not one byte differs; trained at once, nothing but rounding."""
    grid = replace(GRID, seeds=(0, 1))
    store = PieceStore(tmp_path / "pieces", {"experiment": 1})
    never_stopped = PieceStore(tmp_path / "never stopped", {"experiment": 1})
    whole = run_experiment(splits, grid, config=QUICK, store=never_stopped, clusters=tmp_path / "whole.npz")
    at_once = run_experiment(splits, grid, config=QUICK)
    for one, other in zip(at_once["records"], whole["records"], strict=True):
        for name, value in one.items():
            assert value == other[name] or value == pytest.approx(other[name], rel=1e-5, abs=1e-6), name
    trained: list[int] = []

    def stop(probes: int) -> None:
        trained.append(probes)
        if len(trained) == 5:  # a call for each of two features in a piece
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_experiment(splits, grid, config=QUICK, store=store, progress=stop)
    # The third piece was stopped before it was kept.
    assert sorted(p.name for p in store.folder.iterdir()) == [
        f"piece-000{i}.{s}" for i in (0, 1) for s in ("json", "npz")
    ]
    np.savez(store.folder / "piece-0002.npz", half=np.zeros(3))
    before = store.folder.joinpath("piece-0001.json").stat().st_mtime_ns
    counted: list[int] = []
    pieces = run_experiment(
        splits, grid, config=QUICK, store=store, clusters=tmp_path / "pieces.npz", progress=counted.append
    )
    assert store.folder.joinpath("piece-0001.json").stat().st_mtime_ns == before
    assert sum(counted) == grid.size(2) == len(whole["records"])
    assert pieces == whole
    assert (tmp_path / "pieces.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    count = len(store_json(store, 0)["records"])
    assert store.get(0, count) is not None
    assert store.get(0, count + 1) is None
    assert PieceStore(store.folder, {"experiment": 2}).get(0, count) is None
    for change in ({"records": 3}, {"records": [{}] * count}, {"records": "x" * count}):
        write_json(store.folder / "piece-0000.json", {**store_json(store, 0), **change})
        assert store.get(0, count) is None, "what does not hold together is trained again"
    assert run_experiment(splits, grid, config=QUICK, store=store) == whole


def store_json(store: PieceStore, number: int) -> dict[str, Any]:
    return read_json(store.folder / f"piece-{number:04d}.json")


def test_differences_are_scipy_s_paired_test():
    cell = {"feature": "f", "offset": 0, "layer": 1, "depth": "linear", "labels": "true", "states": "trained"}
    cell["majority"] = 0.25
    original, altered = [0.9, 0.92, 0.95, 0.91], [0.6, 0.66, 0.61, 0.7]
    records = [
        {**cell, "semantics": name, "seed": s, "accuracy": v}
        for name, values in (
            ("original", original),
            ("flip", altered),
            ("one", [0.5]),
            ("same", [0.4, 0.42, 0.45, 0.41]),
        )
        for s, v in enumerate(values)
    ] + [{**cell, "semantics": "none", "seed": 0, "accuracy": None}]
    made = differences(records)
    found = {d["semantics"]: d for d in made if d["measure"] == "accuracy"}
    share = next(d for d in made if d["measure"] == "normalised" and d["semantics"] == "flip")
    assert share["mean"] == pytest.approx(found["flip"]["mean"] / 0.75)
    assert all(d["cluster_low"] is None for d in made)
    expected = stats.ttest_rel(original, altered)
    interval = expected.confidence_interval(0.95)
    assert found["flip"]["p"] == pytest.approx(expected.pvalue)
    assert (found["flip"]["low"], found["flip"]["high"]) == pytest.approx((interval.low, interval.high))
    assert found["one"]["mean"] == pytest.approx(0.4)
    assert found["one"]["low"] is None
    assert found["same"]["mean"] == pytest.approx(0.5)
    assert "none" not in found
    json.dumps(list(found.values()), allow_nan=False)


class TestSaid:
    """Runs with something missing: a note says so, and no number is undefined."""

    def result(self, splits, **grid) -> dict:
        result = run_experiment(splits, replace(GRID, **grid), config=QUICK)
        json.dumps(result, allow_nan=False)
        return result

    def test_no_correct_program(self, splits, tmp_path):
        wrong = {n: make_split(tmp_path / n, 60, i, correct=np.zeros(60, bool)) for i, n in enumerate(PROBE_SPLITS)}
        result = self.result(wrong, outcome="correct")
        assert "train: the snapshot wrote no correct program" in result["notes"]
        assert "test: no row has a label among correct programs" in result["notes"]
        assert all(r["accuracy"] is None and r["note"] for r in result["records"])
        assert result["differences"] == []

    def test_no_finished_program(self, splits, tmp_path):
        cut = {n: make_split(tmp_path / n, 60, i, finished=np.zeros(60, bool)) for i, n in enumerate(PROBE_SPLITS)}
        result = self.result(cut)
        assert "train: 60 of 60 programs were cut off at the length limit and left out" in result["notes"]

    def test_programs_of_one_length(self, splits, tmp_path):
        same = {n: make_split(tmp_path / n, 60, i, lengths=np.full(60, 4)) for i, n in enumerate(PROBE_SPLITS)}
        assert any("every program has 4 actions" in note for note in self.result(same)["notes"])

    def test_programs_too_short_for_any_state(self, splits, tmp_path):
        short = {n: make_split(tmp_path / n, 60, i, lengths=np.ones(60, int)) for i, n in enumerate(PROBE_SPLITS)}
        assert all(r["accuracy"] is None for r in self.result(short)["records"])

    def test_stopped_traces(self, splits):
        def crashing(actions, lengths, worlds, semantics):
            compiled = CompiledPrograms.from_actions(actions, lengths)
            return kf.trace(compiled, worlds, semantics=semantics, on_error="crash")

        grid = replace(GRID, seeds=(0,), shuffled=False, control_task=False)
        result = run_experiment(splits, grid, config=QUICK, tracer=crashing)
        assert any("runs stopped before their program's end" in note for note in result["notes"])

    def test_missing_split(self, splits):
        with pytest.raises(ValueError, match="validation is missing"):
            run_experiment({"train": splits["train"]}, GRID)

    def test_grids(self):
        with pytest.raises(ValueError, match="offsets is empty"):
            Grid(offsets=())
        with pytest.raises(ValueError, match="unknown feature 'x'"):
            Grid(features=("x",))
        with pytest.raises(ValueError, match="outcome is 'some'; use one of all, correct, wrong"):
            Grid(outcome="some")
        with pytest.raises(ValueError, match=r"max_rows\.train is 0"):
            Grid(max_rows={"train": 0, "validation": 1, "test": 1})

    @pytest.mark.parametrize(
        ("semantics", "said"),
        [("map12", "unknown semantics .map12."), ("move>fly", "names no action"), ("jump>move", "names no action")],
    )
    def test_meanings_are_checked_before_anything_is_written(self, semantics, said):
        with pytest.raises(ValueError, match=said):
            Grid(semantics=("original", semantics))

    def test_actions_that_no_program_has(self, splits):
        result = self.result(splits, actions={"train": (9,)})
        assert "train: no row has a label at actions 9 (from 0)" in result["notes"]
        assert all(r["accuracy"] is None and r["note"] for r in result["records"])


def test_saved_probes_are_those_that_were_scored(splits, tmp_path):
    """Loaded again, each probe answers the test rows as often right as its record says, and no file has none."""
    grid = replace(
        GRID, features=("direction", "position", "facing"), depths={"linear": (), "narrow": (16,)}, seeds=(0, 1)
    )
    path = tmp_path / "step-000001.safetensors"
    result = run_experiment(splits, grid, config=QUICK, untrained=[splits], probes=path)
    saved = kf.probing.load_probes(path.with_suffix(".json"))
    assert [probe.record for probe in saved] == result["records"]
    rows = gather_rows(splits["test"], grid, "test", grid.max_rows["test"])
    table = splits["test"].table
    for probe in saved:
        record = probe.record
        if record["labels"] != "true":
            continue
        labels = rows.labels[record["semantics"], record["offset"], record["feature"]]
        answers = probe.predict(table.hidden(rows.rows, table.layers.index(record["layer"])))
        known = (labels >= 0).all(-1)
        right = (answers == labels).all(-1)[known]
        assert (
            abs(right.sum() - record["accuracy"] * known.sum()) < 1.5
        )  # products of one probe alone round in their own way
        assert record["accuracy"] < 1 or record["feature"] != "direction"
    with pytest.raises(ValueError, match="keep no weights"):
        run_experiment(splits, grid, config=QUICK, probes=path, store=PieceStore(tmp_path / "pieces", {}))
    with pytest.raises(FileNotFoundError, match="--save-probes writes it"):
        kf.probing.load_probes(tmp_path / "step-000002.json")
    other = tmp_path / "other.safetensors"
    write_tensors(other, {}, {}, seal=True)
    with pytest.raises(ValueError, match="holds no probes"):
        kf.probing.load_probes(other)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="step-000001"):
        kf.probing.load_probes(path)
