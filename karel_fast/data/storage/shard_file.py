"""One shard's Parquet file: written whole, and read only after everything that it says of itself has been checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from karel_fast.data.storage.manifest import Entry, Manifest, ShardError
from karel_fast.data.storage.packing import (
    Columns,
    check_values,
    column_widths,
    digest,
    from_table,
    make_columns,
    to_table,
)
from karel_fast.support.checks import one_line
from karel_fast.support.checksums import file_sum
from karel_fast.support.files import write_whole

ROW_GROUP = 5_000  # rows of a Parquet row group as written here; files with others are read as well
ENCODINGS = {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED", "DELTA_LENGTH_BYTE_ARRAY"}
"""Of columns that are read: with these a value takes as many bytes in the file's pages as in memory, or is in a dictionary."""
REMEDY = "; generate again into the same folder, or verify it with repair, to replace it"


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
    return entry_of(path, value)


def entry_of(path: Path, value_digest: str) -> Entry:
    """What the manifest notes of a shard's file."""
    return Entry(value_digest, path.stat().st_size, file_sum(path))


def read_shard(manifest: Manifest, directory: Path, shard: int) -> Columns:
    """A shard's columns. ShardError, naming file and rows, if it is missing, damaged, or of another data set."""
    with checked_file(manifest, directory, shard) as file:
        columns = read_columns(manifest, directory, shard, file)
    stated_digest = (file.schema_arrow.metadata or {}).get(b"karel_fast_digest", b"").decode()
    if digest(columns) != stated_digest:
        raise ShardError(
            f"{place_of(manifest, directory, shard)} has values that do not match its digest: it is damaged{REMEDY}"
        )
    return columns


def place_of(manifest: Manifest, directory: Path, shard: int) -> str:
    """File and rows, as errors name a shard."""
    start, rows = manifest.rows(shard)
    return f"{directory / manifest.file(shard)} (rows {start}..{start + rows - 1})"


@contextmanager
def checked_file(manifest: Manifest, directory: Path, shard: int) -> Iterator[Any]:
    """The shard's Parquet file, after everything that its head says has been checked: it may come from anywhere."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, where = directory / manifest.file(shard), place_of(manifest, directory, shard)
    if not path.is_file():
        raise ShardError(f"{where} is missing{REMEDY}")
    try:
        file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        if by_dictionary := _dictionary_columns(file.metadata):
            # Its dictionary is looked at before every row becomes a copy of a value.
            file.close()
            file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True, read_dictionary=by_dictionary)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ShardError(f"{where} is no whole Parquet file ({one_line(error)}){REMEDY}") from error
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


def read_columns(
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
        raise ShardError(f"{place_of(manifest, directory, shard)} is damaged ({one_line(error)}){REMEDY}") from error
    return columns
