"""`evaluate RUN --every-snapshot`: what is kept is what is printed, for the weights that there are, and nothing is replaced."""

import json
from dataclasses import replace

import pytest
import torch
import typer
from evaluated_model import RECIPE, TOKENIZER, shape
from typer.testing import CliRunner

from karel_fast.analysis.series import Run
from karel_fast.cli.training import register
from karel_fast.model import Transformer
from karel_fast.model.shape import DecodingConfig
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import write_snapshot
from karel_fast.training.config import EvaluationConfig
from karel_fast.training.kept_evaluation import evaluate_snapshot, is_evaluated

CONFIG = EvaluationConfig(specifications=9, on_the_way=5, start=3, text=False, free=False)
PLAIN = DecodingConfig(device="cpu", compile_decoding=False)
OPTIONS = ("--specifications=9", "--on-the-way=5", "--start=3", "--no-text", "--no-free", "--device=cpu")


@pytest.fixture
def run(tmp_path):
    """Two snapshots of untrained models."""
    for seed, step in enumerate((10, 20)):
        torch.manual_seed(seed)
        card = {"recipe": RECIPE.to_json(), "layout": "compact"}
        write_snapshot(tmp_path / "run", step, Transformer(shape()), card, TOKENIZER)
    return tmp_path / "run"


def invoke(*words):
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, ["evaluate", *map(str, words), "--no-compile-decoding"], catch_exceptions=False)


def test_every_snapshot_is_kept_as_it_is_printed_alone(run):
    told = invoke(run, "--every-snapshot", *OPTIONS).stdout.splitlines()
    assert told[0] == f"{run}: specifications of test, from 3; shares in %"
    assert [line.split()[:2] for line in told[2:4]] == [["10", "5"], ["20", "9"]]
    assert max(map(len, told[1:4])) < 80
    assert told[-1] == str(run / "evaluation")
    for step in (10, 20):
        alone = json.loads(invoke(run / "snapshots" / f"step-{step:06d}", *OPTIONS, "--json").stdout)
        kept = json.loads((run / "evaluation" / f"step-{step:06d}.json").read_text())
        assert {name: kept.get(name) for name in alone if name not in ("snapshot", "split", "start")} == {
            name: value for name, value in alone.items() if name not in ("snapshot", "split", "start")
        }
        assert (kept["settings"]["split"], kept["settings"]["start"]) == ("test", 3)
    read = Run.read(RunFolder(run))
    assert read.steps == [10, 20]
    assert read.evaluated("loss") == [
        one["loss"] for one in json.loads(invoke(run, "--every-snapshot", *OPTIONS, "--json").stdout)
    ]


def test_a_snapshot_named_from_inside_its_run(run, monkeypatch):
    monkeypatch.chdir(run / "snapshots")
    for name, count in (("step-000010", 5), ("step-000020", 9)):
        assert json.loads(invoke(name, *OPTIONS, "--json").stdout)["samples"] == count
    monkeypatch.chdir("step-000010")
    assert json.loads(invoke(".", *OPTIONS, "--json").stdout)["samples"] == 5


def test_what_is_done_is_not_done_again_and_other_weights_are(run, monkeypatch):
    first = evaluate_snapshot(run, run / "snapshots" / "step-000010", TOKENIZER, CONFIG, PLAIN)
    before = first.read_bytes()
    with monkeypatch.context() as patch:
        patch.delattr("karel_fast.training.kept_evaluation.generate")
        assert evaluate_snapshot(run, run / "snapshots" / "step-000010", TOKENIZER, CONFIG, PLAIN) == first
    write_snapshot(run, 10, Transformer(shape()), {"recipe": RECIPE.to_json(), "layout": "compact"}, TOKENIZER)
    assert not is_evaluated(run, run / "snapshots" / "step-000010", CONFIG)
    assert evaluate_snapshot(run, run / "snapshots" / "step-000010", TOKENIZER, CONFIG, PLAIN) == first
    assert first.read_bytes() != before


def test_other_settings_stand_beside_and_a_preset_s_own_take_the_place(run):
    snapshot = run / "snapshots" / "step-000020"
    first = evaluate_snapshot(run, snapshot, TOKENIZER, CONFIG, PLAIN)
    content = first.read_bytes()
    other = replace(CONFIG, start=50)
    beside = evaluate_snapshot(run, snapshot, TOKENIZER, other, PLAIN)
    assert beside.parent.parent == first.parent
    assert first.read_bytes() == content
    told = invoke(run, "--every-snapshot", *OPTIONS, "--start=50").stdout
    assert f"--settings {beside.parent.name}" in told
    assert not is_evaluated(run, snapshot, other, own=True)
    assert evaluate_snapshot(run, snapshot, TOKENIZER, other, PLAIN, own=True) == first
    moved = [path for path in first.parent.glob("settings-*/step-000020.json") if path.read_bytes() == content]
    assert len(moved) == 1
    assert json.loads(first.read_text())["settings"]["start"] == 50


def test_results_without_settings_are_the_preset_s_own(run):
    """As versions wrote them that had `reproduce` alone for it."""
    snapshot = run / "snapshots" / "step-000020"
    path = evaluate_snapshot(run, snapshot, TOKENIZER, CONFIG, PLAIN)
    stored = json.loads(path.read_text())
    del stored["settings"], stored["sha256"]
    path.write_text(json.dumps(stored))
    assert is_evaluated(run, snapshot, CONFIG, own=True)
    assert not is_evaluated(run, snapshot, CONFIG)
    assert evaluate_snapshot(run, snapshot, TOKENIZER, CONFIG, PLAIN) != path


@pytest.mark.parametrize("option", ["--recipe=paper", "--layout=rows", "--any-recipe", "--data=some.jsonl"])
def test_options_of_other_specifications_are_refused(run, option):
    with pytest.raises(ValueError, match=f"{option.split('=')[0]}: --every-snapshot is of the run's own"):
        invoke(run, "--every-snapshot", option)
    with pytest.raises(ValueError, match="--output: --every-snapshot keeps its results"):
        invoke(run, "--every-snapshot", "--output=some.json")
    with pytest.raises(ValueError, match="holds no snapshot"):
        invoke(run / "snapshots" / "step-000010", "--every-snapshot")
