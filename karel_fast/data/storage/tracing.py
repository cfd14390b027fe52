"""Traces of one's own programs and worlds, as a Parquet file with one row per run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.data.storage.jsonl import read_records
from karel_fast.karel.execution import Trace, trace
from karel_fast.karel.language import Semantics, compile
from karel_fast.support.checks import InputError
from karel_fast.support.files import check_apart, write_whole

CHUNK = 512  # programs traced at a time
MOST_STATES = 2**31 - 1  # of one table: Arrow's offsets into its lists are int32


def trace_file(
    source: str | Path,
    out: str | Path,
    *,
    semantics: str | Semantics = "original",
    max_steps: int = 1000,
    on_error: str = "ignore",
    backend: str | None = None,
    threads: int | None = None,
) -> int:
    """Runs every program of a file (see `karel_fast.data.storage.jsonl.read_records`) on its worlds; returns how many runs.

    Columns: program and example (counted from 0), steps, status (`karel_fast.Status`), actions (steps values), and
    with steps+1 values each row, col, direction, markers_here, front_clear, left_clear, right_clear.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_apart({"out": out}, {"the source": source})
    records = read_records(source)
    examples = records.examples

    def tables() -> Any:
        for first in range(0, len(records.programs), CHUNK):
            programs = records.programs[first : first + CHUNK]
            worlds = records.worlds[first * examples : (first + len(programs)) * examples]
            result = trace(
                compile(programs), worlds, semantics=semantics, max_steps=max_steps, on_error=on_error, backend=backend,
                threads=threads,
            )  # fmt: skip
            runs = np.arange(len(worlds))
            where = {"program": first + runs // examples, "example": runs % examples}
            yield pa.table({**where, **_columns(result, pa)})

    def write(temporary: Path) -> None:
        writer = None
        try:
            for table in tables():
                writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
                writer.write_table(table)
        finally:
            if writer is not None:
                writer.close()

    write_whole(out, write)
    return len(records.worlds)


def _columns(result: Trace, pa: Any) -> dict[str, Any]:
    def lists(values: np.ndarray, lengths: np.ndarray) -> Any:
        used = np.arange(values.shape[1]) < lengths[:, None]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        if offsets[-1] > MOST_STATES:
            raise InputError(
                f"the runs of {CHUNK} programs pass through {offsets[-1]} states, and a table holds {MOST_STATES}: lower max_steps"
            )
        offsets = offsets.astype(np.int32)
        return pa.ListArray.from_arrays(offsets, pa.array(values[used]))

    states = result.steps + 1
    per_state = {
        "row": result.robot[:, :, 0], "col": result.robot[:, :, 1], "direction": result.robot[:, :, 2],
        "markers_here": result.markers_here, "front_clear": result.front_clear, "left_clear": result.left_clear,
        "right_clear": result.right_clear,
    }  # fmt: skip
    return {
        "steps": result.steps,
        "status": result.status,
        "actions": lists(result.actions, result.steps),
        **{name: lists(values, states) for name, values in per_state.items()},
    }
