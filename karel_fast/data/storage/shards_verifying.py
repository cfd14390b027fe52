"""Verifying shards: every value generated again and compared with the files, and what is wrong made again on request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.data.sampling.generation import check_threads
from karel_fast.data.sampling.philox import GENERATOR_VERSION
from karel_fast.data.storage.manifest import Manifest, ShardError
from karel_fast.data.storage.packing import digest, make_columns
from karel_fast.data.storage.shard_file import checked_file, place_of, read_columns
from karel_fast.data.storage.shards import open_shards
from karel_fast.data.storage.shards_writing import SamplesProgress, writing


@dataclass(frozen=True)
class Verification:
    """What `verify` looked at and found right, and the shards that it had to make again for that."""

    shards: int
    rows: int
    repaired: tuple[int, ...] = ()


def verify(
    directory: str | Path,
    *,
    fraction: float = 1.0,
    repair: bool = False,
    backend: str | None = None,
    threads: int | None = None,
    progress: SamplesProgress | None = None,
) -> Verification:
    """Generates shards again and compares every value with the files and every digest with the manifest.

    `fraction` of the shards, evenly spread and at least one, are looked at. repair: replace what is missing, damaged or
    wrong among them. Raises ShardError naming the first wrong row, or the file that is missing or damaged, or a
    generator version that this karel_fast does not have.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}; give a number above 0 and at most 1")
    directory = Path(directory)
    manifest = Manifest.read(directory) if repair else open_shards(directory).manifest
    if manifest.generator_version != GENERATOR_VERSION:
        raise ShardError(
            f"{directory} was made by generator version {manifest.generator_version}, and this karel_fast has version "
            f"{GENERATOR_VERSION}: verify it with the version of karel_fast that made it"
        )
    looks = max(1, round(fraction * manifest.shard_count))
    chosen = sorted({k * manifest.shard_count // looks for k in range(looks)})
    rows = sum(manifest.rows(k)[1] for k in chosen)
    done = 0
    wrong: list[int] = []

    def check(shard: int) -> None:
        try:
            _verify_shard(manifest, directory, shard, backend)
        except ShardError:
            if not repair:
                raise
            wrong.append(shard)

    with ThreadPoolExecutor(check_threads(threads), "verify") as pool:
        for shard, _ in _until_error(pool, zip(chosen, pool.map(check, chosen), strict=True)):
            done += manifest.rows(shard)[1]
            if progress is not None:
                progress(done, rows)
    if wrong:
        with writing(manifest.with_shards({}), directory, (1, 1)) as job:
            for shard in sorted(wrong):
                job.add(*job.write(shard, backend=backend, threads=check_threads(threads)))
            job.finish()
    return Verification(len(chosen), rows, tuple(sorted(wrong)))


def _until_error(pool: ThreadPoolExecutor, results: Iterable[Any]) -> Iterator[Any]:
    try:
        yield from results
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise


def _verify_shard(manifest: Manifest, directory: Path, shard: int, backend: str | None) -> None:
    start, rows = manifest.rows(shard)
    right = make_columns(manifest.recipe, manifest.split, start, rows, manifest.traces, backend=backend, threads=1)
    with checked_file(manifest, directory, shard) as file:
        stored = read_columns(manifest, directory, shard, file)
    where = place_of(manifest, directory, shard)
    wrong = [(row, name) for name in right if (row := _first_wrong(stored[name], right[name])) is not None]
    if wrong:
        row, name = min(wrong)
        raise ShardError(f"{where}: row {start + row} is wrong, first in column {name!r}")
    entry = manifest.written.get(shard)
    if entry is None or digest(right) != entry.digest:
        raise ShardError(f"{where} is right, but the manifest has another digest for it: the manifest is damaged")


def _first_wrong(stored: np.ndarray, right: np.ndarray) -> int | None:
    if stored.shape != right.shape:
        return 0
    rows = np.flatnonzero((stored != right).any(axis=1))
    return int(rows[0]) if len(rows) else None
