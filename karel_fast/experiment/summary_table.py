"""The tables that an experiment ends with: what its snapshots can do and what probes read, and what that took."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from karel_fast.analysis.outcome import PROBE_NOTE, percent, probe_lines, probe_rows

if TYPE_CHECKING:
    from rich.console import Console


def print_summary(folder: Path, console: Console) -> None:
    """A row per snapshot: how many specifications its programs satisfy; then what probes read of the last one."""
    from rich.markup import escape
    from rich.table import Table

    from karel_fast.runs.folder import RunFolder

    run = RunFolder(folder)
    outputs = {step: metrics for step, metrics in run.read_all("evaluation").items() if "world_accuracy" in metrics}
    if outputs:
        _print_outputs(folder, outputs, console)
        return
    table = Table(title=f"{escape(folder.name)}: specifications satisfied", title_justify="left")
    for heading in ("step", "satisfied, %", "different programs", "perplexity"):
        table.add_column(heading, justify="right")
    for step, metrics in run.read_all("evaluation").items():
        worse = metrics.get("perplexity")
        table.add_row(
            str(step), percent(metrics.get("generative_accuracy")), str(metrics.get("distinct_programs", "-")),
            "-" if worse is None else f"{worse:.2f}",
        )  # fmt: skip
    console.print(table)
    for step, probing in list(run.read_all("probing").items())[-1:]:
        rows = probe_rows(probing)
        if rows:
            _print_probes(step, rows, console)


def _print_probes(step: int, rows: list[dict[str, Any]], console: Console) -> None:
    """What the deepest probes of the last snapshot read, a row for each feature and meaning."""
    from rich.table import Table

    head, *lines = probe_lines(rows)
    table = Table(title=f"What probes of depth {rows[0]['depth']} read at step {step}", title_justify="left")
    for place, heading in enumerate(head):
        table.add_column(heading, justify="left" if place < 2 else "right")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    console.print(PROBE_NOTE, highlight=False, markup=False)


def _print_outputs(folder: Path, evaluations: dict[int, dict[str, Any]], console: Console) -> None:
    """A row per snapshot of a model that writes outputs, and what copying the input gives."""
    from rich.markup import escape
    from rich.table import Table

    names = ("cell_accuracy", "changed_cell_accuracy", "world_accuracy", "copy_cell_accuracy", "copy_world_accuracy")
    table = Table(title=f"{escape(folder.name)}: outputs that are right, in %")
    for heading in ("step", "cells", "changed cells", "worlds", "cells by copying", "worlds by copying"):
        table.add_column(heading, justify="right")
    for step, metrics in evaluations.items():
        cells = (percent(metrics.get(name)) for name in names)
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
