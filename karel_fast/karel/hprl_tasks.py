"""The four tasks that HPRL (Liu et al., ICML 2023) adds to those of LEAPS. In three of them the world changes.

Read off NTURobotLearningLab/HPRL at commit 43b1593: starts in karel_env/generator_option_key2door.py, the rest in
karel_env/karel_option_key2door.py. Three things differ. There a cell holds one marker, or two, at most; here nine, as in LEAPS's
tasks. `one_stroke` counts the cells that were entered before the last action, here after it. And its rewards are differences from one state
to the next, here they are of a state, as those of all tasks.

Shapes: n worlds of H x W cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from karel_fast.karel.language import Direction
from karel_fast.karel.task import Score, State, Task, done, robots, room
from karel_fast.karel.world import Worlds

# -- seeder: one marker into every cell; a second one in a cell ends it


def _seeder_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    walls = room(count, height, width)
    robot = robots(count, height - 2, 1, Direction.EAST)
    return Worlds(walls=walls, markers=np.zeros(walls.shape, np.uint8), robot=robot), np.zeros((count, 0))


def _seeder_score(state: State, goal: NDArray) -> Score:
    markers, _ = state
    cells = (markers.shape[1] - 2) * (markers.shape[2] - 2)
    reward, all_there = done((markers == 1).sum(axis=(1, 2)) / cells)
    return reward, all_there | (markers > 1).any(axis=(1, 2))


# -- door_key: the marker in the left room is a key; without it the wall opens, and the one in the right room wants a second

DOORS = ((2, 4), (3, 4))
"""Cells of the wall between the rooms that open."""

STRAY = 0.0001  # what each cell with a marker beyond two costs


def _door_key_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    walls = room(count, height, width)
    walls[:, :, 4] = True
    rows = rng.integers(1, height - 1, (3, count))
    robot = robots(count, 0, 0, Direction.EAST)
    robot[:, 0], robot[:, 1] = rows[0], rng.integers(1, 4, count)
    goal = np.stack([rows[1], rng.integers(1, 4, count), rows[2], rng.integers(5, width - 1, count)], axis=1)
    markers = np.zeros(walls.shape, np.uint8)
    each = np.arange(count)
    markers[each, goal[:, 0], goal[:, 1]] = markers[each, goal[:, 2], goal[:, 3]] = 1
    return Worlds(walls=walls, markers=markers, robot=robot), goal


def _door_key_change(
    before: NDArray[np.uint8], blocked: NDArray[np.bool_], worlds: Worlds, goal: NDArray
) -> tuple[Worlds, NDArray, NDArray[np.bool_]]:
    each = np.arange(len(worlds))
    taken = worlds.markers[each, goal[:, 0], goal[:, 1]] == 0
    walls = worlds.walls.copy()
    for row, column in DOORS:  # once open they stay so
        walls[taken, row, column] = False
    return Worlds._trusted(walls, worlds.markers, worlds.robot), goal, np.zeros(len(worlds), bool)


def _door_key_score(state: State, goal: NDArray) -> Score:
    markers, _ = state
    each = np.arange(len(goal))
    taken = markers[each, goal[:, 0], goal[:, 1]] == 0
    put = markers[each, goal[:, 2], goal[:, 3]] >= 2
    stray = np.maximum((markers > 0).sum(axis=(1, 2)) - 2, 0)
    return done(0.5 * taken + 0.5 * (taken & put) - STRAY * stray)


# -- one_stroke: be in every cell; a cell that was left becomes wall


def _one_stroke_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    walls = room(count, height, width)
    robot = robots(count, 0, 0, Direction.EAST)
    robot[:, 0], robot[:, 1] = rng.integers(1, height - 1, count), rng.integers(1, width - 1, count)
    cells = np.full((count, 1), (height - 2) * (width - 2))
    # The score sees no walls: how many of the cells were left is kept beside their number.
    goal = np.concatenate([cells, np.zeros((count, 1), cells.dtype)], axis=1)
    return Worlds(walls=walls, markers=np.zeros(walls.shape, np.uint8), robot=robot), goal


def _one_stroke_change(
    before: NDArray[np.uint8], blocked: NDArray[np.bool_], worlds: Worlds, goal: NDArray
) -> tuple[Worlds, NDArray, NDArray[np.bool_]]:
    moved = np.flatnonzero((worlds.robot[:, :2] != before[:, :2]).any(axis=1))
    walls, markers, goal = worlds.walls.copy(), worlds.markers.copy(), goal.copy()
    left = moved, before[moved, 0], before[moved, 1]
    walls[left], markers[left] = True, 0
    goal[moved, 1] += 1
    return Worlds._trusted(walls, markers, worlds.robot), goal, blocked


def _one_stroke_score(state: State, goal: NDArray) -> Score:
    return done((goal[:, 1] + 1) / goal[:, 0])


# -- snake: every marker that it comes to makes it longer; it ends on its own body, cells of two markers

FOOD = (
    (6, 6), (6, 1), (1, 1), (2, 2), (2, 5), (5, 5), (5, 2), (3, 3), (5, 3), (4, 4), (6, 4), (3, 2), (1, 4), (6, 2), (2, 6), (4, 1), (1, 3),
    (2, 1), (3, 6), (4, 3), (5, 1), (2, 4), (5, 4), (1, 5), (3, 5), (4, 6), (5, 6), (3, 1), (4, 2), (6, 5), (2, 3), (1, 2), (4, 5), (3, 4),
    (6, 3),
)  # fmt: skip
"""Where the next marker appears, one after the other and over again; a cell that is not empty is passed over."""

FIRST_FOOD = (1, 6)
SHORTEST, LONGEST = 2, 22
"""Cells of its body, the robot's own not counted."""

