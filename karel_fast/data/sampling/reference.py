"""The sampler in plain Python: short, slow, and the specification that the others must equal bit for bit.

A world of H x W cells spends its stream like this: one value per interior cell, row by row, for wall or marker; then a
bounded draw below 4 * (H-2) * (W-2) whose two low bits are the robot's direction and whose rest is its cell.

An attempt at a program spends its stream like this: one bounded draw for the length; then the statements in the order
they are written, each a weighted draw over [the actions, if, ifelse, while, repeat] (block statements only in recipes
with control flow), followed for a block statement by: if ifelse, the first body's length, then the second's; otherwise
the body's length; then for repeat its count, else the condition and, where `negate` is on, one bit (1 negates).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karel_fast.data.sampling.philox import PROGRAM_STREAM, Stream
from karel_fast.data.sampling.plan import ControlPlan, Plan
from karel_fast.data.sampling.symbols import (
    CLOSE,
    CONDITION,
    COUNT,
    ELSE,
    IF,
    IFELSE,
    NOT,
    OPEN,
    PAD,
    REPEAT,
    program_hash,
)
from karel_fast.karel.backends.reference import State
from karel_fast.karel.language import Action


def draw_world(plan: Plan, index: int, example: int) -> State:
    """World `example` of sample `index`."""
    stream = Stream(plan.seed, plan.split, index, example)
    walls = [[True] * plan.width for _ in range(plan.height)]
    markers = [[0] * plan.width for _ in range(plan.height)]
    for row in range(1, plan.height - 1):
        for column in range(1, plan.width - 1):
            value = stream.next()
            walls[row][column] = value < plan.wall_end
            markers[row][column] = int(plan.wall_end <= value < plan.marker_end)
    pose = stream.below(4 * (plan.height - 2) * (plan.width - 2))
    cell, direction = divmod(pose, 4)
    row, column = 1 + cell // (plan.width - 2), 1 + cell % (plan.width - 2)
    walls[row][column] = False
    markers[row][column] = 0
    return State(walls, markers, row, column, direction)


def draw_program(plan: Plan, index: int, attempt: int, shown: Sequence[State]) -> tuple[list[int], int]:
    """The first program, from `attempt` on, that belongs to the split, and the attempt that drew it; [] if none does.

    `shown` is only read.
    """
    for a in range(attempt, plan.max_attempts):
        stream = Stream(plan.seed, plan.split, index, PROGRAM_STREAM + a)
        program = draw_statements(plan, plan.control, stream) if plan.control else draw_actions(plan, stream, shown)
        if plan.hash_first <= program_hash(program) < plan.hash_last:
            return program, a
    return [], plan.max_attempts


def draw_actions(plan: Plan, stream: Stream, shown: Sequence[State]) -> list[int]:
    """A straight-line program."""
    performed = [Action(code) for code in plan.performed]
    shown = [state.copy() for state in shown] if plan.avoid_noops else []
    length = plan.shortest + stream.below(plan.longest - plan.shortest + 1)
    written = []
    for _ in range(length):
        weights = plan.action_weights
        if plan.avoid_noops:
            useful = [any(state.is_possible(action) for state in shown) for action in performed]
            masked = tuple(w * u for w, u in zip(weights, useful, strict=True))
            weights = masked if sum(masked) else weights
        written.append(stream.weighted(weights))
        for state in shown:
            state.perform(performed[written[-1]], crash=False)
    return written


def draw_statements(plan: Plan, control: ControlPlan, stream: Stream) -> list[int]:
    """The symbols of a program with control flow; an explicit stack of open blocks instead of recursion."""
    length = plan.shortest + stream.below(plan.longest - plan.shortest + 1)
    out: list[int] = []
    blocks = [(length, 0)]  # (statements still to write, statements of the `else` body that follows it)
    while True:
        left, orelse = blocks.pop()
        if left == 0:
            if not blocks:
                return out
            out.append(CLOSE)
            if orelse:
                out += [ELSE, OPEN]
                blocks.append((orelse, 0))
            continue
        deeper = len(blocks) < control.depth
        fits = (left >= 2 and deeper, left >= 3 and deeper, left >= 2 and deeper, left >= 2 and deeper)
        weights = plan.action_weights + tuple(w * f for w, f in zip(control.statement_weights, fits, strict=True))
        statement = stream.weighted(weights)
        out.append(statement)  # the symbols of block statements follow those of the actions
        left -= 1
        if statement < IF:
            blocks.append((left, orelse))
            continue
        inner_orelse = 0
        if statement == IFELSE:
            inner = 1 + stream.below(left - 1)
            inner_orelse = 1 + stream.below(left - inner)
        else:
            inner = 1 + stream.below(left)
        if statement == REPEAT:
            out.append(COUNT + control.lowest_count + stream.below(control.highest_count - control.lowest_count + 1))
        else:
            condition = CONDITION + stream.weighted(control.condition_weights)
            if control.negate and stream.below(2):
                out.append(NOT)
            out.append(condition)
        out.append(OPEN)
        blocks += [(left - inner - inner_orelse, orelse), (inner, inner_orelse)]


# -- the three functions that every backend has -----------------------------------------------------------------------


def straight(plan: Plan, start: int, count: int, threads: int) -> tuple[np.ndarray, ...]:
    """Samples start .. start+count-1 of a straight-line recipe, executed.

    Returns symbols uint8 (n, W), lengths int32 (n,) (-1 where no program was found), walls bool (n*E, H, W), markers
    uint8 (n*E, H, W), robot uint8 (n*E, 3), and the final markers and robot. `threads` has no meaning here.
    """
    walls, markers, robot = worlds(plan, start, count, threads)
    symbols = np.full((count, plan.symbol_width), PAD, np.uint8)
    lengths = np.zeros(count, np.int32)
    out_markers, out_robot = markers.copy(), robot.copy()
    for i in range(count):
        inputs = [draw_world(plan, start + i, e) for e in range(plan.worlds)]
        program, _ = draw_program(plan, start + i, 0, inputs[: plan.shown])
        symbols[i, : len(program)] = program
        lengths[i] = len(program) or -1
        for e, state in enumerate(inputs):
            for action in program:
                state.perform(Action(plan.performed[action]), crash=False)
            out_markers[i * plan.worlds + e] = state.markers
            out_robot[i * plan.worlds + e] = state.row, state.column, state.direction
    return symbols, lengths, walls, markers, robot, out_markers, out_robot


def worlds(plan: Plan, start: int, count: int, threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The input worlds of samples start .. start+count-1: walls, markers, robot."""
    drawn = [draw_world(plan, i, e) for i in range(start, start + count) for e in range(plan.worlds)]
    shape = (count * plan.worlds, plan.height, plan.width)
    return (
        np.array([state.walls for state in drawn], bool).reshape(shape),
        np.array([state.markers for state in drawn], np.uint8).reshape(shape),
        np.array([(state.row, state.column, state.direction) for state in drawn], np.uint8).reshape(shape[0], 3),
    )


def programs(plan: Plan, indices: np.ndarray, attempts: np.ndarray, threads: int) -> tuple[np.ndarray, ...]:
    """Programs with control flow for the samples `indices`, searching from `attempts` on.

    Returns symbols uint8 (n, W), lengths int32 (n,) (-1 where no program was found), and int64 (n,) the attempts used.
    """
    symbols = np.full((len(indices), plan.symbol_width), PAD, np.uint8)
    lengths, used = np.zeros(len(indices), np.int32), np.zeros(len(indices), np.int64)
    for i, (index, attempt) in enumerate(zip(indices.tolist(), attempts.tolist(), strict=True)):
        program, used[i] = draw_program(plan, index, attempt, [])
        symbols[i, : len(program)] = program
        lengths[i] = len(program) or -1
    return symbols, lengths, used
