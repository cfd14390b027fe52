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
from typing import Any

import numpy as np

from karel_fast.data.sampling.generation import check_threads, generate
from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.samples import Samples
from karel_fast.karel.backends import resolve_backend
from karel_fast.karel.execution import Trace, trace
from karel_fast.karel.language import Semantics
from karel_fast.karel.world import Worlds

Columns = dict[str, np.ndarray]  # name to uint8 (n, bytes per row)

CHUNK = 4096  # samples unpacked at a time: their arrays are ten times as large


def trace_length(recipe: Recipe) -> int:
    """S: how many actions a trace in a shard has room for, and the step limit of the runs that it shows."""
    return recipe.lengths[1] if recipe.control is None else recipe.control.max_steps


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
    """The samples' columns; see above. Backend "cpp" packs in the core, the other two in NumPy, with equal results."""
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
    """The columns as a `pyarrow.Table`, without copying."""
    import pyarrow as pa

    arrays, fields = [], []
    for name, rows in columns.items():
        n, width = rows.shape
        values = pa.py_buffer(np.ascontiguousarray(rows))
        if name == "length":
            array = pa.Array.from_buffers(pa.uint8(), n, [None, values])
        else:
            offsets = pa.py_buffer(np.arange(n + 1, dtype=np.int32) * np.int32(width))
            array = pa.Array.from_buffers(pa.binary(), n, [None, offsets, values])
        arrays.append(array)
        fields.append(pa.field(name, array.type, nullable=False))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata))


def from_table(table: Any) -> Columns:
    """The inverse of `to_table`. ValueError if a column's values are not all equally long."""
    columns = {}
    for name in table.column_names:
        array = table.column(name).combine_chunks()
        n = len(array)
        if name == "length":
            columns[name] = np.asarray(array.to_numpy(zero_copy_only=False), np.uint8)[:, None]
            continue
        _, offsets, values = array.buffers()
        ends = np.frombuffer(offsets, np.int32)[array.offset : array.offset + n + 1]
        widths = np.unique(np.diff(ends))
        if len(widths) != 1:
            raise ValueError(f"column {name!r} has values of different lengths")
        flat = np.frombuffer(values, np.uint8)[ends[0] : ends[-1]] if values is not None else np.empty(0, np.uint8)
        columns[name] = flat.reshape(n, int(widths[0]))
    return columns


def _interior(cells: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(cells[:, 1:-1, 1:-1])


def _poses(robot: np.ndarray, recipe: Recipe) -> np.ndarray:
    row, col, direction = robot.astype("<u2").T
    return np.ascontiguousarray((((row - 1) * (recipe.width - 2) + col - 1) << 2) | direction).view(np.uint8)


def _robots(poses: np.ndarray, recipe: Recipe) -> np.ndarray:
    pose = np.ascontiguousarray(poses).view("<u2").reshape(-1)
    row, col = np.divmod(pose >> 2, recipe.width - 2)
    return np.stack([row + 1, col + 1, pose & 3], axis=1).astype(np.uint8)
