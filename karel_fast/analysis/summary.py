"""RUN/summary.json: the few numbers of a run that people quote, in one small file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from karel_fast.analysis.costs import ORIGINAL_ACCURACY, ORIGINAL_FLOPS, ORIGINAL_TOKENS, RULE, costs_of, spent
from karel_fast.analysis.series import Run, phases_of
from karel_fast.runs.folder import RunFolder
from karel_fast.support.files import read_json_if_whole, write_json


def write_summary(folder: RunFolder, run: Run) -> None:
    """Write the summary, unless the file already says the same."""
    summary = summary_of(folder, run)
    if read_json_if_whole(folder.summary) != summary:
        write_json(folder.summary, summary)


def summary_of(folder: RunFolder, run: Run) -> dict[str, Any]:
    """Last and best evaluation, phases, costs, and the wall time of every stage."""
    accuracy = [
        (value, step)
        for step, value in zip(run.steps, run.evaluated("generative_accuracy"), strict=True)
        if value is not None
    ]
    names = ("generative_accuracy", "generalization", "perplexity", "distinct_programs", "samples")
    last = accuracy[-1][1] if accuracy else None
    best = max(accuracy)[1] if accuracy else None
    phases = phases_of(run)
    return {
        "preset": run.config.get("preset"),
        "machine": run.config.get("machine"),
        "last": _evaluation(run, last, names),
        "best": _evaluation(run, best, names),
        "snapshots": {"evaluated": len(run.evaluation), "probed": len(run.probed)},
        "phases": {"syntax": phases.syntax, "semantics": phases.semantics},
        "training": spent(run),
        "costs": [asdict(cost) for cost in costs_of(run)],
        "costs_rule": RULE,
        "original": {"generative_accuracy": ORIGINAL_ACCURACY, "tokens": ORIGINAL_TOKENS, "flops": ORIGINAL_FLOPS},
        "time": folder.times(),
    }


def _evaluation(run: Run, step: int | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    if step is None:
        return None
    evaluation = run.evaluation[step]
    return {"step": step, **{name: evaluation.get(name) for name in names}}
