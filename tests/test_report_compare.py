"""Several runs side by side, and the numbers that are quoted."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import fake_run
import numpy as np
import pytest
import typer
from scipy import stats
from typer.testing import CliRunner

from karel_fast.analysis.checklist import checklist
from karel_fast.analysis.compare import compare, interval, read_runs, unlike
from karel_fast.analysis.results import results_of
from karel_fast.analysis.series import Run, content_of
from karel_fast.cli import report as commands
from karel_fast.experiment.preset import load_preset
from karel_fast.probing.differences import differences
from karel_fast.report.seeds_figure import seeds_figure
from karel_fast.runs.folder import RunFolder, step_name
from karel_fast.support.files import write_json


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    """Three runs whose last snapshots satisfy 0.9, 0.8 and 0.7 of the specifications."""
    root = tmp_path_factory.mktemp("seeds")
    paths = []
    for seed in range(3):
        path = fake_run.make(root / f"seed{seed}", snapshots=4, seeds=2, examples=0)
        write_json(path / "config.json", {"experiment": {"model": {"width": 64}, "training": {"seed": seed}}})
        last = path / "evaluation" / f"{step_name(1200)}.json"
        write_json(last, {**json.loads(last.read_text()), "generative_accuracy": 0.9 - seed / 10})
        probing = path / "probing" / f"{step_name(1200)}.json"
        found = json.loads(probing.read_text())
        for record in found["records"]:
            if record["semantics"] == "flip":
                record["accuracy"] = max(0.0, record["accuracy"] - seed / 50)
                record["lift"] = record["accuracy"] - record["majority"]
        write_json(probing, {**found, "differences": differences(found["records"])})
        paths.append(path)
    return paths


def test_results_of_other_settings_are_read_where_there_are_some(tmp_path):
    """And a closer look of the run's own settings does not hide them; a run that has none is read with its own."""
    paths = [fake_run.make(tmp_path / f"seed{seed}", snapshots=2, seeds=1, examples=0) for seed in range(2)]
    own = json.loads((paths[0] / "probing" / "step-000400.json").read_text())
    other = [{**record, "accuracy": 0.5} for record in own["records"]]
    write_json(paths[0] / "probing" / "settings-1a2b3c4d" / "step-000400.json", {**own, "records": other})
    write_json(paths[0] / "closer" / "step-000400.json", own)
    read = read_runs(paths, settings=["settings-1a2b3c4d"])
    assert {record["accuracy"] for record in read[0].closest.records(400)} == {0.5}
    assert read[1].closest.records(400) == read_runs(paths[1:])[0].records(400)
    assert read_runs(paths)[0].closest.records(400) == own["records"]
    with pytest.raises(ValueError, match="no run has results of settings-99999999"):
        read_runs(paths, settings=["settings-1a2b3c4d", "settings-99999999"])
    shown = invoke("compare", *paths, "--settings", "settings-1a2b3c4d")
    assert "seed0: results of settings-1a2b3c4d" in shown.stderr
    assert "seed1: results" not in shown.stderr


def invoke(*args: object):
    app = typer.Typer()
    commands.register(app)
    return CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)


def test_intervals_are_scipy_s_over_runs(runs):
    found = compare(read_runs(runs), "direction", "mlp1")
    assert [row["generative_accuracy"] for row in found.rows] == pytest.approx([0.9, 0.8, 0.7])
    expected = stats.ttest_1samp([0.9, 0.8, 0.7], 0).confidence_interval(0.95)
    summary = found.summary["generative_accuracy"]
    assert (summary["low"], summary["high"], summary["runs"]) == pytest.approx((expected.low, expected.high, 3))
    # A run counts once: the mean over its probe seeds, original minus altered.
    records = RunFolder(runs[1]).read_all("probing")[1200]["records"]

    def accuracy(semantics: str) -> float:
        mine = [
            r["accuracy"]
            for r in records
            if (r["feature"], r["depth"], r["offset"], r["labels"], r["states"], r["semantics"])
            == ("direction", "mlp1", 0, "true", "trained", semantics)
        ]
        assert len(mine) == 2
        return sum(mine) / 2

    assert found.rows[1]["original - flip"] == pytest.approx(accuracy("original") - accuracy("flip"))
    flips = [row["original - flip"] for row in found.rows]
    assert flips[0] < flips[1] < flips[2]
    assert found.rows[0]["majority"] == pytest.approx(0.27)
    assert found.rows[0]["untrained"] == pytest.approx(0.35, abs=0.02)
    assert found.rows[0]["lift"] == pytest.approx(found.rows[0]["probe"] - 0.27)
    assert found.rows[0]["bits"] == pytest.approx(1.8 * found.rows[0]["normalised"])
    # Every meaning has the same majority here.
    assert found.rows[1]["lift: original - flip"] == pytest.approx(found.rows[1]["original - flip"])
    assert 0 < found.rows[0]["r2"] <= 1
    assert found.rows[0]["r2 on lift"] == pytest.approx(found.rows[0]["r2"])
    assert found.notes == ()
    assert found.comparable


