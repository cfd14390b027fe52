"""The whole experiment from a preset: data, training, evaluation, probing and report, resumable at every stage.

Each stage writes its own files into the run folder (see karel_fast.runs.folder) and skips what is already there, so that a run
that was stopped goes on where it was.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from karel_fast.support.checks import InputError
from karel_fast.support.locks import locked
from karel_fast.support.version import VERSION

if TYPE_CHECKING:
    from rich.console import Console

    from karel_fast.data import Tokenizer
    from karel_fast.experiment.pieces import Pieces
    from karel_fast.experiment.preset import Preset
    from karel_fast.probing.settings import ProbeRun

# torch and transformers take seconds to load, so the stages import what they need when they run.


REPRODUCE_LOCK = ".reproduce.lock"
REPORT_SECONDS = 20.0
"""Enough for the report's figures and page."""


def reproduce(
    preset: Preset, folder: Path, console: Console, *, minutes: float | None = None, started: float | None = None
) -> Path:
    """Run or finish the experiment in `folder`; returns the report's page. Progress goes to `console`. minutes,
    started: how long this call may take, see `karel_fast.experiment.pieces`.

    Raises ValueError if the folder holds another experiment; BlockingIOError if another process is at it; OutOfTime when the
    minutes were not enough.
    """
    from karel_fast.data.tokens.interpreter import make_tokenizer
    from karel_fast.experiment.beforehand import check_beforehand
    from karel_fast.experiment.pieces import Pieces

    pieces = Pieces(folder, minutes, started)
    tokenizer = make_tokenizer(preset.recipe, preset.layout)
    check_beforehand(preset, tokenizer)
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"{folder}: another process is reproducing an experiment in this folder: wait for it, or choose another --output"
    with locked(folder / REPRODUCE_LOCK, busy):
        return _in_stages(preset, tokenizer, folder, console, pieces)


def _in_stages(preset: Preset, tokenizer: Tokenizer, folder: Path, console: Console, pieces: Pieces) -> Path:
    from karel_fast.data.tokens.interpreter import is_interpreter
    from karel_fast.experiment.pieces import OutOfTime
    from karel_fast.experiment.summary_table import print_costs, print_summary
    from karel_fast.report import write_report

    clock = time.monotonic()
    writes_programs = not is_interpreter(tokenizer)
    _write_config(preset, folder)
    with _stage(console, "train"):
        _train(preset, tokenizer, folder, pieces)
    with _stage(console, "evaluate"):
        _evaluate(preset, tokenizer, folder, console, pieces)
    if writes_programs:
        with _stage(console, "probe"):
            _probe(preset, folder, console, pieces)
    else:
        console.print("[bold]probe[/bold] skipped: the model writes outputs, not programs")
    if preset.closer is not None and writes_programs:
        with _stage(console, "look closer"):
            _look_closer(preset, preset.closer, folder, pieces)
    if pieces.done and not pieces.fits(REPORT_SECONDS):
        raise OutOfTime("before the report")
    with _stage(console, "report"):
        page = write_report(folder)
    print_summary(folder, console)
    if writes_programs:
        print_costs(folder, console)
    console.print(f"{preset.name}: {time.monotonic() - clock:.0f} s in all", highlight=False, markup=False)
    return page


@contextmanager
def _stage(console: Console, name: str) -> Iterator[None]:
    clock = time.monotonic()
    yield
    console.print(f"[bold]{name}[/bold] done in {time.monotonic() - clock:.0f} s", highlight=False)


def _write_config(preset: Preset, folder: Path) -> None:
    from karel_fast.runs.folder import CONFIG
    from karel_fast.runs.snapshots import has_state, list_snapshots
    from karel_fast.support.files import read_json, write_json

    path = folder / CONFIG
    # The device may change between one part of a run and the next; the description decides nothing.
    source = {k: v for k, v in preset.source.items() if k != "description"}
    for table in ("training", "decoding"):
        source[table] = {k: v for k, v in preset.source.get(table, {}).items() if k != "device"}
    if path.exists():
        remedy = "choose another --output, or remove the folder"
        try:
            earlier = read_json(path).get("experiment")
        except ValueError as error:
            raise InputError(f"{error}; what the run was begun with is not known: {remedy}") from error
        if isinstance(earlier, dict) and earlier and "decoding" not in earlier:
            raise InputError(
                f"{path} spells its settings as an earlier version did; this version can report on the run, but not go on "
                f"with it: {remedy}"
            )
        if earlier != source:
            where = _first_difference(earlier, source)
            raise InputError(f"{folder} holds another experiment: {where}; {remedy}")
        return
    if list_snapshots(folder) or has_state(folder):
        raise InputError(
            f"{folder} holds a run and no {CONFIG}: what it was trained with is not known to be this experiment; choose another --output"
        )
    write_json(
        path,
        {
            "preset": preset.name,
            "experiment": source,
            "recipe_hash": preset.recipe.hash,
            "versions": {
                "karel_fast": VERSION,
                "python": platform.python_version(),
                **{package: importlib.metadata.version(package) for package in ("torch", "transformers", "numpy")},
            },
            "machine": _machine(preset.training.device),
        },
    )


_NOT_SET = object()


