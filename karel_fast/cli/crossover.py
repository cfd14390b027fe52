"""The command `karel-fast crossover`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from karel_fast.cli.numbers import whole_option
from karel_fast.cli.options import OtherSettings
from karel_fast.cli.snapshots import tell_settings
from karel_fast.cli.tables import columns, percent

if TYPE_CHECKING:
    from karel_fast.analysis.crossover import Crossover

# scipy and matplotlib take a second to load, so the command imports what it needs when it runs.


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("crossover")(crossover_command)


def crossover_command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs trained on one meaning, from several seeds.")],
    against: Annotated[list[Path], typer.Option(help="Folder of a run trained on the other meaning; may be repeated.")],
    feature: Annotated[str | None, typer.Option(help="Only this feature (default: all that the runs share).")] = None,
    depth: Annotated[str | None, typer.Option(help="Only this depth of the probes.")] = None,
    offset: Annotated[int | None, whole_option("Only states at this offset.")] = None,
    readings: Annotated[
        str,
        typer.Option(help="Whose probes: probing, paper-grid, paper, or latent-grid (lift at places not learnt on)."),
    ] = "probing",
    settings: OtherSettings = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the table as JSON and CSV, and a figure.")] = None,
) -> None:
    """Runs trained on two meanings, each probed under both: is a model read better under its own?"""
    from karel_fast.analysis.compare import read_runs
    from karel_fast.analysis.crossover import crossover

    read = read_runs([*runs, *against], readings, settings or ())
    tell_settings(read)
    found = crossover(read[: len(runs)], read[len(runs) :], feature, depth, offset, readings)
    _print(found)
    if out is not None:
        from karel_fast.report.crossover_figure import write_crossover

        typer.echo(str(write_crossover(found, out)))


def _print(found: Crossover) -> None:
    """Lift, and lift above untrained, in points; the rest is in the files."""
    from karel_fast.analysis.crossover import CELLS
    from karel_fast.analysis.crossover_cells import GAIN

    names = {"lift": "lift", GAIN: "lift above untrained"}
    typer.echo(f"a: {found.a}, {len(found.runs_a)} runs; b: {found.b}, {len(found.runs_b)} runs. In points.")
    heads = ("a under a", "a under b", "b under a", "b under b", "interaction", "95 % from", "to", "p")
    lines = [["feature", "probe", "offset", "measure", *heads]]
    for row in (row for row in found.rows if row["measure"] in names):
        numbers = [percent(row[name]) for name in (*CELLS, "interaction", "low", "high")]
        p = "-" if row["p"] is None else f"{row['p']:.3f}"
        lines.append([row["feature"], row["depth"], str(row["offset"]), names[row["measure"]], *numbers, p])
    for line in columns(lines, left=4):
        typer.echo(line)
    for note in found.notes:
        typer.echo(f"Note: {note}; no interval.")
    if len(found.runs_a) < 2 or len(found.runs_b) < 2:
        typer.echo("Note: an interval needs two runs or more of each meaning.")