_LENGTH, _NEXT, _AGES = (
    0,
    1,
    2,
)  # of the goal's columns; ages of the body's cells: moves since each was left, 0 elsewhere


def _snake_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    walls = room(count, height, width)
    markers = np.zeros(walls.shape, np.uint8)
    markers[:, 1, 1:3], markers[:, *FIRST_FOOD] = 2, 1
    goal = np.zeros((count, _AGES + height * width), np.int64)
    goal[:, _LENGTH] = SHORTEST
    goal[:, _AGES + width + 1], goal[:, _AGES + width + 2] = 2, 1
    return Worlds(walls=walls, markers=markers, robot=robots(count, 1, 3, Direction.EAST)), goal


def _snake_change(
    before: NDArray[np.uint8], blocked: NDArray[np.bool_], worlds: Worlds, goal: NDArray
) -> tuple[Worlds, NDArray, NDArray[np.bool_]]:
    count, width = len(worlds), worlds.width
    moved = (worlds.robot[:, :2] != before[:, :2]).any(axis=1)
    goal, markers = goal.copy(), worlds.markers.reshape(count, -1).copy()
    ages = goal[:, _AGES:]
    here = worlds.robot[:, 0].astype(np.intp) * width + worlds.robot[:, 1]
    left = before[:, 0].astype(np.intp) * width + before[:, 1]
    each = np.arange(count)
    bitten = moved & (ages[each, here] > 0)
    goes = np.flatnonzero(moved & ~bitten)
    ages[goes] += ages[goes] > 0
    ages[goes, left[goes]], markers[goes, left[goes]] = 1, 2
    for i in goes[(markers[goes, here[goes]] == 1) & (goal[goes, _LENGTH] < LONGEST)]:
        goal[i, _LENGTH] += 1
        markers[i, here[i]] = 0
        for _ in FOOD:
            row, column = FOOD[goal[i, _NEXT]]
            goal[i, _NEXT] = (goal[i, _NEXT] + 1) % len(FOOD)
            cell = row * width + column
            if not markers[i, cell] and cell != here[i]:
                markers[i, cell] = 1
                break
    gone = ages > goal[:, _LENGTH, None]
    markers[gone], ages[gone] = 0, 0
    return Worlds._trusted(worlds.walls, markers.reshape(worlds.markers.shape), worlds.robot), goal, bitten


def _snake_score(state: State, goal: NDArray) -> Score:
    return done((goal[:, _LENGTH] - SHORTEST) / (LONGEST - SHORTEST))


HPRL_TASKS = (
    Task("seeder", "put one marker into every cell", 8, 8, _seeder_starts, _seeder_score),
    Task(
        "door_key", "take the key, put a second marker on the other", 8, 8, _door_key_starts, _door_key_score, True,
        _door_key_change,
    ),
    Task("one_stroke", "be in every cell once", 8, 8, _one_stroke_starts, _one_stroke_score, change=_one_stroke_change),
    Task("snake", "eat markers, which make it longer", 8, 8, _snake_starts, _snake_score, True, _snake_change),
)  # fmt: skip