def _first_difference(earlier: Any, now: Any, name: str = "") -> str:
    """Where two settings differ that do, and how."""
    if isinstance(earlier, dict) and isinstance(now, dict):
        pairs = {key: (earlier.get(key, _NOT_SET), now.get(key, _NOT_SET)) for key in [*earlier, *now]}
        key, (old, new) = next((key, pair) for key, pair in pairs.items() if pair[0] != pair[1])
        return _first_difference(old, new, f"{name}.{key}" if name else key)
    return f"{name or 'experiment'} is {_said(earlier)} there and {_said(now)} here"


def _said(value: Any) -> str:
    if value is _NOT_SET:
        return "not set"
    return "a table" if isinstance(value, dict) else json.dumps(value)


def _machine(device: str) -> dict[str, Any]:
    """Where the run began."""
    import torch

    from karel_fast.karel.execution import available_threads
    from karel_fast.model.device import resolve_device
    from karel_fast.support.machine import processor

    place = resolve_device(device)
    return {
        "processor": processor()["model"],
        "threads": available_threads(),
        "gpu": torch.cuda.get_device_name(place) if place.type == "cuda" else None,
        "system": platform.system(),
    }


def _train(preset: Preset, tokenizer: Tokenizer, folder: Path, pieces: Pieces) -> None:
    from karel_fast.experiment.pieces import OutOfTime
    from karel_fast.runs.folder import step_of
    from karel_fast.runs.snapshots import has_state, list_snapshots, snapshot_path
    from karel_fast.support.interrupt import StopSignals
    from karel_fast.training.bar import TrainingBar
    from karel_fast.training.by_settings import train_by_settings

    config = preset.training
    if beyond := [path for path in list_snapshots(folder) if (step_of(path.name) or 0) > config.steps]:
        raise InputError(
            f"{beyond[0]}: the experiment ends after {config.steps} updates, and this run was trained on; remove what is beyond them, "
            "or choose another --output"
        )
    if snapshot_path(folder, config.steps).is_dir():
        return
    with pieces.piece("train", "before training"), TrainingBar(config.steps) as bar, StopSignals() as signals:
        result = train_by_settings(
            config, preset.model, preset.data, tokenizer, folder, resume=has_state(folder), progress=bar,
            stop=lambda seconds: signals.asked or not pieces.fits(seconds),
        )  # fmt: skip
    if signals.asked:
        raise KeyboardInterrupt
    if result.step < config.steps:
        raise OutOfTime(f"training after {result.step} of {config.steps} updates")


def _evaluate(preset: Preset, tokenizer: Tokenizer, folder: Path, console: Console, pieces: Pieces) -> None:
    from karel_fast.runs.folder import step_of
    from karel_fast.runs.snapshots import list_snapshots
    from karel_fast.support.progress import Progress
    from karel_fast.training.kept_evaluation import evaluate_snapshot, is_evaluated

    snapshots = list_snapshots(folder)
    with Progress(console) as progress:
        bar = progress.bar("snapshots evaluated", len(snapshots))
        for snapshot in snapshots:
            if not is_evaluated(folder, snapshot, preset.evaluation, own=True):
                step = step_of(snapshot.name)
                with pieces.piece("evaluate", f"before evaluating the snapshot of step {step}"):
                    evaluate_snapshot(folder, snapshot, tokenizer, preset.evaluation, preset.decoding, own=True)
            bar.advance()


def _probe(preset: Preset, folder: Path, console: Console, pieces: Pieces) -> None:
    from karel_fast.probing.decoding import prepared
    from karel_fast.runs.snapshots import list_snapshots
    from karel_fast.support.progress import Progress

    probe_run, settings = prepared(preset.probing, preset.decoding)
    # Examples and baselines (shuffled labels, an untrained model) are reported of the last snapshot only.
    bare = dataclasses.replace(
        probe_run,
        examples=0,
        untrained=False,
        grid=dataclasses.replace(probe_run.grid, shuffled=False, control_task=False),
    )
    snapshots = list_snapshots(folder)
    with Progress(console) as progress:
        bar = progress.bar("snapshots probed", len(snapshots))
        for snapshot in snapshots:
            last = snapshot == snapshots[-1] and preset.closer is None
            _probe_one(folder, snapshot, probe_run if last else bare, settings, pieces)
            bar.advance()


def _look_closer(preset: Preset, closer: ProbeRun, folder: Path, pieces: Pieces) -> None:
    from karel_fast.probing.decoding import prepared
    from karel_fast.runs.snapshots import list_snapshots

    probe_run, settings = prepared(closer, preset.decoding)
    _probe_one(folder, list_snapshots(folder)[-1], probe_run, settings, pieces)


def _probe_one(folder: Path, snapshot: Path, probe_run: ProbeRun, settings: dict[str, Any], pieces: Pieces) -> None:
    from karel_fast.probing.snapshot import is_done, probe_snapshot
    from karel_fast.runs.snapshots import read_card

    step = int(read_card(snapshot)["step"])
    if not is_done(folder, step, probe_run, own=True):
        # A closer look takes longer than a snapshot's probes, so its time is kept apart.
        kind, verb = ("closer", "looking closer at") if probe_run.closer else ("probe", "probing")
        with pieces.piece(kind, f"before {verb} the snapshot of step {step}"):
            probe_snapshot(folder, snapshot, probe_run, own=True, **settings)
    else:  # removes what a killed call left of its pieces
        probe_snapshot(folder, snapshot, probe_run, own=True, **settings)
