"""The command `karel-fast probe`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from karel_fast.cli.numbers import whole_option
from karel_fast.cli.options import LAYOUT_HELP, Address, Engine, Plugins, check_engine, with_settings
from karel_fast.cli.snapshots import tell_beside
from karel_fast.cli.tables import columns
from karel_fast.model.shape import DecodingConfig
from karel_fast.probing.settings import ProbeRun
from karel_fast.runs.contents import read_result
from karel_fast.support.checks import InputError
from karel_fast.support.memory import freed_memory_kept
from karel_fast.support.progress import Progress

# torch takes seconds to load, so the command imports what it needs when it runs.


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("probe")(probe_command)


@with_settings
@freed_memory_kept()
def probe_command(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of the run, with its snapshots; or, with --output, of a CodeGen model from elsewhere."
        ),
    ],
    probe_run: ProbeRun,
    decoding: DecodingConfig,
    step: Annotated[list[int] | None, whole_option("Only the snapshot of this step; may be repeated.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="For a model from elsewhere: the recipe it was trained on, a preset's name or a JSON file."),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help=f"For a model from elsewhere: {LAYOUT_HELP}; by default what its vocabulary says."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="For a model from elsewhere: the run folder to make of it.")
    ] = None,
    save_probes: Annotated[
        bool,
        typer.Option("--save-probes", help="Also write the probes' weights, step-*.safetensors beside the results."),
    ] = False,
    plugin: Plugins = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was read as JSON, a list for each snapshot, in place of tables.")
    ] = False,
    engine: Engine = "local",
    address: Address = None,
) -> None:
    """Train probes on the hidden states of a run's snapshots; goes on where it stopped."""
    from karel_fast.probing.decoding import prepared
    from karel_fast.runs.snapshots import choose_snapshots

    check_engine(engine, address)
    if save_probes and (engine == "ray" or probe_run.pieces):
        raise InputError("--save-probes: pieces and Ray's tasks keep no weights; leave out --pieces and --engine ray")
    run = _run_of(run, recipe, layout, output)
    probe_run, settings = prepared(probe_run, decoding)
    snapshots = choose_snapshots(run, step)
    written = (
        _on_ray(run, snapshots, probe_run, settings, address)
        if engine == "ray"
        else _here(run, snapshots, probe_run, {**settings, "save_probes": save_probes})
    )
    if as_json:
        from karel_fast.analysis.outcome import chosen_layer_rows

        found = [{"path": str(path), "rows": chosen_layer_rows(read_result(path, "probing"))} for path in written]
        typer.echo(json.dumps(found, indent=1))
        return
    tell_beside(run, written)
    for path in written:
        _print(path)


def _print(path: Path) -> None:
    """What the probes of one snapshot read, and the file that says more."""
    from karel_fast.analysis.outcome import PROBE_NOTE, chosen_layer_rows, probe_lines

    stored = read_result(path, "probing")
    rows = chosen_layer_rows(stored)
    if rows:
        offset = rows[0]["offset"]
        when = "after the predicted action" if not offset else f"at offset {offset:+d}"
        typer.echo(f"Step {stored['step']}, probe {rows[0]['depth']}, the state {when}:")
        for line in columns(probe_lines(rows), aligned="llrrrrr"):
            typer.echo("  " + line)
        typer.echo(PROBE_NOTE)
    for note in stored["notes"]:
        typer.echo(f"Note: {note}.")
    typer.echo(str(path))


def _run_of(run: Path, recipe: str | None, layout: str | None, output: Path | None) -> Path:
    """The run to probe: the one that is given, or one made of a model from elsewhere."""
    from karel_fast.cli.data import read_recipe
    from karel_fast.runs.origin import adopt
    from karel_fast.runs.snapshots import list_snapshots

    if list_snapshots(run):
        for option, value in (("--recipe", recipe), ("--layout", layout), ("--output", output)):
            if value is not None:
                raise InputError(f"{option} is for a model from elsewhere; {run} is a run, so leave it out")
        return run
    if output is None:
        if any(run.glob("model*.safetensors")):
            raise InputError(f"{run} is a model and no run: give --output, the run folder to make of it")
        return run
    adopt(run, output, None if recipe is None else read_recipe(recipe), layout)
    return output


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
