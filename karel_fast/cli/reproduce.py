"""The command `karel-fast reproduce`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from karel_fast.cli.numbers import decimal_option, whole_option
from karel_fast.cli.options import Plugins
from karel_fast.support.checks import InputError
from karel_fast.support.memory import freed_memory_kept

# torch and transformers take seconds to load, so the command imports what it needs when it runs.

STOPPED = 75
"""Exit code of a call that --minutes ended: EX_TEMPFAIL of sysexits.h, "try again"."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("reproduce")(reproduce_command)


def print_presets(wanted: bool) -> None:
    """The presets and what each is for, where they are asked for."""
    if not wanted:
        return
    from karel_fast.cli.tables import columns
    from karel_fast.experiment.preset import load_preset, preset_names

    for line in columns([[name, load_preset(name).description] for name in preset_names()], left=2):
        typer.echo(line)
    raise typer.Exit


@freed_memory_kept()
def reproduce_command(
    preset: Annotated[
        str, typer.Argument(help="Name of a preset (smoke), a TOML file, or the folder of a run to go on with.")
    ],
    list_: Annotated[
        bool,
        typer.Option("--list", help="Print the presets there are, and leave.", is_eager=True, callback=print_presets),
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/PRESET, with -seedN.")] = None,
    seed: Annotated[
        int | None,
        whole_option("Of the initial weights and of the training samples' order; default: the preset's.", least=0),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu, cuda or cuda:N; default: the preset's, which is auto unless it says so."),
    ] = None,
    faithful: Annotated[
        bool, typer.Option("--faithful", help="The original's model, optimizer, sequences and data instead of ours.")
    ] = False,
    minutes: Annotated[
        float | None, decimal_option("Stop before so many have passed, with exit code 75: run it again to go on.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting, as in training.steps=100; spelt as in TOML. May be repeated."),
    ] = None,
    plugin: Plugins = None,
    keep: Annotated[
        Path | None, typer.Option(help="Copy the small results here, e.g. benchmarks/results/PRESET-HARDWARE.")
    ] = None,
) -> None:
    """Run a whole experiment: train, keep snapshots, evaluate, probe under every semantics, write the report.

    Where there is a GPU, a preset that has a variant for one (paper: paper-gpu) stands for that.

    The same command goes on where it was stopped, by --minutes (exit code 75), Ctrl-C (130) or a kill. Ctrl-C or SIGTERM
    during training (130, too) lets it come to its next report and save its state.
    """
    started = time.monotonic()  # before torch is loaded
    from rich.console import Console

    from karel_fast.analysis.keep import keep_results
    from karel_fast.experiment.pieces import OutOfTime
    from karel_fast.experiment.preset import faithful_name, is_run, load_preset, name_on, read_changes
    from karel_fast.experiment.reproduce import reproduce
    from karel_fast.support.files import check_folder

    changes = read_changes(set_ or [])
    for table, name, value in (
        ("training", "seed", seed),
        ("training", "device", device),
        ("decoding", "device", device),
    ):
        if value is None:
            continue
        there = changes.setdefault(table, {}).setdefault(name, value)
        if there != value:
            raise InputError(
                f"--{name} {value} and --set {table}.{name}={there} contradict each other; leave out one of them"
            )
    trained_on = changes.get("training", {}).get("device", "auto")
    chosen = load_preset(faithful_name(preset) if faithful else name_on(preset, trained_on), changes)
    named = f"{chosen.name}-seed{chosen.training.seed}" if chosen.training.seed else chosen.name
    folder = output or (Path(preset) if is_run(preset) else Path("runs") / named)
    if keep is not None:
        check_folder("--keep", keep)  # it is made after hours
    try:
        page = reproduce(chosen, folder, Console(stderr=True), minutes=minutes, started=started)
    except OutOfTime as stopped:
        typer.echo(f"{folder}: stopped {stopped}; the same command goes on", err=True)
        raise typer.Exit(STOPPED) from None
    except KeyboardInterrupt:
        typer.echo(f"{folder}: interrupted; the same command goes on from the last saved state", err=True)
        raise typer.Exit(130) from None
    if keep is not None:
        keep_results(folder, keep)
    typer.echo(str(page))
