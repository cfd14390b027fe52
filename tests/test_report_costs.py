"""What an accuracy cost: interpolated by the stated rule, beside a budget that is counted as ours is; and what is kept."""

from __future__ import annotations

import json

import fake_run
import numpy as np
import pytest
import torch

from karel_fast.analysis.costs import ORIGINAL_FLOPS, ORIGINAL_TOKENS, Cost, cost_rows, costs_of
from karel_fast.analysis.keep import MOST_BYTES, keep_results
from karel_fast.analysis.series import Run
from karel_fast.model import Transformer, model_config
from karel_fast.report import write_report
from karel_fast.runs.folder import RunFolder, step_name
from karel_fast.support.files import read_json, write_json


def made(path, accuracies, log=True) -> RunFolder:
    """Snapshots every 100 steps; a step takes 2 s, 10 tokens and a thousandth of a millionth of the original's budget."""
    path.mkdir(exist_ok=True)
    for i, accuracy in enumerate(accuracies):
        step = 100 * i
        content = {"step": step, "samples": 10, "generative_accuracy": accuracy}
        write_json(path / "evaluation" / f"{step_name(step)}.json", content)
    lines = [
        {"step": s, "loss": 1.0, "seconds": 2.0 * s, "tokens": 10 * s, "flops": 1e-6 * ORIGINAL_FLOPS * s}
        for s in range(50, 100 * len(accuracies), 50)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines if log))
    return RunFolder(path)


def test_interpolated_between_the_first_snapshot_there_and_the_one_before(tmp_path):
    folder = made(tmp_path / "run", [0.1, 0.2, 0.6, 0.5, None, 0.8])
    quarter, half, three, nine = costs_of(Run.read(folder))
    for cost, step in ((quarter, 112.5), (half, 175.0), (three, 300 + 200 * 25 / 30)):
        assert (cost.step, cost.seconds) == (pytest.approx(step), pytest.approx(2 * step))
        assert (cost.tokens, cost.share) == (pytest.approx(10 * step), pytest.approx(1e-6 * step))
        assert cost.flops == pytest.approx(cost.share * ORIGINAL_FLOPS)
    assert nine == Cost(0.9)
    rows = cost_rows(Run.read(folder))
    assert rows[0] == ("25 %", "112", "225 s", "1.1e+03", f"{quarter.flops:.2g}", "0.011 %")
    assert rows[3][:2] == ("90 %", "not reached")
    assert rows[4][0] == "92.4 %, original"


def test_reached_at_the_first_snapshot(tmp_path):
    assert costs_of(Run.read(made(tmp_path / "run", [0.3, 0.4])))[0] == Cost(0.25, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_without_a_log_or_evaluation(tmp_path):
    cost = costs_of(Run.read(made(tmp_path / "run", [0.0, 0.5], log=False)))[0]
    assert (cost.step, cost.seconds, cost.flops, cost.share) == (50.0, None, None, None)
    assert cost_rows(Run.read(made(tmp_path / "none", []))) == []


def test_the_original_s_budget_is_counted_as_ours():
    with torch.device("meta"):
        model = Transformer(model_config(50_345, 2_048, layers=20, width=1_024, heads=16, rotary_dim=32))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(355e6, rel=0.01)
    assert ORIGINAL_TOKENS * model.flops_per_token(2_048) == ORIGINAL_FLOPS
    assert abs(ORIGINAL_TOKENS / 2.6e9 - 1) < 0.01


def test_summary_and_page(tmp_path):
    folder = made(tmp_path / "run", [0.1, 0.2, 0.6, 0.5])
    write_json(folder.path / "time.json", {"train": {"seconds": 600.0, "longest": 600.0}})
    page = write_report(folder.path).read_text(encoding="utf-8")
    assert "<td>112</td><td>225 s</td>" in page
    assert "not reached" in page
    summary = read_json(folder.summary)
    assert summary["best"]["step"] == 200
    assert summary["last"]["step"] == 300
    assert summary["training"] == {"seconds": 700.0, "tokens": 3500.0, "flops": pytest.approx(3.5e-4 * ORIGINAL_FLOPS)}
    assert summary["costs"][0]["seconds"] == pytest.approx(225.0)
    assert summary["time"]["train"]["seconds"] == 600.0
    before = folder.summary.stat().st_mtime_ns
    write_report(folder.path)
    assert folder.summary.stat().st_mtime_ns == before


def test_small_results_are_kept(tmp_path):
    run = fake_run.make(tmp_path / "run", snapshots=4, seeds=3)
    with pytest.raises(ValueError, match="no report yet"):
        keep_results(run, tmp_path / "kept")
    write_report(run)
    (tmp_path / "kept").mkdir()
    for form in ("phases.svg", "phases.png"):
        (tmp_path / "kept" / form).write_text("of an earlier call")
    kept = keep_results(run, tmp_path / "kept")
    assert len(list(kept.glob("phases.*"))) == 1
    names = {path.name for path in kept.iterdir()}
    assert {"config.json", "summary.json", "metrics.json"} < names
    assert {name.split(".")[0] for name in names} >= {"phases", "probes", "interventions", "edit-map"}
    assert sum(path.stat().st_size for path in kept.iterdir()) < MOST_BYTES
    metrics = read_json(kept / "metrics.json")
    evaluation = dict(zip(metrics["evaluation"]["columns"], metrics["evaluation"]["rows"][1], strict=True))
    assert evaluation["step"] == 400
    probing = metrics["probing"][3]
    assert probing["step"] == 1200
    row = dict(zip(probing["probes"]["columns"], probing["probes"]["rows"][0], strict=True))
    cell = ("feature", "depth", "layer", "offset", "semantics", "labels", "states")
    stored = read_json(run / "probing" / "step-001200.json")
    found = [r["accuracy"] for r in stored["records"] if all(r[name] == row[name] for name in cell)]
    assert len(found) == row["seeds"] == 3
    assert (row["accuracy"], row["lowest"], row["highest"]) == pytest.approx(
        (np.mean(found), min(found), max(found)), abs=1e-4
    )
    for name in ("differences", "differences_in_differences"):
        assert len(probing[name]["rows"]) == len(stored[name]) > 0
    assert len(metrics["steering"][0]["records"]["rows"]) == len(fake_run.edits()["records"])


def test_results_too_large_for_git_are_refused(tmp_path, monkeypatch):
    run = made(tmp_path / "run", [0.1, 0.2]).path
    write_report(run)
    monkeypatch.setattr("karel_fast.analysis.keep.MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="too large"):
        keep_results(run, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
