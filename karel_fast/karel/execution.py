"""Running and tracing programs on worlds: the public face of the backends."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from karel_fast.karel.backends import available_backends, load_backend, resolve_backend
from karel_fast.karel.language import Action, CompiledPrograms, Program, Semantics, compile, resolve_semantics
from karel_fast.karel.status import Status
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import whole
from karel_fast.support.machine import quota

MAX_STEPS = 2**31 - 1
MAX_THREADS = 1024
ON_ERROR = ("ignore", "crash")

Programs = Program | str | Iterable[Program | str] | CompiledPrograms


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What `run` returns for N runs.

    worlds: the N worlds after the runs.
    steps: int32 (N,), actions performed.
    status: uint8 (N,), values of `Status`.
    """

    worlds: Worlds
    steps: NDArray[np.int32]
    status: NDArray[np.uint8]

    def _repr_html_(self) -> str:
        """What a notebook shows: the first worlds after their runs, and how these ended."""
        from karel_fast.karel.pictures import result_html

        return result_html(self)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What `trace` returns for N runs, the longest of which took S steps. State t is the state after t actions.

    actions: int8 (N, S), the actions *performed* (after the semantics), -1 past a run's end.
    robot: uint8 (N, S+1, 3), row, column and direction.
    markers_here: uint8 (N, S+1), markers in the robot's cell.
    front_clear, left_clear, right_clear: bool (N, S+1).
    steps: int32 (N,), actions performed.
    status: uint8 (N,), values of `Status`.

    Past a run's end its final state repeats, so `robot[:, -1]` is where every robot ended. The arrays are read-only.
    """

    actions: NDArray[np.int8]
    robot: NDArray[np.uint8]
    markers_here: NDArray[np.uint8]
    front_clear: NDArray[np.bool_]
    left_clear: NDArray[np.bool_]
    right_clear: NDArray[np.bool_]
    steps: NDArray[np.int32]
    status: NDArray[np.uint8]
    _start: Worlds
    _backend: str

    def _repr_html_(self) -> str:
        """What a notebook shows: a slider over the states of the first runs."""
        from karel_fast.karel.pictures import trace_html

        return trace_html(self)

    @property
    def start(self) -> Worlds:
        """The N worlds before the first action."""
        return self._start

    @property
    def walls(self) -> NDArray[np.bool_]:
        """bool (N, H, W): the worlds' walls, which no action changes."""
        return self._start.walls

    def worlds_at(self, t: int) -> Worlds:
        """The N worlds after `t` actions (0..S), found by replaying them; runs that ended earlier are in their final state.

        Raises ValueError if t is outside 0..S.
        """
        longest = self.actions.shape[1]
        if isinstance(t, bool) or not hasattr(t, "__index__") or not 0 <= operator.index(t) <= longest:
            raise ValueError(f"t is {t!r}; this trace has states 0 to {longest}")
        if len(self._start) == 0:
            return self._start
        performed = self.actions[:, :t]
        replay = CompiledPrograms.from_actions(
            np.where(performed < 0, 0, performed).astype(np.uint8), np.minimum(self.steps, t)
        )
        backend = self._backend if self._backend in available_backends() else None
        return run(replay, self._start, max_steps=max(operator.index(t), 1), backend=backend).worlds


