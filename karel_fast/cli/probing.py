"""The command `karel-fast probe`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from karel_fast.cli.options import with_settings
from karel_fast.cli.snapshots import prepared, tell_beside
from karel_fast.model.shape import DecodingConfig
from karel_fast.probing.settings import ProbeRun
from karel_fast.support.checks import InputError, one_of
from karel_fast.support.memory import freed_memory_kept
from karel_fast.support.progress import Progress

# torch takes seconds to load, so the command imports what it needs when it runs.


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("probe")(probe_command)


@with_settings
@freed_memory_kept()
def probe_command(
    run: Annotated[Path, typer.Argument(help="Folder of the run, with its snapshots.")],
    probe_run: ProbeRun,
    decoding: DecodingConfig,
    step: Annotated[list[int] | None, typer.Option(help="Only the snapshot of this step; may be repeated.")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: snapshots over a cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster; without one a local Ray starts.")] = None,
) -> None:
    """Train probes on the hidden states of a run's snapshots; goes on where it stopped."""
    from karel_fast.runs.snapshots import choose_snapshots

    one_of("--engine", engine, ("local", "ray"))
    if address is not None and engine != "ray":
        raise InputError("--address is a Ray cluster's: give --engine ray too")
    probe_run, settings = prepared(probe_run, decoding)
    snapshots = choose_snapshots(run, step)
    written = (
        _on_ray(run, snapshots, probe_run, settings, address)
        if engine == "ray"
        else _here(run, snapshots, probe_run, settings)
    )
    tell_beside(run, written)
    for path in written:
        typer.echo(str(path))


def _here(run: Path, snapshots: Sequence[Path], probe_run: ProbeRun, settings: dict[str, Any]) -> list[Path]:
    from karel_fast.probing.snapshot import probe_snapshot

    with Progress() as progress:
        all_snapshots = progress.bar("snapshots", len(snapshots))
        stage = progress.bar("")

        def show(name: str) -> Callable[[str, int, int], None]:
            return lambda activity, done, total: stage.show(done, total, f"{name}: {activity}")

        written = []
        for path in snapshots:
            written.append(probe_snapshot(run, path, probe_run, progress=show(path.name), **settings))
            all_snapshots.advance()
    return written


def _on_ray(
    run: Path, snapshots: Sequence[Path], probe_run: ProbeRun, settings: dict[str, Any], address: str | None
) -> list[Path]:
    from karel_fast.probing.snapshots_on_ray import probe_on_ray

    with Progress() as progress:
        bar = progress.bar("snapshots", len(snapshots))
        return probe_on_ray(
            run,
            snapshots,
            probe_run,
            settings,
            address=address,
            progress=bar.show,
        )
