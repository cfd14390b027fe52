"""The commands `karel-fast report`, `karel-fast compare` and `karel-fast checklist`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from karel_fast.cli.numbers import whole_option
from karel_fast.cli.options import OtherSettings
from karel_fast.cli.snapshots import tell_settings
from karel_fast.cli.tables import columns, percent
from karel_fast.support.checks import one_of

if TYPE_CHECKING:
    from karel_fast.analysis.compare import Comparison

# matplotlib takes a second to load, so each command imports what it needs when it runs.


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("report")(report_command)
    app.command("compare")(compare_command)
    app.command("checklist")(checklist_command)


def report_command(
    run: Annotated[Path, typer.Argument(help="Folder of the run.")],
    settings: Annotated[
        str | None, typer.Option(help="Report results of other settings than the run's own: settings-1a2b3c4d.")
    ] = None,
) -> None:
    """Write the run's report: one HTML page, results.json, and PNG, SVG and CSV of every figure. Prints the page's path.

    The page's verdict and the numbers of its cards go to standard error.
    """
    from karel_fast.report import write_report
    from karel_fast.support.files import read_json

    page = write_report(run, settings)
    results = read_json(page.with_name("results.json"))
    _tell(str(run), results["problems"])
    headline = results["headline"]
    for sentence in headline["verdict"]:
        typer.echo(sentence, err=True)
    for card in headline["cards"]:
        interval = f" (95 %: {card['interval']})" if card["interval"] else ""
        verdict = f"; {card['verdict']}" if card["verdict"] else ""
        typer.echo(f"{card['term']}: {card['value']}{interval}{verdict}", err=True)
        typer.echo(f"    {'; '.join(card['details'])}", err=True)
    typer.echo(str(page))


def compare_command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, the same experiment from other seeds.")],
    feature: Annotated[str | None, typer.Option(help="Feature that is probed (default: the first).")] = None,
    depth: Annotated[str | None, typer.Option(help="Depth of the probe (default: the deepest).")] = None,
    offset: Annotated[int | None, whole_option("Of the states that are read (default: 0).")] = None,
    by_place: Annotated[
        str | None, typer.Option(help="start or end: also print the lift by distance of the action from there.")
    ] = None,
    settings: OtherSettings = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the table as JSON and CSV and a figure with bands over runs.")
    ] = None,
) -> None:
    """Print the last snapshots of several runs side by side, with 95 % intervals over runs."""
    from karel_fast.analysis.by_place import SIDES
    from karel_fast.analysis.compare import compare, read_runs
    from karel_fast.analysis.compare_places import compare_places

    if by_place is not None:
        one_of("--by-place", by_place, SIDES)
    read = read_runs(runs, settings=settings or ())
    tell_settings(read)
    comparison = compare(read, feature, depth, offset)
    _print(comparison)
    if by_place is not None:
        probes = (comparison.feature, comparison.depth, comparison.offset)
        _print_places(compare_places(read, by_place, *probes, comparable=comparison.comparable))
    if out is not None:
        from karel_fast.report.seeds_figure import write_comparison

        typer.echo(str(write_comparison(comparison, read, out)))


def checklist_command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, the same experiment from other seeds.")],
    settings: OtherSettings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every field as JSON.")] = False,
) -> None:
    """Print the published numbers beside those of the runs: interval, control, what differs, reached or not."""
    import json

    from rich.console import Console
    from rich.table import Table

    from karel_fast.analysis.checklist import COLUMNS, NOTE, checklist, checklist_cells
    from karel_fast.analysis.compare import read_runs, unlike

    read = read_runs(runs, settings=settings or ())
    tell_settings(read)
    rows = checklist(read)
    for note in unlike(read):
        typer.echo(f"karel-fast: no intervals over these runs: {note}", err=True)
    for one in read:
        _tell(one.name, one.problems)
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in rows], indent=2))
        return
    table = Table(title="The published numbers, and these runs'", title_justify="left")
    for heading in COLUMNS:
        table.add_column(heading, overflow="fold")
    for cells in checklist_cells(rows):
        table.add_row(*cells)
    # A table that is piped keeps its columns whole.
    console = Console() if Console().is_terminal else Console(width=200)
    console.print(table, highlight=False, markup=False)
    console.print(NOTE, highlight=False)
    for row in rows:
        if row.command:
            console.print(f"Not measured: {row.name}. It takes {row.command}.", highlight=False, markup=False)
        elif row.missing:
            console.print(f"Not to be had: {row.name}: {row.missing}.", highlight=False, markup=False)


def _tell(run: str, problems: Iterable[str]) -> None:
    """Say on standard error what of a run's files was left out."""
    for problem in problems:
        typer.echo(f"karel-fast: {run}: {problem}", err=True)


def _print(comparison: Comparison) -> None:
    """Plain text, so that it can be piped: percent, but R2 as it is."""

    def cell(name: str, value: object) -> str:
        if not isinstance(value, float):
            return "-"
        return f"{value:.3f}" if name in ("r2", "r2 on lift", "bits") else f"{100 * value:.1f}"

    titles = {"generative_accuracy": "satisfied", "generalization": "held-out", "r2": "R2", "r2 on lift": "R2 on lift"}
    lines = [["run", *(titles.get(name, name) for name in comparison.columns)]]
    lines += [[str(row["run"]), *(cell(name, row[name]) for name in comparison.columns)] for row in comparison.rows]
    for kind, title in (("mean", "mean"), ("low", "95 % from"), ("high", "to")):
        lines.append([title, *(cell(name, comparison.summary[name][kind]) for name in comparison.columns)])
    if comparison.feature:
        typer.echo(
            f"Probes: {comparison.feature}, {comparison.depth}, offset {comparison.offset} "
            "(0: the state after the predicted action); in %, "
            "R2 and bits aside."
        )
    for line in columns(lines):
        typer.echo(line)
    for note in comparison.notes:
        typer.echo(f"Note: {note}.")


def _print_places(rows: Sequence[Mapping[str, Any]]) -> None:
    """Percent by distance; lift and its interval in points."""
    names = ("accuracy", "majority", "lift", "low", "high", "untrained")
    titles = ("accuracy", "majority", "lift", "95 % from", "to", "untrained lift")
    typer.echo(f"By place: actions {'before' if rows[0]['side'] == 'start' else 'after'} the predicted one; in %.")
    lines = [["actions", "pairs", *titles]]
    for row in rows:
        cells = [percent(row[name]) for name in names]
        lines.append([str(row["distance"]), str(row["pairs"]), *cells])
    for line in columns(lines):
        typer.echo(line)
