"""What a task for agents is: where the robot begins, what a state is worth, and what happens to the world.

Shapes: n worlds of H x W cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from karel_fast.karel.language import Direction
from karel_fast.karel.world import Worlds

State = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""markers (n, H, W) and robot (n, 3) of a batch, as `Worlds` has them."""

Score = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""reward and whether the task is done, (n,) each."""

Change = Callable[[NDArray[np.uint8], NDArray[np.bool_], Worlds, NDArray], tuple[Worlds, NDArray, NDArray[np.bool_]]]
"""(robots before the last action (n, 3), whether it was a move that a wall blocked (n,), worlds, goal) -> worlds, goal, and which episodes
it ends (n,).
"""


@dataclass(frozen=True, slots=True)
class Task:
    """Where episodes begin, and what their states are worth.

    height, width: of its worlds, unless others are asked for; fixed: whether no others can be. starts(count, height, width, rng)
    draws worlds and, (count, ..) of any numbers, what the score looks at besides. score(state, goal): the reward of each state, and where
    all is done. change: what a task does to its worlds after an action, where it does anything.
    """

    name: str
    description: str
    height: int
    width: int
    starts: Callable[[int, int, int, np.random.Generator], tuple[Worlds, NDArray]]
    score: Callable[[State, NDArray], Score]
    fixed: bool = False
    change: Change | None = None


def robots(count: int, row: int, column: int, direction: Direction) -> NDArray[np.uint8]:
    return np.tile(np.array([row, column, direction], np.uint8), (count, 1))


def room(count: int, height: int, width: int) -> NDArray[np.bool_]:
    walls = np.ones((count, height, width), bool)
    walls[:, 1:-1, 1:-1] = False
    return walls


def done(reward: NDArray) -> Score:
    values = reward.astype(np.float32)
    return values, values == 1
