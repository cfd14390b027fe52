"""Runs trained on two meanings, each probed under both."""

from __future__ import annotations

import json
from pathlib import Path

import fake_run
import pytest
from rich.console import Console
from scipy import stats
from tiny_preset import TINY

from karel_fast.analysis.compare import read_runs
from karel_fast.analysis.crossover import crossover, recipe_of
from karel_fast.analysis.crossover_cells import GAIN
from karel_fast.experiment.preset import load_preset, read_changes
from karel_fast.experiment.reproduce import reproduce
from karel_fast.karel.language import Semantics, resolve_semantics
from karel_fast.probing.measures import MEASURES, measures
from karel_fast.runs.folder import step_name
from karel_fast.support.checks import InputError
from karel_fast.support.files import read_json, write_json


def write_run(path: Path, trained: str, lifts: dict[str, float], recipe: dict | None = None) -> Path:
    """A run trained on a meaning; lifts: what direction probes read under each name, of two probe seeds."""
    experiment = {"recipe": {"lengths": [2, 3], "semantics": trained, **(recipe or {})}}
    write_json(path / "config.json", {"experiment": experiment})
    records = [
        {
            "feature": "direction", "offset": 0, "semantics": name, "labels": "true", "states": states, "layer": "mean",
            "depth": "linear", "seed": seed, "accuracy": 0.25 + lift + change, "majority": 0.25,
            **measures(0.25 + lift + change, 0.25, 2.0, 1.5),
        }
        for name, value in lifts.items()
        for states, lift in (("trained", value), ("untrained", 0.02))
        for seed, change in ((0, 0.01), (1, -0.01))
    ]  # fmt: skip
    write_json(path / "probing" / f"{step_name(8)}.json", {"step": 8, "records": records, "notes": []})
    return path


@pytest.fixture
def runs(tmp_path) -> tuple[list[Path], list[Path]]:
    first = [write_run(tmp_path / f"a{i}", "original", {"original": 0.2 + i / 50, "map8": 0.1}) for i in range(3)]
    # In the other runs' files "original" is the meaning they were trained on.
    other = [write_run(tmp_path / f"b{i}", "map8", {"original": 0.3 + i / 100, "identity": 0.1}) for i in range(2)]
    return first, other


def test_the_interaction_and_its_interval(runs):
    first, other = runs
    found = crossover(read_runs(first), read_runs(other))
    assert (found.a, found.b) == ("identity", "map8")
    row = next(row for row in found.rows if row["measure"] == "lift")
    assert [row[cell] for cell in ("a_a", "a_b", "b_a", "b_b")] == pytest.approx([0.22, 0.1, 0.1, 0.305])
    assert row["interaction"] == pytest.approx(0.12 + 0.205)
    test = stats.ttest_ind([0.1, 0.12, 0.14], [-0.2, -0.21], equal_var=False)
    assert [row["low"], row["high"]] == pytest.approx(list(test.confidence_interval(0.95)))
    assert row["p"] == pytest.approx(test.pvalue)
    gain = next(row for row in found.rows if row["measure"] == GAIN)
    assert gain["a_a"] == pytest.approx(0.2)
    assert gain["interaction"] == pytest.approx(row["interaction"])
    json.dumps(found.to_json(), allow_nan=False)
    # The other way round it is the same number.
    turned = crossover(read_runs(other), read_runs(first))
    assert next(r for r in turned.rows if r["measure"] == "lift")["interaction"] == pytest.approx(row["interaction"])


def test_one_run_of_each_has_no_interval(runs):
    found = crossover(read_runs(runs[0][:1]), read_runs(runs[1][:1]))
    assert {row["low"] for row in found.rows} == {None}


def without_interval(found) -> str:
    """The notes of a crossover that has no interval for what they say."""
    assert {row[name] for row in found.rows for name in ("low", "high", "p")} == {None}
    assert all(row["interaction"] is not None for row in found.rows)
    return "; ".join(found.notes)


