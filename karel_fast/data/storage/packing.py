"""Samples as Parquet columns: a few bytes per world, one row per sample, every value of a column equally long.

    length            uint8     symbols of the program
    program           W bytes   its symbols, padded with 255 (`karel_fast.data.sampling.symbols`)
    walls             bits      of all E worlds, interior cells only, row by row, first cell in the highest bit
    markers           bits      of the input worlds, likewise: inputs hold at most one marker a cell
    robot             2E bytes  of the input worlds: cell * 4 + direction, little-endian, interior cells from 0
    output_markers    bytes     markers after the run *minus* markers before it, modulo 256, one byte per interior cell
    output_robot      2E bytes  like robot

Shards with traces have in addition, for every world and S states after the first (see `karel_fast.Trace`):

    trace_steps       4E bytes  int32, little-endian
    trace_status      E bytes   `karel_fast.Status`
    trace_actions     E*S       performed actions, 255 past the end
    trace_robot       2E*(S+1)  like robot
    trace_markers     E*(S+1)   markers in the robot's cell
    trace_clear       E*(S+1)   front + 2 * left + 4 * right

The byte columns are of Parquet's variable-length type because `datasets` cannot read the fixed-length one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from karel_fast.data.sampling.generation import check_threads, generate
from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.samples import Samples
from karel_fast.data.sampling.symbols import PAD, symbol_count
from karel_fast.karel.backends import resolve_backend
from karel_fast.karel.execution import Trace, trace
from karel_fast.karel.language import Action, Semantics
from karel_fast.karel.status import Status
from karel_fast.karel.world import Worlds

Columns = dict[str, np.ndarray]  # name to uint8 (n, bytes per row)

CHUNK = 4096  # samples unpacked at a time: their arrays are ten times as large
MOST_BYTES = 2**31 - 1  # of one column of a table: Arrow's offsets into it are int32


def trace_length(recipe: Recipe) -> int:
    """S: how many actions a trace in a shard has room for, and the step limit of the runs that it shows."""
    return recipe.longest_run


def column_widths(recipe: Recipe, traces: bool) -> dict[str, int]:
    """Bytes a row of each column, in the columns' order."""
    worlds, inside = recipe.worlds_per_sample, (recipe.height - 2) * (recipe.width - 2)
    bits = -(-worlds * inside // 8)
    widths = {
        "length": 1, "program": recipe.symbol_width, "walls": bits, "markers": bits, "robot": 2 * worlds,
        "output_markers": worlds * inside, "output_robot": 2 * worlds,
    }  # fmt: skip
    if traces:
        steps = trace_length(recipe)
        widths |= {
            "trace_steps": 4 * worlds, "trace_status": worlds, "trace_actions": worlds * steps,
            "trace_robot": 2 * worlds * (steps + 1), "trace_markers": worlds * (steps + 1),
            "trace_clear": worlds * (steps + 1),
        }  # fmt: skip
    return widths


def most_rows(recipe: Recipe, traces: bool) -> int:
    """The most samples that one table can hold."""
    return MOST_BYTES // max(column_widths(recipe, traces).values())


def make_columns(
    recipe: Recipe, split: str, start: int, count: int, traces: Semantics | None, **execution: Any
) -> Columns:
    """The columns of samples start .. start+count-1; execution: `backend` and `threads` of `generate`."""
    parts = []
    for first in range(start, start + count, CHUNK):
        samples = generate(recipe, split, first, min(CHUNK, start + count - first), **execution)
        columns = pack(samples, **execution)
        if traces is not None:
            limit = trace_length(recipe)
            columns |= pack_trace(
                trace(samples.compiled, samples.inputs, semantics=traces, max_steps=limit, **execution), recipe
            )
        parts.append(columns)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def pack(samples: Samples, *, backend: str | None = None, threads: int | None = None) -> Columns:
    """The samples' columns; see above. Backend "cpp" packs in the core, the other two in NumPy, with equal results.

    ValueError for a program of more symbols than a length has room for.
    """
    if samples.lengths.max(initial=0) > 255:
        at = samples.start + int(samples.lengths.argmax())
        raise ValueError(
            f"sample {at}: its program has {samples.lengths.max()} symbols, a shard's at most 255: use a recipe with shorter "
            "programs"
        )
    packer = _pack_cpp if resolve_backend(backend) == "cpp" else _pack_numpy
    names = ("walls", "markers", "robot", "output_markers", "output_robot")
    return {
        "length": samples.lengths.astype(np.uint8)[:, None],
        "program": samples.symbols,
        **dict(zip(names, packer(samples, check_threads(threads)), strict=True)),
    }


def _pack_cpp(samples: Samples, threads: int) -> tuple[np.ndarray, ...]:
    from karel_fast import _core

    before, after = samples.inputs, samples.outputs
    return _core.pack_samples(
        samples.recipe.worlds_per_sample,
        before.walls,
        before.markers,
        before.robot,
        after.markers,
        after.robot,
        threads,
    )


def _pack_numpy(samples: Samples, threads: int) -> tuple[np.ndarray, ...]:
    n = len(samples)
    walls, markers = _interior(samples.inputs.walls), _interior(samples.inputs.markers)
    return (
        np.packbits(walls.reshape(n, -1), axis=1),
        np.packbits(markers.reshape(n, -1), axis=1),
        _poses(samples.inputs.robot, samples.recipe).reshape(n, -1),
        (_interior(samples.outputs.markers) - markers).reshape(n, -1),
        _poses(samples.outputs.robot, samples.recipe).reshape(n, -1),
    )


def unpack(columns: Columns, recipe: Recipe, split: str, start: int) -> Samples:
    """The samples that `pack` packed."""
    n = len(columns["program"])
    height, width = recipe.height, recipe.width
    inside = (height - 2) * (width - 2)
    count = n * recipe.worlds_per_sample

    def spread(cells: np.ndarray, ring: int) -> np.ndarray:
        out = np.full((count, height, width), ring, cells.dtype)
        out[:, 1:-1, 1:-1] = cells.reshape(count, height - 2, width - 2)
        return out

    def bits(name: str) -> np.ndarray:
        return np.unpackbits(columns[name], axis=1, count=inside * recipe.worlds_per_sample)

    walls = spread(bits("walls").view(bool), 1)
    before = bits("markers")
    after = before + columns["output_markers"]
    return Samples(
        recipe,
        split,
        start,
        columns["program"],
        columns["length"][:, 0].astype(np.int32),
        Worlds._trusted(walls, spread(before, 0), _robots(columns["robot"], recipe)),
        Worlds._trusted(walls, spread(after, 0), _robots(columns["output_robot"], recipe)),
    )


def pack_trace(result: Trace, recipe: Recipe) -> Columns:
    """The trace columns of a batch of samples; the final state fills up what room is left."""
    room, n = trace_length(recipe), len(result.steps) // recipe.worlds_per_sample
    missing = room - result.actions.shape[1]

    def padded(states: np.ndarray) -> np.ndarray:
        return np.concatenate([states, np.repeat(states[:, -1:], missing, axis=1)], axis=1)

    clear = sum(
        flags.astype(np.uint8) << bit
        for bit, flags in enumerate((result.front_clear, result.left_clear, result.right_clear))
    )
    actions = np.pad(result.actions, ((0, 0), (0, missing)), constant_values=-1)
    robot = padded(result.robot)
    return {
        "trace_steps": result.steps.astype("<i4").view(np.uint8).reshape(n, -1),
        "trace_status": result.status.reshape(n, -1),
        "trace_actions": actions.view(np.uint8).reshape(n, -1),
        "trace_robot": _poses(robot.reshape(-1, 3), recipe).reshape(n, -1),
        "trace_markers": padded(result.markers_here).reshape(n, -1),
        "trace_clear": padded(np.asarray(clear)).reshape(n, -1),
    }


def unpack_trace(columns: Columns, recipe: Recipe) -> dict[str, np.ndarray]:
    """The trace arrays of `karel_fast.Trace` by name, for n*E worlds and S = `trace_length(recipe)`."""
    states = trace_length(recipe) + 1
    n = len(columns["trace_steps"]) * recipe.worlds_per_sample
    clear = columns["trace_clear"].reshape(n, states)
    return {
        "actions": columns["trace_actions"].reshape(n, states - 1).view(np.int8),
        "robot": _robots(columns["trace_robot"], recipe).reshape(n, states, 3),
        "markers_here": columns["trace_markers"].reshape(n, states),
        "front_clear": clear & 1 == 1,
        "left_clear": clear & 2 == 2,
        "right_clear": clear & 4 == 4,
        "steps": np.ascontiguousarray(columns["trace_steps"]).view("<i4").reshape(n).astype(np.int32),
        "status": columns["trace_status"].reshape(n),
    }


def digest(columns: Columns) -> str:
    """BLAKE2b, 128 bits, over names, widths and values: independent of how a file encodes them."""
    state = hashlib.blake2b(digest_size=16)
    for name, rows in columns.items():
        state.update(f"{name} {rows.shape[0]} {rows.shape[1]}\n".encode())
        state.update(np.ascontiguousarray(rows).data)
    return state.hexdigest()


def to_table(columns: Columns, metadata: dict[str, str]) -> Any:
    """The columns as a `pyarrow.Table`, without copying. ValueError for a column of more than MOST_BYTES."""
    import pyarrow as pa

    arrays, fields = [], []
    for name, rows in columns.items():
        n, width = rows.shape
        if n * width > MOST_BYTES:
            raise ValueError(
                f"column {name!r} has {n * width:,} bytes, a table's at most {MOST_BYTES:,}: use fewer rows"
            )
        values = pa.py_buffer(np.ascontiguousarray(rows))
        if name == "length":
            array = pa.Array.from_buffers(pa.uint8(), n, [None, values])
        else:
            offsets = pa.py_buffer(np.arange(n + 1, dtype=np.int32) * np.int32(width))
            array = pa.Array.from_buffers(pa.binary(), n, [None, offsets, values])
        arrays.append(array)
        fields.append(pa.field(name, array.type, nullable=False))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata))


