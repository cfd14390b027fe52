"""The whole experiment from a preset: data, training, evaluation, probing and report, resumable at every stage.

Each stage writes its own files into the run folder (see karel_fast.runs.folder) and skips what is already there, so that a run
that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from karel_fast import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from karel_fast.data import Tokenizer
    from karel_fast.experiment.pieces import Pieces
    from karel_fast.experiment.preset import Preset, Probing
    from karel_fast.probing.snapshot import ProbeRun

# torch and transformers take seconds to load, so the stages import what they need when they run.


STOPPED = 75
"""Exit code of a call that --minutes ended: EX_TEMPFAIL of sysexits.h, "try again"."""
REPORT_SECONDS = 20.0
"""Enough for the report's figures and page."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("reproduce")(reproduce_command)


def reproduce_command(
    preset: Annotated[str, typer.Argument(help="Name of a preset (smoke), or a TOML file.")],
    output: Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/PRESET, with -seedN.")] = None,
    seed: Annotated[int, typer.Option(help="Of the initial weights.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    faithful: Annotated[
        bool, typer.Option("--faithful", help="The original's model, optimizer, sequences and data instead of ours.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Stop before so many have passed, with exit code 75: run it again to go on.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Copy the small results here, e.g. benchmarks/results/PRESET-HARDWARE.")
    ] = None,
) -> None:
    """Run a whole experiment: train, keep snapshots, evaluate, probe under every semantics, write the report.

    The same command goes on where it was stopped, by --minutes (exit code 75), Ctrl-C (130) or a kill. Ctrl-C or SIGTERM
    during training (130, too) lets it come to its next report and save its state.
    """
    started = time.monotonic()  # before torch is loaded
    from rich.console import Console

    from karel_fast.analysis.keep import keep_results
    from karel_fast.experiment.pieces import OutOfTime
    from karel_fast.experiment.preset import faithful_name, load_preset

    chosen = load_preset(faithful_name(preset) if faithful else preset, seed=seed, device=device)
    folder = output or Path("runs") / (chosen.name if seed == 0 else f"{chosen.name}-seed{seed}")
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


def reproduce(
    preset: Preset, folder: Path, console: Console, *, minutes: float | None = None, started: float | None = None
) -> Path:
    """Run or finish the experiment in `folder`; returns the report's page. Progress goes to `console`. minutes,
    started: how long this call may take, see `karel_fast.experiment.pieces`.

    Raises ValueError if the folder holds another experiment; OutOfTime when the minutes were not enough.
    """
    from karel_fast.data import Tokenizer
    from karel_fast.experiment.pieces import OutOfTime, Pieces
    from karel_fast.report import write_report

    clock = time.monotonic()
    for probing in (preset.probing, preset.closer):
        if probing is not None:
            probing.run("float32")  # wrong settings end the call here, not after the training
    pieces = Pieces(folder, minutes, started)
    _write_config(preset, folder)
    tokenizer = Tokenizer(preset.recipe, layout=preset.layout)
    with _stage(console, "train"):
        _train(preset, tokenizer, folder, pieces)
    with _stage(console, "evaluate"):
        _evaluate(preset, tokenizer, folder, console, pieces)
    with _stage(console, "probe"):
        _probe(preset, folder, console, pieces)
    if preset.closer is not None:
        with _stage(console, "look closer"):
            _look_closer(preset, preset.closer, folder, pieces)
    if pieces.done and not pieces.fits(REPORT_SECONDS):
        raise OutOfTime("before the report")
    with _stage(console, "report"):
        page = write_report(folder)
    _print_summary(folder, console)
    _print_costs(folder, console)
    console.print(f"{preset.name}: {time.monotonic() - clock:.0f} s in all", highlight=False)
    return page


@contextmanager
def _stage(console: Console, name: str) -> Iterator[None]:
    clock = time.monotonic()
    yield
    console.print(f"[bold]{name}[/bold] done in {time.monotonic() - clock:.0f} s", highlight=False)


def _write_config(preset: Preset, folder: Path) -> None:
    from karel_fast.runs.folder import read_json, write_json

    path = folder / "config.json"
    # The device may change between one part of a run and the next; the description decides nothing.
    source = {k: v for k, v in preset.source.items() if k != "description"}
    source["training"] = {k: v for k, v in preset.source["training"].items() if k != "device"}
    if path.exists():
        earlier = read_json(path) or {}
        if earlier.get("experiment") != source:
            raise ValueError(f"{folder} holds another experiment; choose another --output or remove it")
        return
    write_json(
        path,
        {
            "preset": preset.name,
            "experiment": source,
            "recipe_hash": preset.recipe.hash,
            "versions": {
                "karel_fast": __version__,
                "python": platform.python_version(),
                **{package: importlib.metadata.version(package) for package in ("torch", "transformers", "numpy")},
            },
            "machine": _machine(preset.training.device),
        },
    )


def _machine(device: str) -> dict[str, Any]:
    """Where the run began."""
    import torch

    from karel_fast.cli.karel import processor
    from karel_fast.karel.execution import available_threads
    from karel_fast.model.device import resolve_device

    place = resolve_device(device)
    return {
        "processor": processor()["model"],
        "threads": available_threads(),
        "gpu": torch.cuda.get_device_name(place) if place.type == "cuda" else None,
        "system": platform.system(),
    }


def _train(preset: Preset, tokenizer: Tokenizer, folder: Path, pieces: Pieces) -> None:
    from karel_fast.cli.training import TrainingBar
    from karel_fast.experiment.pieces import OutOfTime
    from karel_fast.model import model_config
    from karel_fast.runs.snapshots import has_state, snapshot_path
    from karel_fast.support.interrupt import StopSignals
    from karel_fast.training import train
    from karel_fast.training.rows import generated_rows

    config = preset.training
    if snapshot_path(folder, config.steps).is_dir():
        return
    shape = model_config(
        tokenizer.vocab_size,
        tokenizer.sequence_length,
        layers=preset.model.layers,
        width=preset.model.width,
        heads=preset.model.heads,
        rotary_dim=preset.model.rotary_dim,
        prompt_length=tokenizer.prompt_length,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
    )
    samples = preset.data.samples
    with pieces.piece("train", "before training"), TrainingBar(config.steps) as bar, StopSignals() as signals:
        result = train(
            config,
            shape,
            generated_rows(preset.recipe, tokenizer, limit=samples or None),
            folder,
            pad_id=tokenizer.pad_id,
            tokenizer=tokenizer,
            recipe=preset.recipe.to_json(),
            layout=preset.layout,
            samples=samples,
            resume=has_state(folder),
            progress=bar,
            stop=lambda seconds: signals.asked or not pieces.fits(seconds),
        )
    if signals.asked:
        raise KeyboardInterrupt
    if result.step < config.steps:
        raise OutOfTime(f"training after {result.step} of {config.steps} updates")


def _evaluate(preset: Preset, tokenizer: Tokenizer, folder: Path, console: Console, pieces: Pieces) -> None:
    from karel_fast.data import generate
    from karel_fast.runs.folder import RunFolder, read_json, write_json
    from karel_fast.runs.snapshots import list_snapshots, read_card, weights_digest
    from karel_fast.training.evaluate import evaluate

    run = RunFolder(folder)
    snapshots = list_snapshots(folder)
    with _bar(console, "snapshots evaluated", len(snapshots)) as advance:
        for snapshot in snapshots:
            step = int(read_card(snapshot)["step"])
            path, weights = run.file("evaluation", step), weights_digest(snapshot)
            if not path.exists() or (read_json(path) or {}).get("weights") != weights:
                count = preset.evaluation.of(last=snapshot == snapshots[-1])
                with pieces.piece("evaluate", f"before evaluating the snapshot of step {step}"):
                    result = evaluate(
                        snapshot,
                        tokenizer,
                        generate(preset.recipe, split="test", start=0, count=count),
                        batch_size=preset.evaluation.batch_size,
                        device=preset.training.device,
                        precision=preset.training.precision,
                        compile_model=preset.evaluation.compile,
                    )
                    write_json(path, {"step": step, "weights": weights, **result.metrics})
            advance()


def _probe(preset: Preset, folder: Path, console: Console, pieces: Pieces) -> None:
    from karel_fast.runs.snapshots import list_snapshots

    precision, settings = _probe_settings(preset)
    what = preset.probing.run(precision)
    # Examples and baselines (shuffled labels, an untrained model) are reported of the last snapshot only.
    bare = dataclasses.replace(
        what, examples=0, untrained=False, grid=dataclasses.replace(what.grid, shuffled=False, control_task=False)
    )
    snapshots = list_snapshots(folder)
    with _bar(console, "snapshots probed", len(snapshots)) as advance:
        for snapshot in snapshots:
            last = snapshot == snapshots[-1] and preset.closer is None
            _probe_one(folder, snapshot, what if last else bare, settings, pieces)
            advance()


def _look_closer(preset: Preset, closer: Probing, folder: Path, pieces: Pieces) -> None:
    from karel_fast.runs.snapshots import list_snapshots

    precision, settings = _probe_settings(preset)
    _probe_one(folder, list_snapshots(folder)[-1], closer.run(precision, closer=True), settings, pieces)


def _probe_settings(preset: Preset) -> tuple[str, dict[str, Any]]:
    """The precision of the probes' products, and `probe_snapshot`'s keywords."""
    import torch

    from karel_fast.model.device import resolve_device, resolve_precision

    device = resolve_device(preset.training.device)
    dtype = resolve_precision(preset.training.precision, device)
    return "bfloat16" if dtype == torch.bfloat16 else "float32", {
        "device": str(device),
        "dtype": dtype,
        "batch_size": preset.evaluation.batch_size,
        "compile_model": preset.evaluation.compile,
    }


def _probe_one(folder: Path, snapshot: Path, what: ProbeRun, settings: dict[str, Any], pieces: Pieces) -> None:
    from karel_fast.probing.snapshot import is_done, probe_snapshot
    from karel_fast.runs.snapshots import read_card

    step = int(read_card(snapshot)["step"])
    if not is_done(folder, step, what):
        # A closer look takes longer than a snapshot's probes, so its time is kept apart.
        kind, verb = ("closer", "looking closer at") if what.closer else ("probe", "probing")
        with pieces.piece(kind, f"before {verb} the snapshot of step {step}"):
            probe_snapshot(folder, snapshot, what, **settings)


@contextmanager
def _bar(console: Console, description: str, total: int) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda: progress.advance(task)


def _print_summary(folder: Path, console: Console) -> None:
    """A row per snapshot: how many specifications its programs satisfy, and what the deepest probe reads per feature."""
    from rich.table import Table

    from karel_fast.runs.folder import RunFolder

    run = RunFolder(folder)
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


def _print_costs(folder: Path, console: Console) -> None:
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