def test_runs_that_are_no_replicates_have_no_interval(runs, cli):
    first, other = runs
    assert crossover(read_runs(first), read_runs(other)).notes == ()

    def train(path: Path, **settings: object) -> None:
        config = json.loads((path / "config.json").read_text())
        config.pop("sha256")
        config["experiment"].setdefault("training", {}).update(settings)
        write_json(path / "config.json", config)

    for seed, path in enumerate(first):
        train(path, steps=400, seed=seed)
    for path in other:
        train(path, steps=50, seed=0)
    notes = without_interval(crossover(read_runs(first), read_runs(other)))
    assert "some runs have the same training.seed" in notes
    assert "a0 and b0 were trained otherwise: training.steps" in notes
    for seed, path in enumerate(other):
        train(path, steps=400, seed=seed)
    # Seeds that are alike in pairs of two kinds are no fault.
    assert crossover(read_runs(first), read_runs(other)).notes == ()
    earlier = other[1] / "probing" / f"{step_name(8)}.json"
    found = json.loads(earlier.read_text())
    found.pop("sha256")
    earlier.unlink()
    write_json(other[1] / "probing" / f"{step_name(4)}.json", {**found, "step": 4})
    notes = without_interval(crossover(read_runs(first), read_runs(other)))
    assert notes == "the runs were last probed at different steps: a0 8, a1 8, a2 8, b0 8, b1 4"
    _, out, _ = cli("crossover", *first, *(part for b in other for part in ("--against", b)))
    assert "b1 4; no interval." in out


def test_a_meaning_by_pairs_is_the_one_it_names(tmp_path, runs):
    pairs = "move>turn_left+turn_left>move+pick_marker>put_marker+put_marker>pick_marker"
    one = write_run(tmp_path / "pairs", "original", {"original": 0.2, pairs: 0.1})
    assert crossover(read_runs([one]), read_runs(runs[1])).b == "map8"


def test_of_the_published_grid_and_of_the_grid_of_reading(tmp_path):
    def latent_rows(lifts: dict[str, float]) -> list[dict]:
        return [
            {
                "withhold": "space", "learn_on": part, "tokens": -3, "feature": "direction", "semantics": name,
                "depth": "mlp1", "states": states, "actions_back": 1, "unseen": [lift, None], "seen": [0.9, 0.9],
                "lift": [0.9, 0.9], "accuracy": [0.9, 0.9], "majority": [0.0, 0.0],
            }
            for name, value in lifts.items()
            for states, lift in (("trained", value), ("untrained", 0.02))
            for part in ("start", "end")
        ]  # fmt: skip

    lifts = [("original", {"original": 0.2, "map8": 0.1}), ("map8", {"original": 0.3, "identity": 0.1})]
    for index, (trained, values) in enumerate(lifts):
        run = write_run(tmp_path / f"run{index}", trained, dict.fromkeys(values, 0.5))
        grid = {"step": 8, "rows": latent_rows(values), "actions": 9, "notes": []}
        write_json(run / "latent-grid" / f"{step_name(8)}.json", grid)
        published = write_run(tmp_path / "elsewhere", trained, {name: 2 * lift for name, lift in values.items()})
        (published / "probing").rename(run / "paper-grid")
    a, b = read_runs([tmp_path / "run0"]), read_runs([tmp_path / "run1"])
    latent = {row["measure"]: row for row in crossover(a, b, readings="latent-grid").rows}
    assert sorted(latent) == ["gain", "lift"]
    assert latent["lift"]["offset"] == -3
    assert latent["lift"]["interaction"] == pytest.approx(0.1 - (0.1 - 0.3))
    published = next(r for r in crossover(a, b, readings="paper-grid").rows if r["measure"] == "lift")
    assert published["interaction"] == pytest.approx(0.6)
    assert next(r for r in crossover(a, b).rows if r["measure"] == "lift")["interaction"] == pytest.approx(0)
    for name in ("run0", "run1"):
        (tmp_path / name / "probing").rename(tmp_path / name / "elsewhere")
    for readings in ("latent-grid", "paper-grid"):
        assert [run.name for run in read_runs([tmp_path / "run0"], readings)] == ["run0"]
    with pytest.raises(ValueError, match=r"holds no evaluation/step-\*.json and no paper/step-"):
        read_runs([tmp_path / "run0"], "paper")
    with pytest.raises(InputError, match=r"karel-fast probe --protocol paper .*run0 --semantics original,map8"):
        crossover(a, b, readings="paper")
    with pytest.raises(ValueError, match=r"readings is .latent.; did you mean .latent-grid."):
        crossover(a, b, readings="latent")


