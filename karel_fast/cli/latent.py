"""The command `karel-fast latent`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from karel_fast.cli.numbers import whole_option
from karel_fast.cli.options import Address, Engine, Plugins, check_engine, with_settings
from karel_fast.cli.snapshots import on_one_snapshot
from karel_fast.cli.tables import columns, percent
from karel_fast.model.shape import DecodingConfig
from karel_fast.probing.latent_settings import LatentGrid
from karel_fast.support.memory import freed_memory_kept

# torch takes seconds to load, so the command imports what it needs when it runs.


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("latent")(latent_command)


@with_settings
@freed_memory_kept()
def latent_command(
    run: Annotated[Path, typer.Argument(help="Folder of the run, with its snapshots.")],
    grid: LatentGrid,
    decoding: DecodingConfig,
    step: Annotated[int | None, whole_option("The snapshot's step (default: the last).")] = None,
    plugin: Plugins = None,
    engine: Engine = "local",
    address: Address = None,
) -> None:
    """The grid of latent causal probing (COLM 2024): read programs of 15 actions with outputs withheld, probe what is held.

    The same command goes on where it was stopped.
    """
    from karel_fast.probing.latent_grid import probe_latent_grid
    from karel_fast.runs.contents import read_result

    check_engine(engine, address)
    work: Callable[..., Path] = probe_latent_grid
    if engine == "ray":
        from karel_fast.probing.latent_on_ray import latent_on_ray

        work = partial(latent_on_ray, address=address)
    path = on_one_snapshot(work, run, step, grid, decoding)
    _print(read_result(path, "latent-grid"))
    typer.echo(str(path))


def _print(found: dict[str, Any]) -> None:
    """Lift in points by feature, offset and meaning, for the deepest probe: means over withholdings, training positions and seeds."""
    from karel_fast.analysis.series import mean

    rows = [row for row in found["rows"] if row["states"] == "trained"]
    names, depth = list(dict.fromkeys(row["semantics"] for row in rows)), rows[-1]["depth"]
    typer.echo(
        f"Lift in points, {depth}, of programs of {found['actions']} actions: at positions that probes did not learn on (in brackets: "
        "that they did)."
    )
    lines = [["feature", "tokens", *names]]
    for feature in dict.fromkeys(row["feature"] for row in rows):
        for tokens in dict.fromkeys(row["tokens"] for row in rows):
            cells = []
            for name in names:
                wanted = (feature, tokens, name, depth)
                held = [r for r in rows if (r["feature"], r["tokens"], r["semantics"], r["depth"]) == wanted]
                values = [mean(v for r in held for v in r[kind] if v is not None) for kind in ("unseen", "seen")]
                shown = [percent(value) for value in values]
                cells.append(f"{shown[0]} ({shown[1]})")
            lines.append([feature, str(tokens), *cells])
    for line in columns(lines):
        typer.echo(line)
    for note in found["notes"]:
        typer.echo(f"Note: {note}.")
