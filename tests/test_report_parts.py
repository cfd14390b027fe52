"""The report of a run that is not whole: going on, damaged, with parts missing, or none at all."""

from __future__ import annotations

import json
import re
import shutil

import fake_run
import pytest

from karel_fast.report import write_report
from karel_fast.runs.folder import step_name
from karel_fast.support.files import write_json


def test_a_run_in_progress(tmp_path):
    """Half-written files, missing numbers and odd values: said, skipped, never drawn as if they were there."""
    run = fake_run.make(tmp_path / "run", snapshots=4, examples=2)
    (run / "evaluation" / f"{step_name(400)}.json").write_text('{"step": 400, "generative_acc')
    write_json(run / "evaluation" / f"{step_name(800)}.json", {"step": 800, "generative_accuracy": None, "samples": 0})
    (run / "probing" / f"{step_name(800)}.json").write_text("[]")
    log = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(log + '{"step": 1300, "loss": NaN}\n{"step": 13')
    examples = json.loads((run / "examples" / f"{step_name(1200)}.json").read_text())
    del examples["examples"][0]["worlds"]
    write_json(run / "examples" / f"{step_name(1200)}.json", examples)
    probing = json.loads((run / "probing" / f"{step_name(1200)}.json").read_text())
    for record in probing["records"]:
        if record["feature"] == "facing":
            record["accuracy"] = None
    probing["notes"] = ["train: the snapshot wrote no correct program"]
    write_json(run / "probing" / f"{step_name(1200)}.json", probing)
    text = write_report(run).read_text()
    for said in (
        "evaluation/step-000400.json is not whole",
        "probing/step-000800.json is not whole",
        "is not whole; it was left out",
        "examples/step-001200.json: 1 examples were not whole",
        "step 1200: train: the snapshot wrote no correct program",
        "no accuracy at step",
    ):
        assert said in text, said
    for file in (run / "report" / "figures").glob("*.csv"):
        assert "nan" not in file.read_text().lower()
    for file in (run / "report" / "figures").glob("*.svg"):
        assert not re.search(r"[^a-z]nan[^a-z]", file.read_text().lower()), file


@pytest.mark.parametrize("kept", ["metrics.jsonl", "evaluation", "probing"])
def test_parts_of_a_run(tmp_path, kept):
    """One kind of file alone still makes a report, which says what it lacks."""
    whole = fake_run.make(tmp_path / "whole", snapshots=3, seeds=1)
    run = tmp_path / "run"
    run.mkdir()
    (shutil.copytree if (whole / kept).is_dir() else shutil.copy)(whole / kept, run / kept)
    text = write_report(run).read_text()
    assert "Not shown:" in text
    assert text.count('<figure class="plot"') >= 1


def test_a_figure_that_is_no_longer_there_leaves_no_files(tmp_path):
    run = fake_run.make(tmp_path / "run", snapshots=3, seeds=2)
    write_report(run)
    assert (run / "report" / "figures" / "probes.png").exists()
    shutil.rmtree(run / "probing")
    write_report(run)
    assert not list((run / "report" / "figures").glob("probes.*"))


def test_nothing_to_report(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        write_report(tmp_path / "none")
    with pytest.raises(ValueError, match="holds nothing to report"):
        write_report(tmp_path)


def test_names_are_escaped(tmp_path):
    run = fake_run.make(tmp_path / "<b>run", snapshots=3, seeds=1, examples=0)
    write_json(run / "config.json", {"note": "</pre><script>alert(1)</script>"})
    text = write_report(run).read_text()
    assert "<b>run" not in text
    assert text.count("<script>") == 1
