"""How wide trace arrays must be: known ahead for straight-line programs, counted by a run for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from karel_fast.karel.language.compiler import CompiledPrograms
from karel_fast.karel.world import Worlds
from karel_fast.support.machine import memory

BYTES_PER_STEP = 8  # one action, a three-byte pose, a marker count and three conditions


def trace_width(
    run: Callable[..., tuple[Any, ...]],
    programs: CompiledPrograms,
    worlds: Worlds,
    performed: np.ndarray,
    max_steps: int,
    crash: bool,
    threads: int,
) -> int:
    """The width to trace with; `trim` then cuts the results to the longest run.

    Straight-line runs nearly always take all their actions, so their longest program is a good bound and a crash or full cell
    only leaves columns to trim. Other programs are run once to count their steps.

    Raises MemoryError if the trace could not fit this machine's memory.
    """
    if len(worlds) == 0:
        return 0
    # A trace that cannot fit is not worth counting to its end.
    fits = memory() // (len(worlds) * BYTES_PER_STEP) - 1
    if programs.straight_line:
        width = min(int(programs.lengths.max(initial=0)), max_steps)
    else:
        counted = max(1, min(max_steps, fits + 1))
        width = int(run(programs, worlds, performed, counted, crash, threads)[2].max())
    if width > fits:
        raise MemoryError(
            f"tracing {len(worlds)} runs of {width} steps or more takes {BYTES_PER_STEP} bytes for each step, and this "
            f"process may use {memory() / 2**30:.1f} GiB; lower max_steps or trace fewer runs at a time"
        )
    return width


def trim(actions: np.ndarray, *rest: np.ndarray) -> tuple[np.ndarray, ...]:
    *states, steps, status = rest
    width = int(steps.max(initial=0))
    if width < actions.shape[1]:
        actions = np.ascontiguousarray(actions[:, :width])
        states = [np.ascontiguousarray(array[:, : width + 1]) for array in states]
    return (actions, *states, steps, status)
