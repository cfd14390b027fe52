"""Data sets on disk: Parquet shards of fixed index ranges, a manifest, resuming, verifying and lazy reading.

A folder holds one split of one recipe. Its shards' values depend on nothing but the manifest, so any number of
processes on any number of machines can write parts of it (`part`, and `karel_fast.data.storage.shards_on_ray`), and a run that was
killed goes on where it stopped: a shard's file is put in place only when it is complete.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.data.sampling.generation import check_threads
from karel_fast.data.sampling.philox import GENERATOR_VERSION
from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.samples import Samples
from karel_fast.data.storage.manifest import Entry, Manifest, ShardError
from karel_fast.data.storage.packing import (
    Columns,
    check_values,
    column_widths,
    digest,
    from_table,
    make_columns,
    to_table,
    unpack,
    unpack_trace,
)
from karel_fast.karel.language import Semantics, resolve_semantics
from karel_fast.support.checksums import file_sum
from karel_fast.support.files import remove_leftovers, write_whole
from karel_fast.support.locks import locked

SHARD_SIZE = 50_000
ROW_GROUP = 5_000  # rows of a Parquet row group as written here; files with others are read as well
KEPT_ROWS = 8 * ROW_GROUP  # rows read last that stay in memory
ENCODINGS = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED", "DELTA_LENGTH_BYTE_ARRAY"}
"""Of columns that are read: with these a value takes as many bytes in the file's pages as in memory, or is in a dictionary."""
REMEDY = "; generate again into the same folder, or verify it with repair, to replace it"
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

    def __init__(self, manifest: Manifest, directory: Path, part: tuple[int, int]) -> None:
        self.manifest, self.directory = manifest, directory
        k, n = part
        self.tag = f"{k}-of-{n}"
        self.mine = range((k - 1) * manifest.shard_count // n, k * manifest.shard_count // n)
        self._written: dict[int, Entry] = {}  # of `mine`
        with locked(directory / MANIFEST_LOCK):
            known = self._there().written
        with ThreadPoolExecutor(check_threads(None), "look") as pool:
            entries = list(pool.map(lambda shard: self._found(shard, known.get(shard)), self.mine))
        self._written = {shard: entry for shard, entry in zip(self.mine, entries, strict=True) if entry is not None}
        self.todo = [shard for shard in self.mine if shard not in self._written]
        self.finish()

    def write(self, shard: int, **execution: Any) -> tuple[int, Entry]:
        """Makes one shard and puts it in place."""
        return shard, write_shard(self.manifest, self.directory, shard, self.tag, **execution)

    def add(self, shard: int, entry: Entry) -> None:
        """Notes a shard that has been written; the manifest's file follows within a second, or at `finish`."""
        self._written[shard] = entry
        if time.monotonic() - self._saved_at > 1:
            self.finish()

    def report(self, progress: SamplesProgress | None) -> None:
        if progress is not None:
            progress(
                sum(self.manifest.rows(k)[1] for k in self._written), sum(self.manifest.rows(k)[1] for k in self.mine)
            )

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
        """What the manifest should say of the shard's file; None if it is missing, damaged, or not what was noted.

        A file that a killed run put in place but did not note is taken for what it says itself.
        """
        path = self.directory / self.manifest.file(shard)
        if not path.is_file():
            return None
        if entry is not None and entry.sha256 is not None and file_sum(path) == entry.sha256:
            return entry
        try:
            value = digest(read_shard(self.manifest, self.directory, shard))
        except ShardError:
            return None
        return None if entry is not None and entry.digest != value else _entry(path, value)


@contextmanager
def writing(manifest: Manifest, directory: Path, part: tuple[int, int]) -> Iterator[Job]:
    """A job on a folder, which is made if need be, with the lock on that part of it."""
    k, n = part
    if not 1 <= k <= n:
        raise ValueError(f"part {k}/{n} does not exist: use 1/{n} .. {n}/{n}")
    directory.mkdir(parents=True, exist_ok=True)
    tag = f"{k}-of-{n}"
    busy = (
        f"{directory}: another process is generating part {k}/{n} of this folder: wait for it, or choose another folder"
    )
    with locked(directory / f".writing-{tag}.lock", busy):
        remove_leftovers(directory, tag)
        yield Job(manifest, directory, part)


def write_shard(manifest: Manifest, directory: Path, shard: int, tag: str, **execution: Any) -> Entry:
    """Makes a shard and puts its file in place, whole. execution: `backend` and `threads` of `generate`."""
    import pyarrow.parquet as pq

    start, rows = manifest.rows(shard)
    columns = make_columns(manifest.recipe, manifest.split, start, rows, manifest.traces, **execution)
    value = digest(columns)
    table = to_table(columns, {**manifest.metadata(), "karel_fast_start": str(start), "karel_fast_digest": value})
    encodings = dict.fromkeys(columns, "PLAIN")  # the only one of bytes that every reader has; files of others are read

    def write(path: Path) -> None:
        pq.write_table(
            table, path, compression="zstd", compression_level=1, use_dictionary=False, write_statistics=False,
            column_encoding=encodings, row_group_size=ROW_GROUP, write_page_checksum=True,
        )  # fmt: skip

    path = directory / manifest.file(shard)
    write_whole(path, write, tag)
    return _entry(path, value)


def _entry(path: Path, value_digest: str) -> Entry:
    return Entry(value_digest, path.stat().st_size, file_sum(path))


def read_shard(manifest: Manifest, directory: Path, shard: int) -> Columns:
    """A shard's columns. ShardError, naming file and rows, if it is missing, damaged, or of another data set."""
    with _open(manifest, directory, shard) as file:
        columns = _read(manifest, directory, shard, file)
    stated_digest = (file.schema_arrow.metadata or {}).get(b"karel_fast_digest", b"").decode()
    if digest(columns) != stated_digest:
        raise ShardError(
            f"{_where(manifest, directory, shard)} has values that do not match its digest: it is damaged{REMEDY}"
        )
    return columns


def _where(manifest: Manifest, directory: Path, shard: int) -> str:
    start, rows = manifest.rows(shard)
    return f"{directory / manifest.file(shard)} (rows {start}..{start + rows - 1})"


@contextmanager
def _open(manifest: Manifest, directory: Path, shard: int) -> Iterator[Any]:
    """The shard's Parquet file, after everything that its head says has been checked: it may come from anywhere."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, where = directory / manifest.file(shard), _where(manifest, directory, shard)
    if not path.is_file():
        raise ShardError(f"{where} is missing{REMEDY}")
    try:
        file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        if by_dictionary := _dictionary_columns(file.metadata):
            # Its dictionary is looked at before every row becomes a copy of a value.
            file.close()
            file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True, read_dictionary=by_dictionary)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ShardError(f"{where} is no whole Parquet file ({error}){REMEDY}") from error
    with file:
        start, rows = manifest.rows(shard)
        metadata = file.schema_arrow.metadata or {}
        expected = {**manifest.metadata(), "karel_fast_start": str(start)}
        if any(metadata.get(key.encode(), b"").decode(errors="replace") != value for key, value in expected.items()):
            raise ShardError(f"{where} is a shard of another data set{REMEDY}")
        if file.metadata.num_rows != rows:
            raise ShardError(f"{where} has {file.metadata.num_rows} rows{REMEDY}")
        widths = column_widths(manifest.recipe, manifest.traces is not None)
        if file.schema_arrow.names != list(widths):
            raise ShardError(
                f"{where} has columns {', '.join(file.schema_arrow.names)} instead of {', '.join(widths)}{REMEDY}"
            )
        if fault := _size_fault(file.metadata, widths):
            raise ShardError(f"{where} is damaged ({fault}){REMEDY}")
        yield file


def _dictionary_columns(metadata: Any) -> list[str]:
    chunks = (
        metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(metadata.num_columns)
    )
    return sorted({chunk.path_in_schema for chunk in chunks if chunk.has_dictionary_page})


def _size_fault(metadata: Any, widths: dict[str, int]) -> str | None:
    """What makes the file larger in memory than its rows can be; None if nothing does."""
    for g in range(metadata.num_row_groups):
        group = metadata.row_group(g)
        for c, (name, width) in enumerate(widths.items()):
            chunk = group.column(c)
            most = group.num_rows * (width + 8) + 65_536  # a length before each value, and the pages' heads
            if chunk.total_uncompressed_size > most:
                return f"column {name!r} unpacks to {chunk.total_uncompressed_size:,} bytes, more than its rows take"
            if unknown := set(chunk.encodings) - ENCODINGS:
                return f"column {name!r} has encoding {', '.join(sorted(unknown))}"
    return None


def _read(
    manifest: Manifest, directory: Path, shard: int, file: Any, groups: Sequence[int] | None = None, first: int = 0
) -> Columns:
    """The columns of some row groups, whose first row is the shard's row `first`; of all, without `groups`."""
    import pyarrow as pa

    try:
        groups = range(file.metadata.num_row_groups) if groups is None else groups
        rows = sum(file.metadata.row_group(group).num_rows for group in groups)
        table = file.read_row_groups(groups, use_threads=False)
        if table.num_rows != rows:
            raise ValueError(f"{table.num_rows} rows where its head says {rows}")
        columns = from_table(table, column_widths(manifest.recipe, manifest.traces is not None))
        check_values(columns, manifest.recipe, manifest.rows(shard)[0] + first)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise ShardError(f"{_where(manifest, directory, shard)} is damaged ({error}){REMEDY}") from error
    return columns


# -- reading ----------------------------------------------------------------------------------------------------------


def open_shards(directory: str | Path) -> Shards:
    """Opens a folder that `write_shards` has completed; only its manifest is read. ShardError names a missing shard."""
    directory = Path(directory)
    manifest = Manifest.read(directory)
    written = manifest.written
    for shard in range(manifest.shard_count):
        if shard not in written or not (directory / manifest.file(shard)).is_file():
            raise ShardError(
                f"{_where(manifest, directory, shard)} is missing: generate again into the same folder to complete it"
            )
    return Shards(directory, manifest)


class Shards:
    """A data set on disk, read a few thousand rows at a time: `len`, slices and `samples(start, count)` as Samples.

    The rows read last stay in memory. A shard's file is compared with its checksum when it is first read; one that
    another tool has written anew, perhaps with other row groups, must have the same values.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory, self.manifest = directory, manifest
        self._blocks: dict[int, list[_Block]] = {}
        self._kept: OrderedDict[tuple[int, int], Columns] = OrderedDict()

    @property
    def recipe(self) -> Recipe:
        return self.manifest.recipe

    @property
    def split(self) -> str:
        return self.manifest.split

    def __len__(self) -> int:
        return self.manifest.count

    def __getitem__(self, rows: slice) -> Samples:
        if not isinstance(rows, slice):
            raise TypeError(f"shards are indexed by slices, not {rows!r}")
        first, last, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("samples are consecutive: a slice of them cannot have a step")
        return self.samples(first, max(last - first, 0))

    def samples(self, start: int, count: int) -> Samples:
        """Samples start .. start+count-1, from as many shards as they lie in."""
        return unpack(self.columns(start, count), self.recipe, self.split, start)

    def traces(self, start: int, count: int) -> dict[str, np.ndarray]:
        """The stored traces of these samples' worlds: arrays named and shaped as in `karel_fast.Trace`."""
        if self.manifest.traces is None:
            raise ValueError(f"{self.directory} was written without traces: write_shards(..., traces=...)")
        return unpack_trace(self.columns(start, count), self.recipe)

    def columns(self, start: int, count: int) -> Columns:
        """The packed columns of these samples."""
        if not (start >= 0 and count >= 0 and start + count <= len(self)):
            raise ValueError(f"samples {start}..{start + count - 1} are outside 0..{len(self) - 1}")
        parts: list[Columns] = []
        at = start
        while at < start + count or not parts:
            shard, row = divmod(min(at, len(self) - 1), self.manifest.shard_size)
            first, columns = self._block(shard, row)
            row -= first
            take = min(start + count - at, len(columns["length"]) - row)
            parts.append({name: rows[row : row + take] for name, rows in columns.items()})
            at += take
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _block(self, shard: int, row: int) -> tuple[int, Columns]:
        """The columns of the block that holds a row of a shard, and the block's first row."""
        if shard not in self._blocks:
            self._blocks[shard] = self._look(shard)
        blocks = self._blocks[shard]
        number = bisect_right([block.first for block in blocks], row) - 1
        key, block = (shard, number), blocks[number]
        if key not in self._kept:
            with _open(self.manifest, self.directory, shard) as file:
                self._kept[key] = _read(self.manifest, self.directory, shard, file, block.groups, block.first)
            while len(self._kept) > 1 and sum(len(columns["length"]) for columns in self._kept.values()) > KEPT_ROWS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return block.first, self._kept[key]

    def _look(self, shard: int) -> list[_Block]:
        """A shard's blocks, after comparing its file with what the manifest says of it."""
        entry, path = self.manifest.written[shard], self.directory / self.manifest.file(shard)
        changed = entry.sha256 is not None and path.is_file() and file_sum(path) != entry.sha256
        if changed and digest(read_shard(self.manifest, self.directory, shard)) != entry.digest:
            raise ShardError(
                f"{_where(self.manifest, self.directory, shard)} has other values than its manifest says: it is "
                f"damaged{REMEDY}"
            )
        with _open(self.manifest, self.directory, shard) as file:
            return _blocks(file.metadata)

    def batches(self, size: int) -> Iterator[Samples]:
        """All samples in order, `size` at a time (the last ones may be fewer)."""
        for start in range(0, len(self), size):
            yield self.samples(start, min(size, len(self) - start))

    def __repr__(self) -> str:
        return f"<{len(self)} {self.split} samples of recipe {self.recipe.hash} in {self.directory}>"


@dataclass(frozen=True, slots=True)
class _Block:
    """Row groups of a shard that are read together; `first` is their first row."""

    first: int
    groups: tuple[int, ...]


def _blocks(metadata: Any) -> list[_Block]:
    """All row groups, so few together that a block has ROW_GROUP rows or hardly more, if its groups allow it."""
    blocks: list[_Block] = []
    groups: list[int] = []
    first = end = 0
    for group in range(metadata.num_row_groups):
        groups.append(group)
        end += metadata.row_group(group).num_rows
        if end - first >= ROW_GROUP or (end > first and group == metadata.num_row_groups - 1):
            blocks.append(_Block(first, tuple(groups)))
            first, groups = end, []
    return blocks


# -- verifying --------------------------------------------------------------------------------------------------------


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
    with _open(manifest, directory, shard) as file:
        stored = _read(manifest, directory, shard, file)
    where = _where(manifest, directory, shard)
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
