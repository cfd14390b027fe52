"""Shards from many machines: tasks of a Ray cluster, or slices of a Slurm job array, always with the same digests.

The folder must be on storage that all machines share. For Ray see `karel_fast.support.ray`.

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

from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.storage.manifest import Entry, Manifest
from karel_fast.data.storage.shard_file import write_shard
from karel_fast.data.storage.shards_writing import SHARD_SIZE, SamplesProgress, make_manifest, writing
from karel_fast.karel.language import Semantics
from karel_fast.support.ray import connected, results


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
    progress: SamplesProgress | None = None,
) -> Manifest:
    """`write_shards`, every shard a Ray task on one CPU that is tried again when its worker dies.

    address: as `karel_fast.support.ray.connected` takes it. Raises as that and `write_shards`, and WorkerLost.
    """
    wanted = make_manifest(recipe, split, count, shard_size, traces)
    directory = Path(directory).absolute()
    with writing(wanted, directory, (1, 1)) as job:
        job.report(progress)
        with connected(address) as ray:
            task = ray.remote(num_cpus=1, max_retries=retries)(_write_one)
            start = lambda shard: task.remote(wanted, str(directory), shard, job.tag, backend)  # noqa: E731
            for shard, entry, error in results(ray, start, job.todo):
                if error is not None:
                    raise error
                job.add(shard, entry)
                job.report(progress)
        return job.finish()


def _write_one(manifest: Manifest, directory: str, shard: int, tag: str, backend: str | None) -> Entry:
    return write_shard(manifest, Path(directory), shard, tag, backend=backend, threads=1)
