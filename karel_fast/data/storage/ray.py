"""Shards from many machines: tasks of a Ray cluster, or slices of a Slurm job array, always with the same digests.

The folder must be on storage that all machines share. Ray is an optional extra: pip install "karel_fast[ray]".

A Slurm job array needs no Ray; each task writes its slice of the shards, and a slice that is killed is submitted again:

    #!/bin/bash
    #SBATCH --array=1-16
    #SBATCH --cpus-per-task=8
    #SBATCH --requeue
    karel-fast generate --recipe paper --count 10000000 --out /shared/paper-train \\
        --shards "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"

Afterwards `karel-fast verify /shared/paper-train` says whether everything is there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.storage.manifest import Entry, Manifest
from karel_fast.data.storage.shards import SHARD_SIZE, Progress, make_manifest, write_shard, writing
from karel_fast.karel.language import Semantics


def write_shards_ray(
    recipe: Recipe,
    split: str,
    directory: str | Path,
    *,
    count: int,
    shard_size: int = SHARD_SIZE,
    traces: str | Semantics | None = None,
    address: str | None = None,
    retries: int = 3,
    backend: str | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """`write_shards`, every shard a Ray task on one CPU that is tried again when its worker dies.

    address: of an existing cluster ("auto", or ray://..); without one a local Ray is started for the time of the call.

    Raises as `write_shards`, ModuleNotFoundError where Ray is not installed, and ConnectionError where no cluster is.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('the ray engine needs Ray: pip install "karel_fast[ray]"') from error
    wanted = make_manifest(recipe, split, count, shard_size, traces)
    directory = Path(directory).absolute()
    with writing(wanted, directory, (1, 1)) as job:
        job.report(progress)
        ours = not ray.is_initialized()
        if ours:
            ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)
        try:
            task = ray.remote(num_cpus=1, max_retries=retries)(_write_one)
            running = {}
            todo = iter(job.todo)
            most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
            while True:
                for shard in todo:
                    running[task.remote(wanted, str(directory), shard, job.tag, backend)] = shard
                    if len(running) >= most:
                        break
                if not running:
                    return job.finish()
                done, _ = ray.wait(list(running), num_returns=1)
                for reference in done:
                    job.add(running.pop(reference), _result(ray, reference))
                    job.report(progress)
        finally:
            if ours:
                ray.shutdown()


def _write_one(manifest: Manifest, directory: str, shard: int, tag: str, backend: str | None) -> Entry:
    return write_shard(manifest, Path(directory), shard, tag, backend=backend, threads=1)


def _result(ray: Any, reference: Any) -> Entry:
    """A task's result; what went wrong in it is raised as itself, so that messages read the same as without Ray."""
    try:
        entry: Entry = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    return entry
