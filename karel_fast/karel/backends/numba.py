"""The executor for installations without a C++ compiler, compiled by Numba at first use and cached beside this file.

The same two algorithms as in csrc/karel/kernels.inc: branch-free execution of straight-line programs on worlds of at most 64
cells, and an interpreter for everything else. Threads are Python's, which the kernels let run by releasing the GIL: unlike
Numba's own thread pools these may be used from several threads at once and interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count as counter
from typing import Any

import numpy as np

from karel_fast.karel.backends.batch_checks import OPS, check_batch
from karel_fast.karel.backends.widths import trace_width, trim
from karel_fast.karel.language.compiler import CompiledPrograms
from karel_fast.karel.language.vocabulary import Action, Condition
from karel_fast.karel.status import DECISIONS_PER_STEP, Status
from karel_fast.karel.world import Worlds
from karel_fast.support.numba_cache import cached_njit

Arrays = tuple[np.ndarray, ...]

# Numba freezes module globals into its kernels, but wants plain integers. Nothing that comes from the vocabulary may be
# among them (batch_checks.py says why): effects, senses and operation codes are arguments.
OK, CRASHED, STEP_LIMIT, MARKER_LIMIT = (int(status) for status in Status)

U = np.uint64
SMALL_CELLS = 64
SMALL_LENGTH = 127  # with cells below 128 markers, this many puts cannot pass 255
RUNS_PER_PIECE = 4096
WORK_BETWEEN_LOOKS = 1 << 20  # steps and decisions, at the stop flag


@cached_njit(nogil=True, boundscheck=False)
def _run_small(
    begin, end, examples, cells, actions, starts, lengths, closed, rows, columns, walls, markers, robot, width, effects,
    steps_by_direction, max_steps, out_markers, out_robot, out_steps, out_status, careful,
):  # fmt: skip
    """Runs begin..end; returns how many of them it left, in `careful`, to the interpreter because cells are nearly full.

    Arrays of worlds are flat here, and their indices unsigned: Numba wraps signed ones around the end, at a cost.
    """
    left = 0
    for i in range(begin, end):
        world = U(i * cells)
        seen = np.uint8(0)
        for cell in range(cells):
            value = markers[world + U(cell)]
            out_markers[world + U(cell)] = value
            seen |= value
        if seen >= 128:
            careful[left] = i
            left += 1
            continue
        program = i // examples
        start = starts[program]
        steps = min(np.int64(lengths[program]), max_steps)
        cell = np.int64(robot[U(3 * i)]) * width + robot[U(3 * i + 1)]
        turned = np.int64(robot[U(3 * i + 2)]) * 8
        for k in range(start, start + steps):
            effect = effects >> 8 * np.int64(actions[U(k)])
            turned = (turned + effect) & 24
            ahead = (((steps_by_direction >> turned) & 0xFF) ^ 0x80) - 0x80  # the byte's sign, extended
            moves = effect & ~(closed[U(cell + ahead)] | walls[world + U(cell + ahead)]) & 1
            cell += ahead & -moves
            here = np.int64(out_markers[world + U(cell)])
            pick = effect >> 2 & 1
            out_markers[world + U(cell)] = here + (effect >> 1 & 1) - pick + (here < pick)
        out_robot[U(3 * i)] = rows[U(cell)]
        out_robot[U(3 * i + 1)] = columns[U(cell)]
        out_robot[U(3 * i + 2)] = turned >> 3
        out_steps[i] = steps
        out_status[i] = STEP_LIMIT if lengths[program] > steps else OK
    return left


@cached_njit(nogil=True, boundscheck=False)
def _interpret(
    runs, examples, content, straight_line, starts, lengths, closed, rows, columns, walls, markers, robot, width, step, performed,
    effects, senses, ops, max_steps, crash, counters, out_markers, out_robot, out_steps, out_status, traced, actions, poses, markers_here,
    front_clear, left_clear, right_clear, stop,
):  # fmt: skip
    """Runs or traces the worlds whose indices are in `runs`. When tracing, out_markers has one row, of scratch memory."""
    jump, _, set_, loop, halt = ops  # what is left is a branch
    cells = walls.shape[1]
    max_decisions = max_steps * DECISIONS_PER_STEP
    for i in runs:
        if stop[0]:
            return
        program = i // examples
        start = starts[program]
        length = np.int64(lengths[program])
        row = 0 if traced else i
        for c in range(cells):
            out_markers[row, c] = markers[i, c]
        cell = np.int64(robot[i, 0]) * width + robot[i, 1]
        direction = np.int64(robot[i, 2])
        steps = np.int64(0)
        decisions = np.int64(0)
        counters[:] = 0  # forged bytecode may ask for one before it sets it
        next_look = np.int64(WORK_BETWEEN_LOOKS)
        status = OK
        position = np.int64(0)
        if traced:
            _record(0, i, cell, direction, step, closed, rows, columns, walls, out_markers, poses, markers_here, front_clear,
                    left_clear, right_clear)  # fmt: skip
        while position < length:
            word = np.int64(content[start + position])
            position += 1
            op = word & 0xFF
            if op < jump:
                if steps == max_steps:
                    status = STEP_LIMIT
                    break
                if straight_line and steps >= next_look:
                    if stop[0]:
                        return
                    next_look = steps + WORK_BETWEEN_LOOKS
                effect = np.int64(effects[op])
                here = out_markers[row, cell]
                if effect & 1:
                    ahead = cell + step[direction]
                    if not (closed[ahead] | walls[i, ahead]):
                        cell = ahead
                    elif crash:
                        status = CRASHED
                        break
                elif effect >> 3:
                    direction = (direction + (effect >> 3)) & 3
                elif effect & 4:
                    if here > 0:
                        out_markers[row, cell] = here - 1
                    elif crash:
                        status = CRASHED
                        break
                elif here == 255:
                    status = MARKER_LIMIT
                    break
                else:
                    out_markers[row, cell] = here + 1
                steps += 1
                if traced:
                    if steps > actions.shape[1]:  # the input changed since its steps were counted
                        status = STEP_LIMIT
                        break
                    actions[i, steps - 1] = performed[op]
                    _record(steps, i, cell, direction, step, closed, rows, columns, walls, out_markers, poses, markers_here,
                            front_clear, left_clear, right_clear)  # fmt: skip
            elif op == jump:
                position = word >> 32
            elif op == set_:
                counters[word >> 8 & 0xFFFFFF] = word >> 32
            elif op == halt:
                break
            else:
                if decisions == max_decisions:
                    status = STEP_LIMIT
                    break
                decisions += 1
                if steps + decisions >= next_look:
                    if stop[0]:
                        return
                    next_look = steps + decisions + WORK_BETWEEN_LOOKS
                a = word >> 8 & 0xFFFFFF
                if op == loop:
                    if counters[a] > 0:
                        counters[a] -= 1
                        position = word >> 32
                else:
                    sense = np.int64(senses[a & 7])
                    if sense & 4:
                        observed = out_markers[row, cell] > 0
                    else:
                        beside = cell + step[(direction + sense) & 3]
                        observed = not (closed[beside] | walls[i, beside])
                    # Bit 3: it must not be found; `not` in the program turns that round.
                    if observed == ((sense ^ a) & 8 != 0):
                        position = word >> 32
        out_steps[i] = steps
        out_status[i] = status
        if traced:
            for t in range(steps, actions.shape[1]):
                actions[i, t] = -1
                _record(t + 1, i, cell, direction, step, closed, rows, columns, walls, out_markers, poses, markers_here,
                        front_clear, left_clear, right_clear)  # fmt: skip
        else:
            out_robot[i, 0] = rows[cell]
            out_robot[i, 1] = columns[cell]
            out_robot[i, 2] = direction


@cached_njit(nogil=True, boundscheck=False, inline="always")
def _record(
    t, i, cell, direction, step, closed, rows, columns, walls, scratch, poses, markers_here, front_clear, left_clear, right_clear
):  # fmt: skip
    poses[i, t, 0] = rows[cell]
    poses[i, t, 1] = columns[cell]
    poses[i, t, 2] = direction
    markers_here[i, t] = scratch[0, cell]
    front = cell + step[direction]
    left = cell + step[(direction + 3) & 3]
    right = cell + step[(direction + 1) & 3]
    front_clear[i, t] = not (closed[front] | walls[i, front])
    left_clear[i, t] = not (closed[left] | walls[i, left])
    right_clear[i, t] = not (closed[right] | walls[i, right])


def _bytes(values: list[int]) -> int:
    """Small integers as the bytes of one, the first lowest."""
    return sum((value & 0xFF) << 8 * place for place, value in enumerate(values))


def _effects(performed: np.ndarray) -> np.ndarray:
    """uint8 (actions,): what each written action does, as `Effect.byte`. Raises ValueError for an unknown code."""
    return np.array([Action(code).effect.byte for code in performed.tolist()], np.uint8)


SENSES = np.array([condition.sense.byte for condition in Condition], np.uint8)
"""Where each condition looks."""


class _Batch:
    """The arguments that every kernel shares."""

    def __init__(self, programs: CompiledPrograms, worlds: Worlds) -> None:
        cells = worlds.height * worlds.width
        ring = np.ones((worlds.height, worlds.width), dtype=np.uint8)
        ring[1:-1, 1:-1] = 0
        self.count = len(worlds)
        self.examples = max(len(worlds) // len(programs), 1)
        self.programs = programs
        # The kernels see the outer ring as wall whatever the array says, so no robot can leave the arrays.
        self.closed = ring.reshape(-1)
        self.rows, self.columns = np.divmod(np.arange(cells), worlds.width)
        self.walls = worlds.walls.view(np.uint8).reshape(-1, cells)
        self.markers = worlds.markers.reshape(-1, cells)
        self.robot = worlds.robot
        self.width = worlds.width
        self.step = np.array([-worlds.width, 1, worlds.width, -1], dtype=np.int64)
        self.stop = np.zeros(1, dtype=np.uint8)

    def world_arguments(self) -> tuple[np.ndarray | int, ...]:
        return (self.closed, self.rows, self.columns, self.walls, self.markers, self.robot, self.width)

    def interpret(self, runs, performed, max_steps, crash, out, traced, trace_arrays) -> None:
        programs = self.programs
        content = programs.actions if programs.straight_line else programs.code
        counters = np.zeros(max(programs.slots, 1), dtype=np.int64)
        kernel: Any = _interpret
        kernel(
            runs, self.examples, content, programs.straight_line, programs.starts, programs.lengths,
            *self.world_arguments(), self.step, performed, _effects(performed), SENSES, OPS, max_steps, crash, counters,
            *out, traced, *trace_arrays, self.stop,
        )  # fmt: skip

    def in_threads(self, work: Callable[[int, int], None], threads: int) -> None:
        """Calls work(begin, end) for pieces of the batch; Ctrl-C stops it between pieces and in long loops."""
        pieces = counter()

        def worker() -> None:
            while not self.stop[0]:
                begin = next(pieces) * RUNS_PER_PIECE
                if begin >= self.count:
                    return
                work(begin, min(begin + RUNS_PER_PIECE, self.count))

        needed = min(threads, -(-self.count // RUNS_PER_PIECE))
        with ThreadPoolExecutor(max(needed, 1)) as pool:
            try:
                for future in [pool.submit(worker) for _ in range(needed)]:
                    future.result()
            except BaseException:
                self.stop[0] = 1
                raise


_NO_TRACE = (
    np.empty((0, 0), np.int8),
    np.empty((0, 0, 3), np.uint8),
    np.empty((0, 0), np.uint8),
    *(np.empty((0, 0), np.bool_) for _ in range(3)),
)


def run_batch(
    programs: CompiledPrograms, worlds: Worlds, performed: np.ndarray, max_steps: int, crash: bool, threads: int
) -> Arrays:
    """As `reference.run_batch`, whose `semantics` is called `performed` here; threads: how many work at most."""
    check_batch(programs, worlds)
    batch = _Batch(programs, worlds)
    markers = np.empty_like(batch.markers)
    out = (markers, np.empty_like(worlds.robot), np.empty(batch.count, np.int32), np.empty(batch.count, np.uint8))
    small = (
        programs.straight_line
        and not crash
        and batch.markers.shape[1] <= SMALL_CELLS
        and programs.lengths.max(initial=0) <= SMALL_LENGTH
    )
    effects = _bytes(_effects(performed).tolist())

    def piece(begin: int, end: int) -> None:
        runs = np.arange(begin, end)
        if small:
            left = _run_small(
                begin, end, batch.examples, batch.markers.shape[1], programs.actions, programs.starts, programs.lengths,
                batch.closed, batch.rows, batch.columns, batch.walls.reshape(-1), batch.markers.reshape(-1),
                batch.robot.reshape(-1), batch.width, effects, _bytes(batch.step.tolist()), max_steps,
                out[0].reshape(-1), out[1].reshape(-1), *out[2:], runs,
            )  # fmt: skip
            runs = runs[:left]
        if len(runs):
            batch.interpret(runs, performed, max_steps, crash, out, False, _NO_TRACE)

    batch.in_threads(piece, threads)
    return (markers.reshape(worlds.markers.shape), *out[1:])


def trace_batch(
    programs: CompiledPrograms, worlds: Worlds, performed: np.ndarray, max_steps: int, crash: bool, threads: int
) -> Arrays:
    """As `reference.trace_batch`, whose `semantics` is called `performed` here; threads: how many work at most."""
    check_batch(programs, worlds)
    width = trace_width(run_batch, programs, worlds, performed, max_steps, crash, threads)
    batch = _Batch(programs, worlds)
    n = batch.count
    steps, status = np.empty(n, np.int32), np.empty(n, np.uint8)
    arrays = (
        np.empty((n, width), np.int8),
        np.empty((n, width + 1, 3), np.uint8),
        np.empty((n, width + 1), np.uint8),
        *(np.empty((n, width + 1), np.bool_) for _ in range(3)),
    )

    def piece(begin: int, end: int) -> None:
        scratch = np.empty((1, batch.markers.shape[1]), np.uint8)
        out = (scratch, np.empty((0, 3), np.uint8), steps, status)
        batch.interpret(np.arange(begin, end), performed, max_steps, crash, out, True, arrays)

    batch.in_threads(piece, threads)
    return trim(*arrays, steps, status)
