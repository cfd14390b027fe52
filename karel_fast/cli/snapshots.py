"""What commands on a run's snapshots share: the bar over one snapshot, where results went, and which are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from karel_fast.model.shape import DecodingConfig
from karel_fast.support.progress import Progress

if TYPE_CHECKING:
    from karel_fast.analysis.series import Run

# torch takes seconds to load, so it is imported when it is needed.


def tell_beside(run: Path, written: Sequence[Path]) -> None:
    """Say where results went that have other settings than those that stand in the run already, and how to see them."""
    for name in dict.fromkeys(path.parent.name for path in written if path.parent.name.startswith("settings-")):
        typer.echo(
            f"The run holds results of other settings, which stay; these stand beside them. To see them: karel-fast report {run} "
            f"--settings {name}"
        )


def tell_settings(runs: Sequence[Run]) -> None:
    """Say on standard error which runs are read with other settings than their own."""
    for run in runs:
        if run.folder is not None and run.folder.settings_name:
            typer.echo(f"{run.name}: results of {run.folder.settings_name}, where there are some", err=True)


def on_one_snapshot(
    work: Callable[..., Path], run: Path, step: int | None, experiment: Any, decoding: DecodingConfig
) -> Path:
    """Probe the run's snapshot of this step (None: the last), with a bar; says where the file went, and returns it."""
    from karel_fast.probing.decoding import prepared

    experiment, settings = prepared(experiment, decoding)
    path = with_bar(work, run, step, experiment, settings)
    tell_beside(run, [path])
    return path


def with_bar(
    work: Callable[..., Path], run: Path, step: int | None, experiment: Any, settings: Mapping[str, Any]
) -> Path:
    """Do `work` on the run's snapshot of this step (None: the last), with a bar; returns the file that it wrote."""
    from karel_fast.runs.snapshots import choose_snapshots

    snapshot = choose_snapshots(run, None if step is None else [step])[-1]
    with Progress() as progress:
        bar = progress.bar(snapshot.name)
        return work(
            run,
            snapshot,
            experiment,
            progress=lambda stage, done, total: bar.show(done, total, f"{snapshot.name}: {stage}"),
            **settings,
        )
