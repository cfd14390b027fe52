"""Many robots that are told one action at a time: states, observations and rewards of n episodes, without Gymnasium.

Every step is one run of the executor, on n programs of one action. Shapes: n episodes, worlds of H x W cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karel_fast.karel.backends import resolve_backend
from karel_fast.karel.execution import run
from karel_fast.karel.language import Action, CompiledPrograms
from karel_fast.karel.status import Status
from karel_fast.karel.tasks import Task, resolve_task
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import InputError, one_of, whole

CHANNELS = 16
"""Of an observation, as LEAPS has them: the robot looking north, east, south, west; wall; 0 to 10 markers."""

ON_ERROR = ("leaps", "ignore", "crash")
LEAPS_MOST_MARKERS = 9  # MAX_NUM_MARKER - 1 of karel_env/karel.py
_SHOWN = CHANNELS - 6  # the most markers that an observation tells apart
_BATCH = 256  # starts that are drawn at a time

_CELLS = np.zeros((_SHOWN + 2, CHANNELS), np.int8)
_CELLS[np.arange(_SHOWN + 1), 5 + np.arange(_SHOWN + 1)] = 1
_CELLS[_SHOWN + 1, [4, 5]] = 1
"""A cell's channels, by its markers; last a wall's. A wall also holds "0 markers", as there."""


class Episodes:
    """n episodes of a task. `worlds` is where they are, `steps` int64 (n,) the actions since each began.

    on_error: what a blocked move, or a pick from an empty cell, does: "leaps", the robot turns around and nothing happens (and a
    put onto nine markers does nothing); "ignore", nothing; "crash", the episode ends. threads: of the executor.
    """

    def __init__(
        self,
        count: int,
        task: str | Task = "explore",
        *,
        height: int | None = None,
        width: int | None = None,
        on_error: str = "leaps",
        threads: int | None = None,
        backend: str | None = None,
    ) -> None:
        self.count = whole("count", count, 1)
        self.task = resolve_task(task)
        self.on_error = one_of("on_error", on_error, ON_ERROR)
        self.height = self.task.height if height is None else whole("height", height, 3, 64)
        self.width = self.task.width if width is None else whole("width", width, 3, 64)
        if self.task.fixed and (self.height, self.width) != (self.task.height, self.task.width):
            raise InputError(f"task {self.task.name} has worlds of {self.task.height} x {self.task.width} cells only")
        self._execution = {
            "threads": None if threads is None else whole("threads", threads, 1),
            "backend": resolve_backend(backend),
        }
        self._rng = np.random.default_rng()
        self._ones = np.ones(self.count, np.int32)
        self._first = np.arange(self.count, dtype=np.int64) * (
            self.height * self.width
        )  # cell of each world, in one row
        self._next = 0
        self._drawn: tuple[Worlds, NDArray] | None = None

    def seed(self, seed: int | None) -> None:
        """Begin the random numbers that starts are drawn with anew; what is drawn already is forgotten."""
        self._rng, self._drawn, self._next = np.random.default_rng(seed), None, 0

    def begin(self) -> None:
        """Begin all episodes."""
        self.worlds, self.goal = self.task.starts(self.count, self.height, self.width, self._rng)
        self.steps = np.zeros(self.count, np.int64)

    def begin_again(self, which: NDArray[np.bool_]) -> None:
        """Begin those episodes anew that `which` (n,) names."""
        places = np.flatnonzero(which)
        if not len(places):
            return
        markers, robot, walls = self.worlds.markers.copy(), self.worlds.robot.copy(), self.worlds.walls.copy()
        goal = self.goal.copy()
        done = 0
        while done < len(places):
            if self._drawn is None or self._next == len(self._drawn[0]):
                self._drawn, self._next = self.task.starts(_BATCH, self.height, self.width, self._rng), 0
            worlds, goals = self._drawn
            take = min(len(places) - done, len(worlds) - self._next)
            here, there = places[done : done + take], slice(self._next, self._next + take)
            markers[here], robot[here], walls[here] = worlds.markers[there], worlds.robot[there], worlds.walls[there]
            goal[here] = goals[there]
            done, self._next = done + take, self._next + take
        self.worlds, self.goal = Worlds._trusted(walls, markers, robot), goal
        self.steps[places] = 0

    def step(self, actions: ArrayLike, still: NDArray[np.bool_] | None = None) -> tuple[NDArray, NDArray]:
        """Perform an action code each, (n,), but where `still` is: float32 (n,) rewards, and bool (n,) which episodes have ended."""
        codes = np.asarray(actions)
        if codes.shape != (self.count,) or codes.dtype.kind not in "iu":
            raise InputError(f"actions of {codes.dtype} and shape {codes.shape}: give {self.count} whole numbers")
        if int(codes.min()) < 0 or int(codes.max()) >= len(Action):
            raise InputError(f"actions hold {codes.min()} to {codes.max()}; codes are 0 to {len(Action) - 1}")
        codes = codes.astype(np.uint8)
        before = self.worlds.robot
        lengths = self._ones if still is None else (~still).astype(np.int32)
        if self.on_error == "leaps":
            here = self.worlds.markers.reshape(-1).take(
                self._first + before[:, 0] * np.int64(self.width) + before[:, 1]
            )
            full = (codes == Action.PUT_MARKER) & (here >= LEAPS_MOST_MARKERS)
            if full.any():
                lengths = np.where(full, np.int32(0), lengths)
        result = run(
            CompiledPrograms.from_actions(codes[:, None], lengths),
            self.worlds,
            max_steps=1,
            on_error="crash" if self.on_error == "crash" else "ignore",
            **self._execution,  # type: ignore[arg-type]
        )
        worlds, crashed = result.worlds, result.status == Status.CRASHED
        ended = crashed
        if self.on_error == "leaps" or self.task.change is not None:
            # Axis by axis: a reduction over two columns takes longer than all of this.
            at = worlds.robot
            blocked = (codes == Action.MOVE) & (at[:, 0] == before[:, 0]) & (at[:, 1] == before[:, 1])
            if still is not None:
                blocked &= ~still
        if self.on_error == "leaps":
            robot = worlds.robot.copy()
            robot[:, 2] = (robot[:, 2] + (blocked.view(np.uint8) << 1)) & 3
            worlds = Worlds._trusted(worlds.walls, worlds.markers, robot)
        if self.task.change is not None:
            worlds, self.goal, over = self.task.change(before, blocked, worlds, self.goal)
            ended = ended | over
        self.worlds = worlds
        self.steps += 1 if still is None else ~still
        reward, done = self.task.score((worlds.markers, worlds.robot), self.goal)
        return reward, done | ended

    def observations(self) -> NDArray[np.int8]:
        """int8 (n, H, W, 16): what LEAPS's agents see of each world."""
        codes = np.minimum(self.worlds.markers, np.uint8(_SHOWN))
        np.copyto(codes, np.uint8(_SHOWN + 1), where=self.worlds.walls)
        # A cell's sixteen channels are copied as one value of sixteen bytes.
        out = np.take(_CELLS.view(np.complex128)[:, 0], codes).view(np.int8)
        out = out.reshape(self.count, self.height, self.width, CHANNELS)
        row, column, direction = self.worlds.robot.T
        cell = self._first + row * np.int64(self.width) + column
        out.reshape(-1)[cell * CHANNELS + direction] = 1
        return out