def test_a_run_with_nothing_but_a_closer_look_has_its_columns(tmp_path):
    paths = [fake_run.make(tmp_path / f"seed{seed}", snapshots=2, seeds=1, examples=0) for seed in range(2)]
    usual = compare(read_runs(paths))
    for path in paths:
        (path / "probing").rename(path / "closer")
    found = compare(read_runs(paths))
    assert found.columns == usual.columns
    names = [name for name in found.columns if not name.startswith("r2")]
    assert [found.rows[1][name] for name in names] == [usual.rows[1][name] for name in names]
    assert found.rows[1]["original - flip"] is not None


def test_a_meaning_of_the_closer_look_alone_has_its_columns(tmp_path):
    path = fake_run.make(tmp_path / "run", snapshots=2, seeds=1, examples=0)
    stored = json.loads((path / "probing" / "step-000400.json").read_text())
    records = [
        {**record, "semantics": name}
        for record in stored["records"]
        for name in {"flip": ("flip", "move>turn_left")}.get(record["semantics"], (record["semantics"],))
    ]
    write_json(
        path / "closer" / "step-000400.json", {**stored, "records": records, "differences": differences(records)}
    )
    [row] = compare(read_runs([path])).rows
    assert row["original - move>turn_left"] == pytest.approx(row["original - flip"])