def from_table(table: Any, widths: Mapping[str, int]) -> Columns:
    """The inverse of `to_table`, for columns of these widths. ValueError, naming the column, where it is another."""
    columns = {}
    for name, width in widths.items():
        array, n = table.column(name).combine_chunks(), table.num_rows
        if array.null_count:
            raise ValueError(f"column {name!r} has empty values")
        if name == "length":
            columns[name] = np.asarray(array.to_numpy(zero_copy_only=False), np.uint8)[:, None]
            continue
        _check_widths(name, array, width)
        if hasattr(array, "dictionary_decode"):
            array = array.dictionary_decode()
        _, _, values = array.buffers()
        first = _ends(array)[0]
        flat = (
            np.frombuffer(values, np.uint8)[first : first + n * width] if values is not None else np.empty(0, np.uint8)
        )
        columns[name] = flat.reshape(n, width)
    return columns


def _check_widths(name: str, array: Any, width: int) -> None:
    """ValueError unless every value, or each of the dictionary's, has so many bytes."""
    values = array.dictionary if hasattr(array, "dictionary") else array
    found = np.unique(np.diff(_ends(values)))
    if len(found) and (found != width).any():
        wrong = int(found[found != width][0])
        raise ValueError(f"column {name!r} has a value of {wrong} bytes, the recipe's have {width}")


