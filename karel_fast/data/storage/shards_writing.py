"""Writing shards: which of them a process has to make, and the manifest that says what has been made.

Shards' values depend on nothing but the manifest, so any number of processes on any number of machines can write parts of a folder
(`part`, and `karel_fast.data.storage.shards_on_ray`), and a run that was killed goes on where it stopped: a shard's file is put in
place only when it is complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from karel_fast.data.sampling.generation import check_threads
from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.storage.manifest import Entry, Manifest, ShardError
from karel_fast.data.storage.packing import digest
from karel_fast.data.storage.shard_file import entry_of, read_shard, write_shard
from karel_fast.karel.language import Semantics, resolve_semantics
from karel_fast.support.checksums import file_sum
from karel_fast.support.files import remove_leftovers
from karel_fast.support.locks import locked
from karel_fast.support.slices import slice_of

SHARD_SIZE = 50_000
MANIFEST_LOCK = ".manifest.lock"
SamplesProgress = Callable[[int, int], None]  # samples done, samples to do in all


def write_shards(
    recipe: Recipe,
    split: str,
    directory: str | Path,
    *,
    count: int,
    shard_size: int = SHARD_SIZE,
    traces: str | Semantics | None = None,
    part: tuple[int, int] = (1, 1),
    backend: str | None = None,
    threads: int | None = None,
    progress: SamplesProgress | None = None,
) -> Manifest:
    """Writes samples 0 .. count-1 of a split into a folder, or those shards that it does not have yet.

    traces: a semantics under which every sample is run again and each step stored, see `karel_fast.data.storage.packing`.
    part: (k, n) writes the k-th (from 1) of n parts of the shards; the parts may run at once, anywhere.
    threads: shards made at once, by default one per processor; memory is about 150 MB for each.
    progress: called with (samples done, samples to do) after every shard.

    Returns the manifest, of which `.shards` lists what has been written. Raises ShardError if the folder holds anything
    else than the same data set, BlockingIOError if another process is writing the same part, and OSError if the disk
    refuses (nothing half-written is left in place).
    """
    wanted = make_manifest(recipe, split, count, shard_size, traces)
    workers = check_threads(threads)
    with writing(wanted, Path(directory), part) as job:
        job.report(progress)
        with ThreadPoolExecutor(workers, "shards") as pool:
            todo = iter(job.todo)
            running: set[Future[tuple[int, Entry]]] = set()
            try:
                while True:
                    for shard in todo:
                        running.add(pool.submit(job.write, shard, backend=backend, threads=1))
                        if len(running) >= workers:
                            break
                    if not running:
                        break
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        job.add(*future.result())
                        job.report(progress)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return job.finish()


def make_manifest(recipe: Recipe, split: str, count: int, shard_size: int, traces: str | Semantics | None) -> Manifest:
    """What a folder is to hold. ValueError or TypeError for numbers that make no data set."""
    semantics = None if traces is None else resolve_semantics(traces)
    return Manifest(recipe, split, count, shard_size, semantics)


class Job:
    """The shards that one process, or one driver of several, has to write into a folder."""

    def __init__(self, manifest: Manifest, directory: Path, mine: range, tag: str) -> None:
        self.manifest, self.directory, self.mine, self.tag = manifest, directory, mine, tag
        self._written: dict[int, Entry] = {}  # of `mine`
        with locked(directory / MANIFEST_LOCK):
            known = self._there().written
        there = [shard for shard in self.mine if (directory / manifest.file(shard)).is_file()]
        with ThreadPoolExecutor(check_threads(None), "look") as pool:
            entries = list(pool.map(lambda shard: self._found(shard, known.get(shard)), there))
        self._written = {shard: entry for shard, entry in zip(there, entries, strict=True) if entry is not None}
        self.todo = [shard for shard in self.mine if shard not in self._written]
        self._rows, self._rows_written = self._count(self.mine), self._count(self._written)
        self.finish()

    def write(self, shard: int, **execution: Any) -> tuple[int, Entry]:
        """Makes one shard and puts it in place."""
        return shard, write_shard(self.manifest, self.directory, shard, self.tag, **execution)

    def add(self, shard: int, entry: Entry) -> None:
        """Notes a shard that has been written; the manifest's file follows within a second, or at `finish`."""
        if shard not in self._written:
            self._rows_written += self._count([shard])
        self._written[shard] = entry
        if time.monotonic() - self._saved_at > 1:
            self.finish()

    def report(self, progress: SamplesProgress | None) -> None:
        if progress is not None:
            progress(self._rows_written, self._rows)

    def _count(self, shards: Iterable[int]) -> int:
        return sum(self.manifest.rows(shard)[1] for shard in shards)

    def finish(self) -> Manifest:
        """Writes the manifest's file, joining what other parts have noted meanwhile with what this job has."""
        with locked(self.directory / MANIFEST_LOCK):
            others = {k: entry for k, entry in self._there().written.items() if k not in self.mine}
            joined = self.manifest.with_shards(others | self._written)
            joined.write(self.directory, self.tag)
        self._saved_at = time.monotonic()
        return joined

    def _there(self) -> Manifest:
        """The folder's manifest, or this job's for an empty folder. ShardError if it is another data set's."""
        try:
            there = Manifest.read(self.directory)
        except FileNotFoundError:
            return self.manifest
        if differences := there.differences(self.manifest):
            raise ShardError(
                f"{self.directory} already holds another data set ({'; '.join(differences)}): choose another folder"
            )
        return there

    def _found(self, shard: int, entry: Entry | None) -> Entry | None:
        """What the manifest should say of the shard's file; None if it is damaged, or not what was noted.

        A file that a killed run put in place but did not note is taken for what it says itself.
        """
        path = self.directory / self.manifest.file(shard)
        if entry is not None and entry.sha256 is not None and file_sum(path) == entry.sha256:
            return entry
        try:
            value = digest(read_shard(self.manifest, self.directory, shard))
        except ShardError:
            return None
        return None if entry is not None and entry.digest != value else entry_of(path, value)


@contextmanager
def writing(manifest: Manifest, directory: Path, part: tuple[int, int]) -> Iterator[Job]:
    """A job on a folder, which is made if need be, with the lock on that part of it."""
    mine = slice_of(manifest.shard_count, part)
    k, n = part
    directory.mkdir(parents=True, exist_ok=True)
    tag = f"{k}-of-{n}"
    busy = (
        f"{directory}: another process is generating part {k}/{n} of this folder: wait for it, or choose another folder"
    )
    with locked(directory / f".writing-{tag}.lock", busy):
        remove_leftovers(directory, tag)
        yield Job(manifest, directory, mine, tag)
