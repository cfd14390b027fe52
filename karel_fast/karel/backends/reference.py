"""The specification: what running a Karel program means, in plain Python. Other backends must equal it bit for bit.

It walks the program's tree with an agenda, a list of the statements still to do with the next one last. Taking a
statement off, it either performs it (an action) or makes a decision and puts what follows from it back on.

A step is an action performed. A run may take max_steps of them, and DECISIONS_PER_STEP times as many decisions; one
more that is due ends it with STEP_LIMIT. The action that ends a run is neither performed nor counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from karel_fast.karel.language import Action, CompiledPrograms, Condition, If, IfElse, Program, Repeat, Statement, While
from karel_fast.karel.status import DECISIONS_PER_STEP, Status
from karel_fast.karel.world import Worlds

AHEAD = ((-1, 0), (0, 1), (1, 0), (0, -1))  # the next row and column to the north, east, south, west
MAX_MARKERS = 255


class Observation(NamedTuple):
    """What can be seen of a state: one entry of each array of a trace."""

    robot: tuple[int, int, int]
    markers_here: int
    front_clear: bool
    left_clear: bool
    right_clear: bool


class State:
    """One world while a program runs in it. Walls and markers are lists of rows, which the state takes over."""

    def __init__(
        self, walls: list[list[bool]], markers: list[list[int]], row: int, column: int, direction: int
    ) -> None:
        self.walls, self.markers = walls, markers
        self.row, self.column, self.direction = row, column, direction

    @classmethod
    def of(cls, world: Worlds) -> State:
        """The state of a batch of one world."""
        return cls(world.walls[0].tolist(), world.markers[0].tolist(), *world.robot[0].tolist())

    def copy(self) -> State:
        """A state that shares the walls, which no action changes."""
        markers = [list(row) for row in self.markers]
        return State(self.walls, markers, self.row, self.column, self.direction)

    def is_clear(self, turns: int) -> bool:
        """Whether the next cell is free after turning clockwise this many quarters from where the robot looks."""
        down, right = AHEAD[(self.direction + turns) % 4]
        return not self.walls[self.row + down][self.column + right]

    def holds(self, condition: Condition, negated: bool) -> bool:
        """Whether the condition holds, or does not where it is negated."""
        sense = condition.sense
        observed = self.markers[self.row][self.column] > 0 if sense.towards is None else self.is_clear(sense.towards)
        return (observed == sense.found) != negated

    def is_possible(self, action: Action) -> bool:
        """False for a blocked move and for a pick from an empty cell."""
        effect = action.effect
        if effect.moves:
            return self.is_clear(0)
        return not effect.picks or self.markers[self.row][self.column] > 0

    def perform(self, action: Action, crash: bool) -> Status:
        """Change the state as the action says; if the status is not OK, nothing has changed and the run ends."""
        if not self.is_possible(action):
            return Status.CRASHED if crash else Status.OK
        effect = action.effect
        if effect.puts and self.markers[self.row][self.column] == MAX_MARKERS:
            return Status.MARKER_LIMIT
        self.direction = (self.direction + effect.turns) % 4
        if effect.moves:
            down, right = AHEAD[self.direction]
            self.row, self.column = self.row + down, self.column + right
        self.markers[self.row][self.column] += effect.puts - effect.picks
        return Status.OK

    def observe(self) -> Observation:
        robot = (self.row, self.column, self.direction)
        return Observation(
            robot, self.markers[self.row][self.column], self.is_clear(0), self.is_clear(3), self.is_clear(1)
        )


def execute(
    program: Program,
    state: State,
    semantics: Sequence[int],
    max_steps: int,
    crash: bool,
    after: Callable[[Action], None] = lambda performed: None,
) -> tuple[int, Status]:
    """Run the program in the state, calling `after` with each action performed; the steps taken and how it ended."""
    steps = decisions = 0
    agenda: list[Statement] = list(reversed(program.body))
    while agenda:
        statement = agenda.pop()
        if isinstance(statement, Action):
            if steps == max_steps:
                return steps, Status.STEP_LIMIT
            performed = Action(semantics[statement])
            status = state.perform(performed, crash)
            if status != Status.OK:
                return steps, status
            steps += 1
            after(performed)
            continue
        if decisions == DECISIONS_PER_STEP * max_steps:
            return steps, Status.STEP_LIMIT
        decisions += 1
        if isinstance(statement, Repeat):
            if statement.count > 0:
                agenda.append(Repeat(statement.count - 1, statement.body))
                agenda += reversed(statement.body)
            continue
        holds = state.holds(statement.condition, statement.negated)
        if isinstance(statement, If) and holds:
            agenda += reversed(statement.body)
        elif isinstance(statement, IfElse):
            agenda += reversed(statement.body if holds else statement.orelse)
        elif isinstance(statement, While) and holds:
            agenda.append(statement)
            agenda += reversed(statement.body)
    return steps, Status.OK


def _runs(compiled: CompiledPrograms, worlds: Worlds) -> Iterator[tuple[int, Program, State]]:
    """Every run of the batch: the worlds are example-minor, so program p has the E worlds from p * E on."""
    for p in range(len(compiled)):
        program = compiled.program(p)
        examples = len(worlds) // len(compiled)
        for i in range(p * examples, (p + 1) * examples):
            yield i, program, State.of(worlds[i])


def run_batch(
    compiled: CompiledPrograms, worlds: Worlds, semantics: NDArray[np.uint8], max_steps: int, crash: bool, threads: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int32], NDArray[np.uint8]]:
    """Final markers (N,H,W) and robot (N,3), steps (N,) and status (N,) of P programs on N = P * E worlds.

    semantics: (actions,) the code performed for each written one. `threads` is not used here.
    """
    markers, robot = worlds.markers.copy(), worlds.robot.copy()
    steps = np.zeros(len(worlds), np.int32)
    status = np.zeros(len(worlds), np.uint8)
    table = semantics.tolist()
    for i, program, state in _runs(compiled, worlds):
        steps[i], status[i] = execute(program, state, table, max_steps, crash)
        markers[i] = state.markers
        robot[i] = state.row, state.column, state.direction
    return markers, robot, steps, status


def trace_batch(
    compiled: CompiledPrograms, worlds: Worlds, semantics: NDArray[np.uint8], max_steps: int, crash: bool, threads: int
) -> tuple[NDArray, NDArray, NDArray, NDArray, NDArray, NDArray, NDArray, NDArray]:
    """Of each run, with S the most steps of any: actions performed int8 (N,S), robot uint8 (N,S+1,3), markers under it
    uint8 (N,S+1), whether front, left and right are clear bool (N,S+1), and steps int32 and status uint8 (N,).

    State t is after t actions. Past a run's end, actions are -1 and states repeat the last one.
    """
    count = len(worlds)
    steps = np.zeros(count, np.int32)
    status = np.zeros(count, np.uint8)
    table = semantics.tolist()
    performed: list[list[int]] = []
    seen: list[list[Observation]] = []
    for i, program, state in _runs(compiled, worlds):
        acted: list[int] = []
        observed = [state.observe()]

        def after(action: Action, state=state, acted=acted, observed=observed) -> None:
            acted.append(int(action))
            observed.append(state.observe())

        steps[i], status[i] = execute(program, state, table, max_steps, crash, after)
        performed.append(acted)
        seen.append(observed)

    longest = int(steps.max(initial=0))
    actions = np.full((count, longest), -1, np.int8)
    robot = np.zeros((count, longest + 1, 3), np.uint8)
    markers_here = np.zeros((count, longest + 1), np.uint8)
    front_clear, left_clear, right_clear = (np.zeros((count, longest + 1), bool) for _ in range(3))
    for i, (acted, observed) in enumerate(zip(performed, seen, strict=True)):
        actions[i, : len(acted)] = acted
        observed += [observed[-1]] * (longest - len(acted))
        robot[i], markers_here[i], front_clear[i], left_clear[i], right_clear[i] = zip(*observed, strict=True)
    return actions, robot, markers_here, front_clear, left_clear, right_clear, steps, status