def run(
    programs: Programs,
    worlds: Worlds,
    *,
    semantics: str | Semantics | Mapping[str, str | Action] = "original",
    max_steps: int = 1000,
    on_error: str = "ignore",
    backend: str | None = None,
    threads: int | None = None,
) -> Result:
    """Runs programs on worlds.

    programs: a Program, its source, a list of these, or a batch from `compile`.
    worlds: N worlds. P programs run on N = P*E worlds, example-minor: world i runs program i // E. So one program runs on all
        worlds, and as many programs as worlds run on one each.
    semantics: what the written actions do, by name, as a `Semantics`, or as a mapping of names.
    max_steps: actions a run may take, 1..2**31-1. A run also stops, with the same status, after 16 times as many decisions
        (conditions evaluated, repeat counters checked), so that every loop ends.
    on_error: "ignore" makes a blocked move, or a pick from an empty cell, do nothing, as in Jin & Rinard (2024); "crash" stops
        the run before it, as in the MSR Karel dataset. Putting onto a cell with 255 markers stops the run in both.
    backend: "cpp", "numba", "reference", or None for the best available; all give the same bits.
    threads: how many to use, by default all processors that this process may use. The results do not depend on it.

    Raises TypeError or ValueError for arguments that cannot be used, BackendUnavailableError for a backend that is not
    installed. Ctrl-C stops it within a second.
    """
    compiled, arguments = _prepare(programs, worlds, semantics, max_steps, on_error, threads)
    module = load_backend(resolve_backend(backend))
    markers, robot, steps, status = module.run_batch(compiled, worlds, *arguments)
    return Result(Worlds._trusted(worlds.walls, markers, robot), steps, status)


def trace(
    programs: Programs,
    worlds: Worlds,
    *,
    semantics: str | Semantics | Mapping[str, str | Action] = "original",
    max_steps: int = 1000,
    on_error: str = "ignore",
    backend: str | None = None,
    threads: int | None = None,
) -> Trace:
    """Runs programs on worlds and keeps every state on the way; arguments and errors as for `run`.

    Raises MemoryError, before the trace's arrays are made, if they would not fit this machine. (The reference backend, for
    small batches, does not look ahead.)
    """
    compiled, arguments = _prepare(programs, worlds, semantics, max_steps, on_error, threads)
    name = resolve_backend(backend)
    arrays = load_backend(name).trace_batch(compiled, worlds, *arguments)
    for array in arrays:
        array.flags.writeable = False  # what one reader of a trace changes, the next would take for what happened
    actions, robot, here, front, left, right, steps, status = arrays
    return Trace(actions, robot, here, front, left, right, steps, status, _start=worlds, _backend=name)


def check(
    programs: Programs,
    inputs: Worlds,
    outputs: Worlds,
    *,
    semantics: str | Semantics | Mapping[str, str | Action] = "original",
    max_steps: int = 1000,
    on_error: str = "ignore",
    backend: str | None = None,
    threads: int | None = None,
) -> NDArray[np.bool_]:
    """bool (N,): which of the N runs end as the outputs show. A run that did not end OK is never right.

    Outputs are compared as a specification shows them, that is as text (`Worlds.same_text`): the markers under the robot are
    seen by nobody, so no reader could know which of two programs put one there last. inputs and outputs: N worlds each; the
    other arguments and errors are those of `run`. Raises ValueError if the outputs are not as many, of the same size.
    """
    result = run(
        programs,
        inputs,
        semantics=semantics,
        max_steps=max_steps,
        on_error=on_error,
        backend=backend,
        threads=threads,
    )
    return result.worlds.same_text(outputs) & (result.status == Status.OK)


def available_threads() -> int:
    """Processors that this process may use: those it may run on, or as many as its control group grants time of."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, quota() or allowed)


def _prepare(
    programs: Programs,
    worlds: Worlds,
    semantics: str | Semantics | Mapping[str, str | Action],
    max_steps: int,
    on_error: str,
    threads: int | None,
) -> tuple[CompiledPrograms, tuple[NDArray[np.uint8], int, bool, int]]:
    compiled = compile(programs)
    if len(compiled) == 0:
        raise ValueError("the batch has no programs; give at least one")
    if not isinstance(worlds, Worlds):
        raise TypeError(f"worlds is {type(worlds).__name__}; make it Worlds, for example by Worlds.from_text")
    if len(worlds) % len(compiled):
        raise ValueError(
            f"{len(compiled)} programs cannot share {len(worlds)} worlds equally; give each program the same number, "
            "program 0's worlds first"
        )
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error is {on_error!r}; choose 'ignore' or 'crash'")
    max_steps = whole("max_steps", max_steps, 1, MAX_STEPS)
    threads = available_threads() if threads is None else whole("threads", threads, 1, MAX_THREADS)
    return compiled, (resolve_semantics(semantics).table, max_steps, on_error == "crash", threads)
