"""Snapshots probed by the tasks of a Ray cluster, with the results that one machine gives.

The run folder must lie under the same path on every node, and karel_fast be installed there. A task is a snapshot; with
`pieces`, first the tables of a snapshot, then each piece of its grid. Every task writes its own files (see `snapshot`), so
whatever ends early, a worker or the driver, the same command goes on from what is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from karel_fast.probing.snapshot import is_done, pieces_left, probe_piece, probe_snapshot
from karel_fast.runs.snapshots import read_card
from karel_fast.support.memory import freed_memory_kept
from karel_fast.support.plugins import Plugin, loaded_plugins, run_plugins
from karel_fast.support.ray import WorkerLost, connected, results, task_resources

if TYPE_CHECKING:
    from karel_fast.probing.snapshot import ProbeRun


def probe_on_ray(
    run: Path,
    snapshots: Sequence[Path],
    probe_run: ProbeRun,
    settings: dict[str, Any],
    *,
    address: str | None = None,
    retries: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """`probe_snapshot` on each, as many at a time as the cluster has room for; their files, in order.

    settings: `probe_snapshot`'s keywords. address: see `karel_fast.support.ray`. progress is called with (snapshots, or pieces, done, of
    how many).

    A snapshot that fails does not stop the others; the first failure is raised at the end, as itself. Raises
    ModuleNotFoundError where Ray is not installed, ValueError for a GPU that the cluster lacks, WorkerLost.
    """
    run = run.absolute()
    if probe_run.specifications is not None:
        probe_run = replace(probe_run, specifications=str(Path(probe_run.specifications).absolute()))
    todo = [path.absolute() for path in snapshots if not is_done(run, int(read_card(path)["step"]), probe_run)]
    if todo:
        _probe(run, todo, probe_run, settings, address, retries, progress)
    # Done already, so this only joins what is in pieces and says where.
    return [probe_snapshot(run, path, probe_run, **settings) for path in snapshots]


def _probe(
    run: Path,
    snapshots: Sequence[Path],
    probe_run: ProbeRun,
    settings: dict[str, Any],
    address: str | None,
    retries: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    with connected(address) as ray:
        threads = torch.get_num_threads()
        resources, device = task_resources(ray, str(settings.get("device", "cpu")), threads)
        settings = {**settings, "device": device}
        failed: dict[Path, Exception] = {}
        plugins = loaded_plugins()

        def each(work: Callable[..., Any], items: Sequence[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
            task = ray.remote(**resources, max_retries=retries)(work)
            start = lambda item: task.remote(plugins, str(run), str(item[0]), probe_run, settings, threads, *item[1:])  # noqa: E731
            for done, (item, result, error) in enumerate(results(ray, start, items, len(items)), 1):
                if isinstance(error, WorkerLost):
                    error = WorkerLost(f"{item[0].name}: {error}")
                if error is not None:
                    failed[item[0]] = error
                else:
                    yield item, result
                if progress:
                    progress(done, len(items))

        whole = [(path,) for path in snapshots]
        if probe_run.pieces:
            left = [(path, number) for (path,), numbers in each(_tables_of_one, whole) for number in numbers]
            for _ in each(_probe_piece, left) if left else ():
                pass
        else:
            for _ in each(_probe_one, whole):
                pass
    for path in snapshots:
        if path in failed:
            raise failed[path]


# What a task does. plugins: the driver's, with their texts, so that features of one's own are there, too.


@freed_memory_kept()
def _tables_of_one(
    plugins: list[Plugin], run: str, snapshot: str, probe_run: ProbeRun, settings: dict[str, Any], threads: int
) -> list[int]:
    run_plugins(plugins)
    torch.set_num_threads(threads)
    return pieces_left(run, snapshot, probe_run, **settings)


@freed_memory_kept()
def _probe_piece(
    plugins: list[Plugin],
    run: str,
    snapshot: str,
    probe_run: ProbeRun,
    settings: dict[str, Any],
    threads: int,
    number: int,
) -> None:
    run_plugins(plugins)
    torch.set_num_threads(threads)
    probe_piece(run, snapshot, probe_run, number, **settings)


@freed_memory_kept()
def _probe_one(
    plugins: list[Plugin], run: str, snapshot: str, probe_run: ProbeRun, settings: dict[str, Any], threads: int
) -> None:
    run_plugins(plugins)
    # Sums are taken in an order that depends on the number of threads; Ray gives its workers one.
    torch.set_num_threads(threads)
    probe_snapshot(run, snapshot, probe_run, **settings)
