"""The sampler in plain Python: short, slow, and the specification that the others must equal bit for bit.

A world of H x W cells spends its stream like this: one value per interior cell, row by row, for wall or marker; then a
bounded draw below 4 * (H-2) * (W-2) whose two low bits are the robot's direction and whose rest is its cell.

An attempt at a program spends its stream like this: one bounded draw for the length; then the statements in the order
they are written, each a weighted draw over [five actions, if, ifelse, while, repeat] (block statements only in recipes
with control flow), followed for a block statement by: if ifelse, the first body's length, then the second's; otherwise
the body's length; then for repeat its count, else the condition and, where `negate` is on, one bit (1 negates).
"""

from __future__ import annotations

import numpy as np

from karel_fast.data.sampling.philox import PROGRAM_STREAM, Stream
from karel_fast.data.sampling.plan import Plan
from karel_fast.data.sampling.symbols import CLOSE, CONDITION, COUNT, ELSE, IF, IFELSE, NOT, OPEN, REPEAT, program_hash

ROW_STEP, COLUMN_STEP = (-1, 0, 1, 0), (0, 1, 0, -1)
MOVE, TURN_LEFT, TURN_RIGHT, PICK_MARKER, PUT_MARKER = range(5)


class World:
    """One grid world that actions change in place."""

    def __init__(self, height: int, width: int) -> None:
        self.walls = [
            [row in (0, height - 1) or col in (0, width - 1) for col in range(width)] for row in range(height)
        ]
        self.markers = [[0] * width for _ in range(height)]
        self.row = self.col = self.direction = 0

    def copy(self) -> World:
        """A world that shares the walls, which no action changes."""
        other = World.__new__(World)
        other.walls, other.markers = self.walls, [list(row) for row in self.markers]
        other.row, other.col, other.direction = self.row, self.col, self.direction
        return other

    def changes(self, action: int) -> bool:
        """Whether performing the action would change anything."""
        if action == MOVE:
            return not self.walls[self.row + ROW_STEP[self.direction]][self.col + COLUMN_STEP[self.direction]]
        return action != PICK_MARKER or self.markers[self.row][self.col] > 0

    def perform(self, action: int) -> None:
        """One action; a blocked move and a pick on an empty cell do nothing."""
        if not self.changes(action):
            return
        if action == MOVE:
            self.row, self.col = self.row + ROW_STEP[self.direction], self.col + COLUMN_STEP[self.direction]
        elif action == TURN_LEFT:
            self.direction = (self.direction + 3) % 4
        elif action == TURN_RIGHT:
            self.direction = (self.direction + 1) % 4
        else:
            self.markers[self.row][self.col] += 1 if action == PUT_MARKER else -1


def draw_world(plan: Plan, index: int, example: int) -> World:
    """World `example` of sample `index`."""
    stream = Stream(plan.seed, plan.split, index, example)
    world = World(plan.height, plan.width)
    for row in range(1, plan.height - 1):
        for col in range(1, plan.width - 1):
            value = stream.next()
            world.walls[row][col] = value < plan.wall_end
            world.markers[row][col] = int(plan.wall_end <= value < plan.marker_end)
    pose = stream.below(4 * (plan.height - 2) * (plan.width - 2))
    world.direction = pose % 4
    world.row, world.col = 1 + pose // 4 // (plan.width - 2), 1 + pose // 4 % (plan.width - 2)
    world.walls[world.row][world.col] = False
    world.markers[world.row][world.col] = 0
    return world


def draw_program(plan: Plan, index: int, attempt: int, shown: list[World]) -> tuple[list[int], int]:
    """The first program, from `attempt` on, that belongs to the split, and the attempt that drew it; [] if none does.

    `shown` is only read.
    """
    for a in range(attempt, plan.max_attempts):
        stream = Stream(plan.seed, plan.split, index, PROGRAM_STREAM + a)
        program = draw_statements(plan, stream) if plan.control else draw_actions(plan, stream, shown)
        if plan.hash_first <= program_hash(program) < plan.hash_last:
            return program, a
    return [], plan.max_attempts


def draw_actions(plan: Plan, stream: Stream, shown: list[World]) -> list[int]:
    """A straight-line program."""
    shown = [world.copy() for world in shown] if plan.avoid_noops else []
    length = plan.shortest + stream.below(plan.longest - plan.shortest + 1)
    actions = []
    for _ in range(length):
        weights = plan.action_weights
        if plan.avoid_noops:
            useful = [any(world.changes(plan.performed[action]) for world in shown) for action in range(5)]
            masked = tuple(w * u for w, u in zip(weights, useful, strict=True))
            weights = masked if sum(masked) else weights
        action = stream.weighted(weights)
        actions.append(action)
        if plan.avoid_noops:
            for world in shown:
                world.perform(plan.performed[action])
    return actions


def draw_statements(plan: Plan, stream: Stream) -> list[int]:
    """The symbols of a program with control flow; an explicit stack of open blocks instead of recursion."""
    statement_weights, condition_weights = plan.control[:4], plan.control[4:9]
    negate, depth, lowest, highest = plan.control[9:]
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
        deeper = len(blocks) < depth
        fits = (left >= 2 and deeper, left >= 3 and deeper, left >= 2 and deeper, left >= 2 and deeper)
        weights = plan.action_weights + tuple(w * f for w, f in zip(statement_weights, fits, strict=True))
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
            out.append(COUNT + lowest + stream.below(highest - lowest + 1))
        else:
            condition = CONDITION + stream.weighted(condition_weights)
            if negate and stream.below(2):
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
    symbols = np.full((count, plan.symbol_width), 255, np.uint8)
    lengths = np.zeros(count, np.int32)
    out_markers, out_robot = markers.copy(), robot.copy()
    for i in range(count):
        inputs = [draw_world(plan, start + i, e) for e in range(plan.worlds)]
        program, _ = draw_program(plan, start + i, 0, inputs[: plan.shown])
        symbols[i, : len(program)] = program
        lengths[i] = len(program) or -1
        for e, world in enumerate(inputs):
            for action in program:
                world.perform(plan.performed[action])
            out_markers[i * plan.worlds + e] = world.markers
            out_robot[i * plan.worlds + e] = world.row, world.col, world.direction
    return symbols, lengths, walls, markers, robot, out_markers, out_robot


def worlds(plan: Plan, start: int, count: int, threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The input worlds of samples start .. start+count-1: walls, markers, robot."""
    drawn = [draw_world(plan, i, e) for i in range(start, start + count) for e in range(plan.worlds)]
    shape = (count * plan.worlds, plan.height, plan.width)
    return (
        np.array([world.walls for world in drawn], bool).reshape(shape),
        np.array([world.markers for world in drawn], np.uint8).reshape(shape),
        np.array([(world.row, world.col, world.direction) for world in drawn], np.uint8).reshape(shape[0], 3),
    )


def programs(plan: Plan, indices: np.ndarray, attempts: np.ndarray, threads: int) -> tuple[np.ndarray, ...]:
    """Programs with control flow for the samples `indices`, searching from `attempts` on.

    Returns symbols uint8 (n, W), lengths int32 (n,) (-1 where no program was found), and int64 (n,) the attempts used.
    """
    symbols = np.full((len(indices), plan.symbol_width), 255, np.uint8)
    lengths, used = np.zeros(len(indices), np.int32), np.zeros(len(indices), np.int64)
    for i, (index, attempt) in enumerate(zip(indices.tolist(), attempts.tolist(), strict=True)):
        program, used[i] = draw_program(plan, index, attempt, [])
        symbols[i, : len(program)] = program
        lengths[i] = len(program) or -1
    return symbols, lengths, used
