"""The tables that an experiment ends with: what its snapshots can do and what probes read, and what that took."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def print_summary(folder: Path, console: Console) -> None:
    """A row per snapshot: how many specifications its programs satisfy, and what the deepest probe reads per feature."""
    from rich.table import Table

    from karel_fast.runs.folder import RunFolder

    run = RunFolder(folder)
    outputs = {step: metrics for step, metrics in run.read_all("evaluation").items() if "world_accuracy" in metrics}
    if outputs:
        _print_outputs(folder, outputs, console)
        return
    probing = run.read_all("probing")
    rows = [
        (step, metrics, _probe_cells(probing.get(step, {}))) for step, metrics in run.read_all("evaluation").items()
    ]
    features = list(dict.fromkeys(feature for *_, cells in rows for feature in cells))
    table = Table(title=f"{folder.name}: specifications satisfied, and what probes read of the program's state, in %")
    for heading in ("step", "satisfied", "distinct programs", *features):
        table.add_column(heading, justify="right")
    for step, metrics, cells in rows:
        accuracy = _percent(metrics["generative_accuracy"])
        table.add_row(
            str(step), accuracy, str(metrics["distinct_programs"]), *(cells.get(feature, "-") for feature in features)
        )
    console.print(table)
    console.print(
        "Probes: test accuracy under the original semantics, under each altered one, and (in brackets) of always "
        "answering the majority class.",
        highlight=False,
    )


def _print_outputs(folder: Path, evaluations: dict[int, dict[str, Any]], console: Console) -> None:
    """A row per snapshot of a model that writes outputs, and what copying the input gives."""
    from rich.table import Table

    names = ("cell_accuracy", "changed_cell_accuracy", "world_accuracy", "copy_cell_accuracy", "copy_world_accuracy")
    table = Table(title=f"{folder.name}: outputs that are right, in %")
    for heading in ("step", "cells", "changed cells", "worlds", "cells by copying", "worlds by copying"):
        table.add_column(heading, justify="right")
    for step, metrics in evaluations.items():
        cells = ("-" if metrics[name] is None else _percent(metrics[name]) for name in names)
        table.add_row(str(step), *cells)
    console.print(table)


def print_costs(folder: Path, console: Console) -> None:
    """What the accuracy cost, and what the original spent."""
    from rich.table import Table

    from karel_fast.analysis.costs import COLUMNS, RULE, cost_rows
    from karel_fast.analysis.series import Run
    from karel_fast.runs.folder import RunFolder

    table = Table(title="What it took to satisfy so many of the specifications")
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    for row in cost_rows(Run.read(RunFolder(folder))):
        table.add_row(*row)
    console.print(table)
    console.print(RULE, highlight=False)


def _probe_cells(probing: dict[str, Any]) -> dict[str, str]:
    """By feature, the mean over seeds and layers of the last depth's accuracy: original / altered .. (majority)."""
    records = [
        record
        for record in probing.get("records", [])
        if (record["offset"], record["labels"], record["states"]) == (0, "true", "trained")
        and record["accuracy"] is not None
    ]
    cells = {}
    for feature in dict.fromkeys(record["feature"] for record in records):
        chosen = [r for r in records if r["feature"] == feature and r["depth"] == records[-1]["depth"]]
        by_semantics: dict[str, list[float]] = {}
        for record in chosen:
            by_semantics.setdefault(record["semantics"], []).append(record["accuracy"])
        majority = _mean([r["majority"] for r in chosen if r["semantics"] == "original"])
        cells[feature] = f"{' / '.join(_percent(_mean(v)) for v in by_semantics.values())} ({_percent(majority)})"
    return cells


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