def test_the_command_prints_and_writes(runs, tmp_path):
    done = invoke("compare", *runs, "--out", tmp_path / "table")
    lines = done.stdout.splitlines()
    assert done.exit_code == 0
    assert [line.split()[1] for line in lines[2:6]] == ["90.0", "80.0", "70.0", "80.0"]
    assert lines[-1] == str(tmp_path / "table" / "comparison.json")
    written = json.loads((tmp_path / "table" / "comparison.json").read_text())
    assert written["summary"]["generative_accuracy"]["mean"] == pytest.approx(0.8)
    table = list(csv.reader((tmp_path / "table" / "comparison.csv").read_text().splitlines()))
    assert len({len(row) for row in table}) == 1
    assert (tmp_path / "table" / "comparison.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "nan" not in (tmp_path / "table" / "comparison.svg").read_text().lower().replace("dominant", "")


def test_runs_that_are_not_alike_are_said(runs, tmp_path):
    other = fake_run.make(tmp_path / "other", snapshots=3, seeds=1, examples=0)
    write_json(other / "config.json", {"experiment": {"model": {"width": 128}, "training": {"seed": 0}}})
    (other / "evaluation" / f"{step_name(400)}.json").write_text("{")
    found = compare(read_runs([runs[0], other]))
    assert not found.comparable
    assert all(found.summary[name]["low"] is None for name in found.columns)
    assert found.summary["probe"]["mean"] is not None
    notes = "\n".join(found.notes)
    for said in ("model.width", "same training.seed", "last evaluated at different steps: seed0 1200, other 800",
                 "probed for different probe seeds: seed0 0, 1; other 0",
                 "no intervals: these runs are not one experiment with several seeds",
                 "other: evaluation/step-000400.json is not whole"):  # fmt: skip
        assert said in notes


def test_seeds_of_a_preset_are_one_experiment(runs):
    read = read_runs(runs)
    of_seed = [
        replace(run, config={"experiment": load_preset("smoke", {"training": {"seed": seed}}).source})
        for seed, run in enumerate(read)
    ]
    assert unlike(of_seed) == []
    assert "same training.seed" in "".join(unlike([of_seed[0], of_seed[0]]))
    assert checklist(of_seed)[0].over == f"{len(runs)} runs"


def test_runs_without_settings_are_not_known_to_be_alike(runs):
    read = [replace(run, config={}) for run in read_runs(runs)]
    assert "is not known: seed0, seed1" in "".join(unlike(read))
    row = checklist(read)[0]
    assert row.runs == len(read)
    assert (row.low, row.high, row.over) == (None, None, "")


def test_without_a_preset_the_snapshots_say_how_runs_were_trained(tmp_path):
    def trained(name, **changes):
        card = {"step": 3, "recipe_hash": "r", "layout": "compact", "model_hash": "m", "train": {"steps": 3, **changes}}
        write_json(tmp_path / name / "snapshots" / "step-000003" / "karel_fast.json", card)
        return replace(Run.read(RunFolder(tmp_path / name)), config={})

    one, other, longer = trained("one", seed=0), trained("other", seed=1), trained("longer", seed=2, lr=1.0)
    assert unlike([one, other]) == []
    assert "differ in more than their seed: training.lr" in "".join(unlike([one, longer]))
    # A preset's tables name what it sets alone; of a run that has none, only the snapshots can be compared.
    of_a_preset = replace(one, config={"experiment": {"training": {"steps": 3}, "recipe": {"height": 5}}})
    assert unlike([of_a_preset, other]) == []


def test_one_run_and_a_run_without_probes(runs, tmp_path):
    one = compare(read_runs(runs[:1]))
    assert one.summary["probe"]["low"] is None
    write_json(tmp_path / "bare" / "evaluation" / f"{step_name(1200)}.json", {"step": 1200, "generative_accuracy": 0.5})
    both = compare(read_runs([tmp_path / "bare", runs[0]]))
    assert both.rows[0]["probe"] is None
    assert both.rows[0]["generative_accuracy"] == 0.5
    assert both.summary["probe"]["runs"] == 1
    assert "bare never" in "\n".join(both.notes)
    bare = invoke("compare", tmp_path / "bare", "--out", tmp_path / "out")
    assert bare.exit_code == 0
    assert "50.0" in bare.stdout


def test_wrong_requests(runs, tmp_path):
    with pytest.raises(ValueError, match="named twice"):
        read_runs([runs[0], runs[0]])
    with pytest.raises(FileNotFoundError, match="no run folder"):
        read_runs([tmp_path / "none"])
    with pytest.raises(ValueError, match="holds no evaluation"):
        read_runs([tmp_path])
    with pytest.raises(ValueError, match="feature 'speed'; there is direction, position, facing"):
        compare(read_runs(runs), "speed")
    with pytest.raises(ValueError, match="depth 'mlp9'"):
        compare(read_runs(runs), depth="mlp9")


def test_intervals_that_are_not_there():
    assert interval([None, None]) == {"mean": None, "low": None, "high": None, "runs": 0}
    assert interval([0.5, None]) == {"mean": 0.5, "low": None, "high": None, "runs": 1}
    assert interval([0.5, 0.5])["low"] is None


def test_results_have_the_regression_and_nothing_undefined(runs):
    run = Run.read(RunFolder(runs[0]))
    found = results_of(run)
    json.dumps(found, allow_nan=False)
    content = [found["semantic_content"]["mlp1"][str(step)] for step in run.steps]
    # Without the snapshot before the first update.
    expected = stats.linregress(content[1:], run.evaluated("generative_accuracy")[1:])
    fits = [
        f for f in found["regression"] if (f["feature"], f["depth"], f["offset"], f["measure"]) == (None, "mlp1", 0, "accuracy")
    ]  # fmt: skip
    assert (fits[0]["r2"], fits[0]["p"], fits[0]["n"]) == pytest.approx((expected.rvalue**2, expected.pvalue, 3))
    assert [f["lag"] for f in fits] == [0, 1, 2]
    assert found["final"]["step"] == 1200
    [probe] = [r for r in found["probes"] if (r["feature"], r["depth"], r["offset"]) == ("facing", "linear", 0)]
    assert probe["original_minus"].keys() == {"flip", "adversarial"}


def test_other_offsets_and_the_regression_without_the_untrained_snapshot(runs):
    run = Run.read(RunFolder(runs[0]))
    offset = next(offset for offset in run.names("offset") if offset != 0)
    accuracy = run.evaluated("generative_accuracy")
    content = content_of(run, "linear", "facing", offset)
    assert run.steps[0] == 0
    expected = stats.linregress(content[1:], accuracy[1:])
    row = compare(read_runs(runs[:1]), "facing", "linear", offset).rows[0]
    assert row["r2"] == pytest.approx(expected.rvalue**2)
    last = run.records(run.probed[-1])
    of_probe = [
        r["accuracy"] for r in last
        if (r["feature"], r["depth"], r["offset"], r["semantics"], r["labels"], r["states"])
        == ("facing", "linear", offset, "original", "true", "trained")
    ]  # fmt: skip
    assert row["probe"] == pytest.approx(np.mean(of_probe))
    figure = seeds_figure([run], "facing", "linear", offset)
    line = next(line for line in figure.axes[1].get_lines() if len(line.get_ydata()) > 1)
    assert line.get_ydata()[-1] == pytest.approx(np.mean(of_probe))
    assert figure.axes[1].get_title(loc="left").endswith(f"offset {offset:+d}")
    with pytest.raises(ValueError, match="offset 9; there is"):
        compare(read_runs(runs), offset=9)