def _ends(array: Any) -> np.ndarray:
    """Where each value of a byte column begins, and where the last one ends."""
    import pyarrow as pa

    kinds = {pa.binary(): np.int32, pa.string(): np.int32, pa.large_binary(): np.int64, pa.large_string(): np.int64}
    if array.type not in kinds:
        raise ValueError(f"a column is of type {array.type}, not bytes")
    _, offsets, _ = array.buffers()
    if offsets is None:
        return np.zeros(1, np.int64)
    return np.frombuffer(offsets, kinds[array.type])[array.offset : array.offset + len(array) + 1]


def check_values(columns: Columns, recipe: Recipe, start: int) -> None:
    """ValueError, naming the row (the first is `start`) and the column, for a value that no sample of the recipe has."""
    n, worlds = len(columns["length"]), recipe.worlds_per_sample
    inside = (recipe.height - 2) * (recipe.width - 2)
    lengths, symbols = columns["length"], columns["program"]
    used = np.arange(symbols.shape[1]) < lengths
    walls, markers = (np.unpackbits(columns[name], axis=1, count=inside * worlds) for name in ("walls", "markers"))
    wrong = {
        "length": (lengths < 1) | (lengths > symbols.shape[1]),
        "program": np.where(used, symbols >= symbol_count(recipe.straight_line), symbols != PAD),
        "markers": markers & walls,
        "output_markers": walls.astype(bool) & (columns["output_markers"] != 0),
    }
    walled = np.concatenate([walls.reshape(-1, inside), np.ones((n * worlds, 1), np.uint8)], axis=1)
    for name in ("robot", "output_robot"):
        cell = np.minimum(_pose_codes(columns[name]).reshape(n * worlds, -1) >> 2, inside)
        wrong[name] = np.take_along_axis(walled, cell.astype(np.int64), axis=1).reshape(n, -1)
    if "trace_steps" in columns:
        steps = np.ascontiguousarray(columns["trace_steps"]).view("<i4")
        actions = columns["trace_actions"]
        wrong |= {
            "trace_steps": (steps < 0) | (steps > trace_length(recipe)),
            "trace_status": columns["trace_status"] > max(Status),
            "trace_actions": (actions >= len(Action)) & (actions != PAD),
            "trace_robot": _pose_codes(columns["trace_robot"]) >> 2 >= inside,
            "trace_clear": columns["trace_clear"] > 7,
        }
    for name, marks in wrong.items():
        rows = np.flatnonzero(marks.any(axis=1))
        if len(rows):
            raise ValueError(
                f"row {start + int(rows[0])} has a value in column {name!r} that no sample of its recipe has"
            )


def _pose_codes(poses: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(poses).view("<u2")


def _interior(cells: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cells[:, 1:-1, 1:-1])


def _poses(robot: np.ndarray, recipe: Recipe) -> np.ndarray:
    row, col, direction = robot.astype("<u2").T
    return np.ascontiguousarray((((row - 1) * (recipe.width - 2) + col - 1) << 2) | direction).view(np.uint8)


def _robots(poses: np.ndarray, recipe: Recipe) -> np.ndarray:
    pose = _pose_codes(poses).reshape(-1)
    row, col = np.divmod(pose >> 2, recipe.width - 2)
    return np.stack([row + 1, col + 1, pose & 3], axis=1).astype(np.uint8)
