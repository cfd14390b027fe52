"""How wide trace arrays must be: known ahead for straight-line programs, counted by a run for others."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.karel.language.compiler import CompiledPrograms
from karel_fast.karel.world import Worlds

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
BYTES_PER_STEP = 8  # one action, a three-byte pose, a marker count and three conditions


def trace_width(
    run: Callable[..., tuple[Any, ...]],
    programs: CompiledPrograms,
    worlds: Worlds,
    performed: np.ndarray,
    max_steps: int,
    crash: bool,
    threads: int,
) -> tuple[int, Callable[..., tuple[Any, ...]]]:
    """Returns the width to trace with, and a function that trims the results to the longest run.

    Straight-line runs nearly always take all their actions, so their longest program is a good bound and a crash or full cell
    only leaves columns to trim. Other programs are run once to count their steps.

    Raises MemoryError if the trace could not fit this machine's memory.
    """
    if len(worlds) == 0:
        return 0, _trim
    # A trace that cannot fit is not worth counting to its end.
    fits = _memory() // (len(worlds) * BYTES_PER_STEP) - 1
    if programs.straight_line:
        width = min(int(programs.lengths.max(initial=0)), max_steps)
    else:
        counted = max(1, min(max_steps, fits + 1))
        width = int(run(programs, worlds, performed, counted, crash, threads)[2].max())
    if width > fits:
        raise MemoryError(
            f"tracing {len(worlds)} runs of {width} steps or more takes {BYTES_PER_STEP} bytes for each step, and this "
            f"process may use {_memory() / 2**30:.1f} GiB; lower max_steps or trace fewer runs at a time"
        )
    return width, _trim


def _memory() -> int:
    """Bytes that this process may use: the machine's, or its control group's where that is less."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 60
    try:
        limit = CGROUP_LIMIT.read_text().strip()
    except OSError:
        return available
    return min(available, int(limit)) if limit.isdigit() else available


def _trim(actions: np.ndarray, *rest: np.ndarray) -> tuple[np.ndarray, ...]:
    *states, steps, status = rest
    width = int(steps.max(initial=0))
    if width < actions.shape[1]:
        actions = np.ascontiguousarray(actions[:, :width])
        states = [np.ascontiguousarray(array[:, : width + 1]) for array in states]
    return (actions, *states, steps, status)
