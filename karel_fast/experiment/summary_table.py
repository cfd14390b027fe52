"""The tables that an experiment ends with: what its snapshots can do and what probes read, and what that took."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from karel_fast.analysis.outcome import PROBE_NOTE, chosen_layer_rows, probe_lines, snapshot_lines

if TYPE_CHECKING:
    from rich.console import Console


def print_summary(folder: Path, console: Console) -> None:
    """A row per snapshot: how many specifications its programs satisfy, or outputs are right; then what probes read of the last."""
    from rich.markup import escape
    from rich.table import Table

    from karel_fast.runs.folder import RunFolder

    run = RunFolder(folder)
    head, *lines = snapshot_lines([{"step": s, **metrics} for s, metrics in run.read_all("evaluation").items()])
    table = Table(title=f"{escape(folder.name)}: the snapshots, shares in %", title_justify="left")
    for heading in head:
        table.add_column(heading, justify="right")
    for line in lines:
        table.add_row(*line)
    console.print(table)
    for step, probing in list(run.read_all("probing").items())[-1:]:
        rows = chosen_layer_rows(probing)
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
