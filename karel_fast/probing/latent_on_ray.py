"""The grid of latent causal probing by the tasks of a Ray cluster, with the results that one machine gives.

The run folder must lie under the same path on every node. First each table is written by a task, then each piece trained by one; all
write files of their own, so the same command goes on after whatever ended early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from karel_fast.probing.latent_grid import LatentJob, Progress, probes_of_piece
from karel_fast.support.locks import alone
from karel_fast.support.memory import freed_memory_kept
from karel_fast.support.plugins import Plugin, loaded_plugins, run_plugins
from karel_fast.support.ray import connected, results, task_resources

if TYPE_CHECKING:
    from karel_fast.probing.latent_settings import LatentGrid


def latent_on_ray(
    run: str | Path,
    snapshot: str | Path,
    grid: LatentGrid,
    *,
    address: str | None = None,
    retries: int = 3,
    progress: Progress | None = None,
    **settings: Any,
) -> Path:
    """`probe_latent_grid` over a cluster; arguments and errors as there and in `karel_fast.support.ray`, and WorkerLost.

    Raises ValueError for a GPU that the cluster lacks.
    """
    run, snapshot = Path(run).absolute(), Path(snapshot).absolute()
    job = LatentJob(run, snapshot, grid, **{**settings, "device": "cpu"})
    if job.is_done:
        return job.target
    with alone(job.target):
        left = job.left()
        first = {job.tables_of(number): number for number in reversed(left)}
        with connected(address) as ray:
            threads = torch.get_num_threads()
            resources, device = task_resources(ray, str(settings.get("device", "cpu")), threads)
            settings = {**settings, "device": device}
            plugins = loaded_plugins()

            task = ray.remote(**resources, max_retries=retries)(_do)

            def all_of(
                step: Callable[[LatentJob, int], object],
                stage: str,
                numbers: Iterable[int],
                before: int,
                each: int,
                of: int,
            ) -> None:
                def start(number: int) -> Any:
                    return task.remote(step, plugins, run, snapshot, grid, settings, threads, number)

                for done, (_, _, error) in enumerate(results(ray, start, numbers), 1):
                    if error is not None:
                        raise error
                    if progress:
                        progress(stage, (before + done) * each, of * each)

            all_of(LatentJob.splits, "read programs", first.values(), 0, 1, len(first))
            all_of(
                LatentJob.train, "train probes", left, len(job.cells) - len(left), probes_of_piece(grid), len(job.cells)
            )
        return job.finish()


# What a task does. Sums are taken in an order that depends on the number of threads; Ray gives its workers one.


@freed_memory_kept()
def _do(
    step: Callable[[LatentJob, int], object],
    plugins: list[Plugin],
    run: Path,
    snapshot: Path,
    grid: LatentGrid,
    settings: dict[str, Any],
    threads: int,
    number: int,
) -> None:
    run_plugins(plugins)
    torch.set_num_threads(threads)
    step(LatentJob(run, snapshot, grid, **settings), number)
