"""Data sets on disk: a folder of Parquet shards of fixed index ranges with a manifest, one split of one recipe, read lazily."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.samples import Samples
from karel_fast.data.storage.manifest import Manifest, ShardError
from karel_fast.data.storage.packing import Columns, digest, unpack, unpack_trace
from karel_fast.data.storage.shard_file import REMEDY, ROW_GROUP, checked_file, place_of, read_columns, read_shard
from karel_fast.support.checks import whole
from karel_fast.support.checksums import file_sum

KEPT_ROWS = 8 * ROW_GROUP  # rows read last that stay in memory


def open_shards(directory: str | Path) -> Shards:
    """Opens a folder that `write_shards` has completed; only its manifest is read. ShardError names a missing shard."""
    directory = Path(directory)
    manifest = Manifest.read(directory)
    written = manifest.written
    for shard in range(manifest.shard_count):
        if shard not in written or not (directory / manifest.file(shard)).is_file():
            raise ShardError(
                f"{place_of(manifest, directory, shard)} is missing: generate again into the same folder to complete it"
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
        start, count = whole("start", start, 0), whole("count", count, 0)
        if start + count > len(self):
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
            with checked_file(self.manifest, self.directory, shard) as file:
                self._kept[key] = read_columns(self.manifest, self.directory, shard, file, block.groups, block.first)
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
                f"{place_of(self.manifest, self.directory, shard)} has other values than its manifest says: it is "
                f"damaged{REMEDY}"
            )
        with checked_file(self.manifest, self.directory, shard) as file:
            return _blocks(file.metadata)

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
