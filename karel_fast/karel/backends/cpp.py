"""The compiled core: threads without the GIL, kernels chosen for the processor at run time."""

from __future__ import annotations

from typing import Any

import numpy as np

from karel_fast import _core
from karel_fast.karel.backends.widths import trace_width, trim
from karel_fast.karel.language.compiler import CompiledPrograms
from karel_fast.karel.world import Worlds

Arrays = tuple[np.ndarray, ...]


def _arguments(programs: CompiledPrograms, worlds: Worlds) -> dict[str, Any]:
    return {
        "content": programs.actions if programs.straight_line else programs.code,
        "starts": programs.starts,
        "lengths": programs.lengths,
        "slots": programs.slots,
        "straight_line": programs.straight_line,
        "walls": worlds.walls,
        "markers": worlds.markers,
        "robot": worlds.robot,
    }


def run_batch(
    programs: CompiledPrograms, worlds: Worlds, performed: np.ndarray, max_steps: int, crash: bool, threads: int
) -> Arrays:
    """As `reference.run_batch`, whose `semantics` is called `performed` here; threads: how many work at most."""
    return _core.run(
        **_arguments(programs, worlds), performed=performed, max_steps=max_steps, crash=crash, threads=threads
    )


def trace_batch(
    programs: CompiledPrograms, worlds: Worlds, performed: np.ndarray, max_steps: int, crash: bool, threads: int
) -> Arrays:
    """As `reference.trace_batch`, whose `semantics` is called `performed` here; threads: how many work at most."""
    width = trace_width(run_batch, programs, worlds, performed, max_steps, crash, threads)
    arrays = _core.trace(
        **_arguments(programs, worlds),
        performed=performed,
        max_steps=max_steps,
        crash=crash,
        threads=threads,
        width=width,
    )
    return trim(*arrays)