def test_the_command(tmp_path, runs, cli):
    options = [item for path in runs[1] for item in ("--against", path)]
    code, out, _ = cli("crossover", *runs[0], *options, "--out", tmp_path / "out")
    assert code == 0
    assert "a: identity, 3 runs; b: map8, 2 runs." in out
    assert out.splitlines()[2].split()[:4] == ["direction", "linear", "0", "lift"]
    assert sorted(p.suffix for p in (tmp_path / "out").iterdir()) == [".csv", ".json", ".png", ".svg"]
    lines = (tmp_path / "out" / "crossover.csv").read_text().splitlines()
    assert len({line.count(",") for line in lines}) == 1


def test_wrong_runs_are_said_in_one_line(tmp_path, runs):
    first, other = runs
    bare = write_run(tmp_path / "bare", "map8", {"original": 0.2})
    longer = write_run(tmp_path / "longer", "map8", {"original": 0.2, "identity": 0.1}, {"lengths": [2, 4]})
    nothing = write_run(tmp_path / "nothing", "map8", {"original": 0.2, "identity": 0.1})
    (nothing / "config.json").unlink()
    numberless = write_run(tmp_path / "numberless", "map8", {"original": 0.2, "identity": 0.1})
    stored = numberless / "probing" / f"{step_name(8)}.json"
    records = read_json(stored)["records"]
    write_json(
        stored,
        {"step": 8, "records": [{**r, "accuracy": None, **dict.fromkeys(MEASURES)} for r in records], "notes": []},
    )
    for against, said in (
        ([bare], "bare was not probed under identity: karel-fast probe .*bare --semantics identity,original"),
        ([longer], r"longer was trained on another recipe than a0 \(lengths\)"),
        ([first[1]], "all runs were trained on identity"),
        ([other[0], first[1]], "b0 was trained on map8, those beside it on identity"),
        ([numberless], "numberless was probed under both meanings, but none .* probing.unfinished=true"),
        ([nothing], "nothing does not say what it was trained on"),
    ):
        with pytest.raises(InputError, match=said):
            crossover(read_runs(first[:1]), read_runs(against))
    with pytest.raises(InputError, match="for position; they share: direction linear 0"):
        crossover(read_runs(first), read_runs(other), "position")


def test_a_preset_trains_on_another_meaning(tmp_path, monkeypatch):
    fake_run.without_figures(monkeypatch)
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    changes = read_changes(['recipe.semantics="map8"', 'probing.semantics=["original", "identity"]'])
    reproduce(load_preset(str(path), changes), tmp_path / "run", Console(quiet=True))
    run = read_runs([tmp_path / "run"])[0]
    assert recipe_of(run).semantics == resolve_semantics("map8")
    (tmp_path / "run" / "snapshots").rename(tmp_path / "elsewhere")
    assert recipe_of(run).semantics == resolve_semantics("map8")
    assert {record["semantics"] for record in run.records(4)} == {"original", "identity"}
    pairs = load_preset(str(path), read_changes(['recipe.semantics="move>turn_left+turn_left>move"']))
    assert pairs.recipe.semantics == Semantics(move="turn_left", turn_left="move")
