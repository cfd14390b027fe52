"""The command `karel-fast steer`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from karel_fast.cli.numbers import whole_option
from karel_fast.cli.options import Plugins, with_settings
from karel_fast.cli.snapshots import tell_beside, with_bar
from karel_fast.cli.tables import columns
from karel_fast.probing.steer_settings import SteerConfig
from karel_fast.support.memory import freed_memory_kept

# torch takes seconds to load, so the command imports what it needs when it runs.


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("steer")(steer_command)


@with_settings
@freed_memory_kept()
def steer_command(
    run: Annotated[Path, typer.Argument(help="Folder of the run, with its snapshots.")],
    config: SteerConfig,
    step: Annotated[int | None, whole_option("The snapshot's step (default: the last).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    plugin: Plugins = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Edit hidden states: does the program follow, from which tokens and layers, and how much of a state does it take?

    The same command goes on where it was stopped.
    """
    from karel_fast.model.device import resolve_device
    from karel_fast.probing.edits.experiment import steer_snapshot
    from karel_fast.runs.contents import read_result

    path = with_bar(steer_snapshot, run, step, config, {"device": str(resolve_device(device))})
    stored = read_result(path, "steering")
    if as_json:
        typer.echo(json.dumps({"path": str(path), **stored}))
        return
    _print(stored)
    tell_beside(run, [path])
    typer.echo(str(path))


def _print(stored: Mapping[str, Any]) -> None:
    from karel_fast.analysis import edits

    if rows := edits.table(stored):
        for line in columns([list(edits.COLUMNS), *rows], left=3):
            typer.echo(line)
        typer.echo(
            "obeys: programs (%) that do what the other specification demands, with 95 % intervals; keeps: that still do what their "
            "own does. log-odds: of the other program's first action, change in nats."
        )
    if rows := edits.erasure_table(stored):
        for line in columns([["erased", "layer", "satisfied", "read after", "base rate"], *rows], left=2):
            typer.echo(line)
    for kind, site in stored["sites"].items():
        if row := edits.best(stored, kind, 16):
            typer.echo(
                f"{kind}: chosen on val, layer {site['layer']}, {site['group']}; in rank {row['rank']} "
                f"{100 * row['obeys']:.0f} % of {row['pairs']} programs obey."
            )
    for note in stored["notes"]:
        typer.echo(note)
