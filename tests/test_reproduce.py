"""A whole experiment, tiny: every stage writes its files, and a second call changes nothing."""

from __future__ import annotations

import io
import json
import signal
from pathlib import Path

import fake_run
import pytest
from rich.console import Console
from signals import foreground_signals, signal_at
from tiny_preset import TINY
from typer.testing import CliRunner

from karel_fast.analysis.keep import keep_results
from karel_fast.cli import app
from karel_fast.data import Tokenizer
from karel_fast.experiment.pieces import OutOfTime, Pieces
from karel_fast.experiment.preset import load_preset, read_changes
from karel_fast.experiment.reproduce import _train, _write_config, reproduce
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import list_snapshots, read_card, read_resume, snapshot_path
from karel_fast.support.checks import InputError
from karel_fast.support.files import read_json, write_json
from karel_fast.training.bar import TrainingBar


@pytest.fixture
def tiny(tmp_path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return str(path)


def modified(folder: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and "report" not in path.parts
    }


def test_every_stage_and_nothing_twice(tiny, tmp_path):
    folder, console = tmp_path / "run", Console(file=(shown := io.StringIO()), width=200)
    page = reproduce(load_preset(tiny), folder, console)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    for kind in ("evaluation", "probing"):
        assert [path.name for path in sorted((folder / kind).glob("*.json"))] == [
            "step-000000.json", "step-000002.json", "step-000004.json"
        ]  # fmt: skip
    # Examples and baselines are those of the last snapshot.
    assert [path.name for path in (folder / "examples").glob("*.json")] == ["step-000004.json"]
    for step, probed in (
        (2, {"trained true"}),
        (4, {"trained true", "trained shuffled", "trained control", "untrained true"}),
    ):
        records = json.loads((folder / "probing" / f"step-{step:06d}.json").read_text())["records"]
        assert {f"{record['states']} {record['labels']}" for record in records} == probed
    metrics = [json.loads(path.read_text()) for path in sorted((folder / "evaluation").glob("*.json"))]
    assert [one["samples"] for one in metrics] == [6, 6, 8]
    assert all(0 <= one["generative_accuracy"] <= 1 for one in metrics)
    rows = [[cell.strip() for cell in line.split("│")[1:4]] for line in shown.getvalue().splitlines() if "│" in line]
    for one in metrics:
        assert [str(one["step"]), str(one["samples"]), f"{100 * one['generative_accuracy']:.1f}"] in rows
    before = modified(folder)
    reproduce(load_preset(tiny), folder, console)
    assert modified(folder) == before


def test_a_closer_look_at_the_last_snapshot(tmp_path):
    path = tmp_path / "closer.toml"
    path.write_text(
        TINY
        + """[closer]
programs = { train = 30, validation = 8, test = 8 }
features = ["direction"]
depths = { linear = [], narrow = [4, 3] }
offsets = [-1, 0]
seeds = [0, 1, 2]
batch_size = 16
learning_rate = 1e-2
"""
    )
    folder = tmp_path / "run"
    page = reproduce(load_preset(str(path)), folder, Console(quiet=True))
    assert [file.name for file in (folder / "closer").glob("*.json")] == ["step-000004.json"]
    closer = json.loads((folder / "closer" / "step-000004.json").read_text())
    assert {(r["depth"], r["offset"]) for r in closer["records"]} == {
        (depth, offset) for depth in ("linear", "narrow") for offset in (-1, 0)
    }
    assert {(r["states"], r["labels"]) for r in closer["records"]} == {
        ("trained", "true"), ("trained", "shuffled"), ("trained", "control"), ("untrained", "true")
    }  # fmt: skip
    assert {r["seed"] for r in closer["records"]} == {0, 1, 2}
    assert (closer["config"]["batch_size"], closer["config"]["learning_rate"]) == (16, 1e-2)
    # The last snapshot's other probes are those of all snapshots.
    for step in (2, 4):
        records = json.loads((folder / "probing" / f"step-{step:06d}.json").read_text())["records"]
        assert {(r["states"], r["labels"], r["depth"]) for r in records} == {("trained", "true", "linear")}
    results = json.loads((page.parent / "results.json").read_text())
    rows = {(row["feature"], row["depth"], row["offset"]): row for row in results["probes"]}
    assert {key for key in rows if key[0] == "direction"} == {
        ("direction", depth, offset) for depth in ("linear", "narrow") for offset in (-1, 0)
    }
    assert ("position", "linear", 0) in rows
    assert ("position", "narrow", 0) not in rows
    assert {row["depth"] for row in results["regression"]} == {"linear"}
    found = CliRunner().invoke(app, ["compare", str(folder), "--depth", "narrow", "--out", str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    keep_results(folder, tmp_path / "kept")
    kept = json.loads((tmp_path / "kept" / "metrics.json").read_text())
    assert [one["step"] for one in kept["closer"]] == [4]


def test_wrong_probes_end_the_call_before_training(tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(TINY + '[closer]\nprograms = { train = 9, validation = 9, test = 9 }\nfeatures = ["speed"]\n')
    with pytest.raises(ValueError, match="unknown feature 'speed'"):
        reproduce(load_preset(str(path)), tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("evaluation.shortest=9", r"\[evaluation\]: shortest is 9, but the recipe's programs have at most 2"),
        ("evaluation.start=72057594037927936", r"\[evaluation\]: start is 72057594037927936"),
        ("probing.shortest=9", r"\[probing\]: shortest is 9"),
        ("closer.shortest=9", r"\[closer\]: shortest is 9"),
        ("probing.test_start=72057594037927936", r"\[probing\]: start is 72057594037927936"),
        ("probing.specifications='nope.jsonl'", "nope.jsonl"),
        ("probing.seeds=[0,0]", r"\[probing\]: seeds has 0 twice; name each once"),
        ("probing.offsets=[1,1]", r"\[probing\]: offsets has 1 twice"),
        ("probing.layers=[0,0]", r"\[probing\]: layers has 0 twice"),
        ("recipe.control={if_weight=1}", r"\[recipe\]: has control flow, .* leave out control"),
        ("data.first_sample=72057594037927930", r"\[data\]: first_sample is 72057594037927930"),
        ("model.heads=5", r"\[model\]: "),
    ],
)
def test_what_would_fail_after_the_training(tiny, tmp_path, change, message):
    """Each of these was found hours later, and then the folder held another experiment."""
    with pytest.raises((InputError, FileNotFoundError), match=message):
        reproduce(load_preset(tiny, read_changes([change])), tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_a_place_to_keep_that_is_a_file(tiny, tmp_path):
    (tmp_path / "kept").write_text("")
    for keep in ("kept", "kept/here"):
        found = CliRunner().invoke(
            app, ["reproduce", tiny, "--output", str(tmp_path / "run"), "--keep", str(tmp_path / keep)]
        )
        assert "kept is a file, not a folder; give another place" in str(found.exception)
        assert not (tmp_path / "run").exists()


def test_a_stopped_run_goes_on(tiny, tmp_path, monkeypatch):
    fake_run.without_figures(monkeypatch)
    console = Console(quiet=True)
    reproduce(load_preset(tiny), tmp_path / "whole", console)
    reproduce(load_preset(tiny), tmp_path / "stopped", console)
    kept = (tmp_path / "stopped" / "probing" / "step-000004.json").read_bytes()
    for kind in ("evaluation", "probing"):
        (tmp_path / "stopped" / kind / "step-000004.json").unlink()
    reproduce(load_preset(tiny), tmp_path / "stopped", console)
    assert (tmp_path / "stopped" / "probing" / "step-000004.json").read_bytes() == kept
    weights = "snapshots/step-000004/model.safetensors"
    assert (tmp_path / "stopped" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_in_the_smallest_pieces(tmp_path, monkeypatch):
    """No minutes at all, so that every call does one piece: the results are those of one call, and no more of them."""
    fake_run.without_figures(monkeypatch)
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace("steps = 4", "steps = 4\nlog_every = 1"))
    console, whole, pieces = Console(quiet=True), tmp_path / "whole", tmp_path / "pieces"
    reproduce(load_preset(str(path)), whole, console)
    found = CliRunner().invoke(app, ["reproduce", str(path), "--output", str(pieces), "--minutes", "0.000001"])
    assert found.exit_code == 75
    assert found.stdout == ""
    assert found.stderr.splitlines()[-1] == (
        f"{pieces}: stopped training after 1 of 4 updates; the same command goes on"
    )
    stops = []
    for _ in range(20):
        try:
            reproduce(load_preset(str(path)), pieces, console, minutes=1e-6)
            break
        except OutOfTime as stopped:
            stops.append(str(stopped))
    assert stops == [
        "training after 2 of 4 updates",
        "training after 3 of 4 updates",
        "before evaluating the snapshot of step 0",
        "before evaluating the snapshot of step 2",
        "before evaluating the snapshot of step 4",
        "before probing the snapshot of step 0",
        "before probing the snapshot of step 2",
        "before probing the snapshot of step 4",
        "before the report",
    ]
    names = [sorted(p.relative_to(run) for p in run.rglob("*") if p.is_file()) for run in (whole, pieces)]
    assert names[0] == names[1]
    for kind in ("evaluation/*.json", "probing/*.json", "snapshots/*/model.safetensors"):
        for path in whole.glob(kind):
            assert (pieces / path.relative_to(whole)).read_bytes() == path.read_bytes(), path
    for name in ("loss", "grad_norm", "tokens", "flops"):
        assert [line[name] for line in RunFolder(pieces).metrics()] == [
            line[name] for line in RunFolder(whole).metrics()
        ]
    assert set(read_json(pieces / "time.json")) == {"train", "evaluate", "probe"}


def test_samples_are_used_over_and_over(tmp_path):
    """8 samples and batches of 8: the second update sees the first one's rows again."""
    losses = {}
    for samples in (0, 8):
        path, run = tmp_path / f"of{samples}.toml", tmp_path / f"run{samples}"
        path.write_text(
            TINY.replace("steps = 4", "steps = 2\nlog_every = 1\nlr = 0.0") + f"[data]\nsamples = {samples}\n"
        )
        preset = load_preset(str(path))
        _train(preset, Tokenizer(preset.recipe), run, Pieces(run))
        losses[samples] = [line["loss"] for line in RunFolder(run).metrics()]
        assert read_card(list_snapshots(run)[-1])["samples"] == samples
    assert losses[8][0] == losses[8][1] == losses[0][0] != losses[0][1]


def test_ctrl_c_is_one_line(tmp_path, tiny, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("karel_fast.experiment.reproduce.reproduce", interrupted)
    found = CliRunner().invoke(app, ["reproduce", tiny, "--output", str(tmp_path / "run")])
    assert found.exit_code == 130
    assert "the same command goes on from the last saved state" in found.stderr


def test_sigterm_loses_no_update(tmp_path, monkeypatch):
    path, run = tmp_path / "tiny.toml", tmp_path / "run"
    path.write_text(TINY.replace("steps = 4", "steps = 4\nlog_every = 1"))
    monkeypatch.setattr(TrainingBar, "__call__", signal_at(3, signal.SIGTERM))
    with foreground_signals():
        found = CliRunner().invoke(app, ["reproduce", str(path), "--output", str(run)])
    assert found.exit_code == 130
    assert read_resume(run).step == 3
    assert not (run / "evaluation").exists()


def test_another_experiment_is_not_mixed_in(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    _write_config(load_preset(tiny), tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"another experiment: training.seed is 0 there and 1 here; choose another --output"
    ):
        reproduce(load_preset(tiny, {"training": {"seed": 1}}), tmp_path / "run", Console(quiet=True))


def test_a_run_that_was_trained_on_is_not_taken_for_the_experiment(tiny, tmp_path):
    preset = load_preset(tiny)
    (tmp_path / "run").mkdir()
    _write_config(preset, tmp_path / "run")
    beyond = snapshot_path(tmp_path / "run", preset.training.steps + 1)
    write_json(beyond / "karel_fast.json", {"step": preset.training.steps + 1})
    said = rf"{beyond.name}: the experiment ends after {preset.training.steps} updates, and this run was trained on"
    with pytest.raises(InputError, match=said):
        reproduce(preset, tmp_path / "run", Console(quiet=True))


def test_a_run_that_was_begun_otherwise_is_not_taken_for_this_one(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "resume.safetensors").touch()
    with pytest.raises(InputError, match=r"holds a run and no config\.json"):
        reproduce(load_preset(tiny), tmp_path / "run", Console(quiet=True))
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize("table", ["training", "decoding"])
def test_a_preset_s_own_device_stands(tmp_path, table):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY.replace(f"[{table}]", f'[{table}]\ndevice = "cuda:97"') if f"[{table}]" in TINY else
                    f'{TINY}\n[{table}]\ndevice = "cuda:97"\n')  # fmt: skip
    done = CliRunner().invoke(app, ["reproduce", str(path), "--output", str(tmp_path / "run")])
    assert "cuda:97" in str(done.exception or done.output)
    assert not (tmp_path / "run" / "snapshots").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '{"experiment": {"training": {"steps": 4}, "karel_fast": 1}',
            "config.json: .*what the run was begun with is not known",
        ),
        ("[1]", "holds a JSON list, not an object; what the run was begun with is not known: choose another --output"),
        ("{}", "experiment is null there and a table here"),
        ('{"experiment": 3}', "experiment is 3 there and a table here"),
        ('{"experiment": {"training": {"steps": 4}}}', "config.json spells its settings as an earlier version did"),
        ('{"experiment": {"recipe": null, "decoding": {}}}', "recipe is null there and a table here"),
    ],
)
def test_what_a_run_was_begun_with_must_be_known(tiny, tmp_path, text, says):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=says):
        _write_config(load_preset(tiny), tmp_path)


def test_a_damaged_description_of_a_run_is_said_to_be_so(tiny, tmp_path):
    preset = load_preset(tiny)
    _write_config(preset, tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"steps": 4', '"steps": 5'))
    with pytest.raises(InputError, match=r"config.json.*; what the run was begun with is not known") as found:
        _write_config(preset, tmp_path)
    assert "another experiment" not in str(found.value)


def test_seeds_differ_in_their_samples(tiny, tmp_path, monkeypatch):
    """Another seed begins elsewhere in the train split, so runs differ in data order as well as in weights."""
    begun = []
    monkeypatch.setattr("karel_fast.experiment.reproduce.reproduce", lambda preset, *_, **__: begun.append(preset.data))
    for seed in ("0", "1"):
        CliRunner().invoke(app, ["reproduce", str(tiny), "--seed", seed, "--output", str(tmp_path)])
    CliRunner().invoke(app, ["reproduce", str(tiny), "--set", "training.seed=2", "--output", str(tmp_path)])
    assert [data.first_sample for data in begun] == [0, 2**32, 2 * 2**32]
    changed = load_preset(str(tiny), {"training": {"seed": 1}, "data": {"first_sample": 5}})
    assert (changed.data.first_sample, changed.source["data"]["first_sample"]) == (5, 5)


def test_a_run_goes_on_by_its_folder(tmp_path, monkeypatch):
    preset = tmp_path / "own.toml"
    preset.write_text(TINY)
    changes = {"training": {"seed": 3, "steps": 6, "device": "cpu"}}
    run = tmp_path / "elsewhere"
    _write_config(load_preset(str(preset), changes), run)
    preset.unlink()
    begun = []
    monkeypatch.setattr("karel_fast.experiment.reproduce.reproduce", lambda *given, **_: begun.append(given[:2]))
    for words in ([], ["--set", "training.lr=0.5"]):
        CliRunner().invoke(app, ["reproduce", str(run), *words])
    (again, folder), (other, _) = begun
    assert (again.name, folder, again.training.steps, again.data.first_sample) == ("own", run, 6, 3 * 2**32)
    _write_config(again, run)  # it is the same experiment
    reseeded = load_preset(str(run), {"training": {"seed": 4}})
    assert reseeded.data.first_sample == 4 * 2**32  # another seed trains on other samples, from a run's folder too
    _write_config(load_preset(str(run), {"data": {"first_sample": 5}}), tmp_path / "moved")
    assert load_preset(str(tmp_path / "moved"), {"training": {"seed": 4}}).data.first_sample == 5  # it was asked for
    with pytest.raises(ValueError, match=r"another experiment: training.lr is not set there and 0.5 here"):
        _write_config(other, run)
    (run / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="does not say what the run was begun with"):
        load_preset(str(run))


def test_a_run_of_an_earlier_version_is_refused_in_one_line(tiny, tmp_path):
    (tmp_path / "run").mkdir()
    earlier = {"preset": "tiny", "experiment": {"evaluation": {"compile": False}, "training": {"seed": 0}}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(earlier))
    with pytest.raises(ValueError, match="spells its settings as an earlier version did"):
        reproduce(load_preset(tiny), tmp_path / "run", Console(quiet=True))
