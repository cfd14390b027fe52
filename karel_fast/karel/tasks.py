"""Tasks for agents by name. Six are those of LEAPS (Trivedi et al., NeurIPS 2021), written here; four are HPRL's (`hprl_tasks`).

Read off clvrai/leaps at commit a313aa1: starts in karel_env/generator.py, rewards in karel_env/karel.py. Two things differ: there the
number of markers that `harvester` and `four_corners` look at is that before the last action, here it is that after it; and there no
cell of theirs begins with "no markers" in what is observed.

Shapes: n worlds of H x W cells.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from karel_fast.karel.hprl_tasks import HPRL_TASKS
from karel_fast.karel.language import Direction
from karel_fast.karel.task import Score as Score
from karel_fast.karel.task import State as State
from karel_fast.karel.task import Task as Task
from karel_fast.karel.task import done, robots, room
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import InputError, nearest

# -- explore: worlds as the paper's, and no reward


def _explore_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    return Worlds.random(count, height, width, seed=int(rng.integers(2**63))), np.zeros((count, 0))


def _explore_score(state: State, goal: NDArray) -> Score:
    none = np.zeros(len(goal), np.float32)
    return none, none == 1


# -- harvester: pick up everything


def _harvester_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    walls = room(count, height, width)
    worlds = Worlds(walls=walls, markers=(~walls).astype(np.uint8), robot=robots(count, height - 2, 1, Direction.EAST))
    return worlds, np.zeros((count, 0))


def _harvester_score(state: State, goal: NDArray) -> Score:
    markers, _ = state
    most = (markers.shape[1] - 2) * (markers.shape[2] - 2)
    return done((most - markers.sum(axis=(1, 2), dtype=np.int64)) / most)


# -- four_corners: one marker in each, and nowhere else


def _four_corners_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    walls = room(count, height, width)
    robot = robots(count, height - 2, min(2, width - 2), Direction.EAST)
    return Worlds(walls=walls, markers=np.zeros(walls.shape, np.uint8), robot=robot), np.zeros((count, 0))


def _four_corners_score(state: State, goal: NDArray) -> Score:
    markers, _ = state
    right = (markers[:, [1, 1, -2, -2], [1, -2, 1, -2]] == 1).sum(axis=1)
    elsewhere = markers.sum(axis=(1, 2), dtype=np.int64) > right
    return done(np.where(elsewhere, 0.0, right / 4))


# -- random_maze: find the marker


def _random_maze_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    walls = np.ones((count, height, width), bool)
    goal = np.zeros((count, 2), np.int64)
    for maze, place in zip(walls, goal, strict=True):
        begin = (height - 2, 1)
        maze[begin] = False
        way = [begin]
        while way:
            row, column = way.pop()
            cells = [(row + 2 * down, column + 2 * right) for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1))]
            cells = [(r, c) for r, c in cells if 0 < r < height - 1 and 0 < c < width - 1 and maze[r, c]]
            # As there, a cell opens the ways to all its neighbours at once.
            for at in rng.permutation(len(cells)):
                r, c = cells[at]
                maze[r, c] = maze[(row + r) // 2, (column + c) // 2] = False
                way.append((r, c))
        free = np.argwhere(~maze)
        place[:] = free[rng.integers(len(free))]
    return _with_marker(walls, robots(count, height - 2, 1, Direction.EAST), goal)


def _with_marker(walls: NDArray, robot: NDArray, goal: NDArray) -> tuple[Worlds, NDArray]:
    markers = np.zeros(walls.shape, np.uint8)
    markers[np.arange(len(walls)), goal[:, 0], goal[:, 1]] = 1
    return Worlds(walls=walls, markers=markers, robot=robot), goal


def _random_maze_score(state: State, goal: NDArray) -> Score:
    _, robot = state
    return done((robot[:, :2] == goal[:, :2]).all(axis=1))


# -- stair_climber: up the stairs to the marker; off them it costs


def _stairs(height: int, width: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], list[tuple[int, int]]]:
    """Walls, where the robot may be, and where it or the marker may begin, from below."""
    walls, valid = room(1, height, width)[0], np.zeros((height, width), bool)
    steps = []
    for column in range(2, width):
        row = height + 1 - column  # of the lower of the two cells of wall in this column
        if row <= 0:
            break
        walls[row, column] = walls[row - 1, column] = True
        for place, begins in (((row - 1, column - 1), True), ((row - 2, column - 1), False), ((row - 2, column), True)):
            if place[0] > 0:
                valid[place] = True
                if begins and place not in steps:
                    steps.append(place)
    steps = [place for place in steps if not walls[place]]
    return walls, valid & ~walls, sorted(steps, key=lambda place: place[1])


def _stair_climber_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    walls, valid, steps = _stairs(height, width)
    if len(steps) < 2:
        raise InputError(f"worlds of {height} x {width} cells are too small for stairs: give a larger height or width")
    chosen = np.array([np.sort(rng.choice(len(steps), 2, replace=False)) for _ in range(count)]).reshape(count, 2)
    places = np.array(steps)[chosen]
    robot = np.concatenate([places[:, 0], np.full((count, 1), int(Direction.EAST))], axis=1).astype(np.uint8)
    worlds, goal = _with_marker(np.tile(walls, (count, 1, 1)), robot, places[:, 1])
    return worlds, np.concatenate([goal, np.tile(valid.reshape(-1), (count, 1))], axis=1)


def _stair_climber_score(state: State, goal: NDArray) -> Score:
    markers, robot = state
    height, width = markers.shape[1:]
    row, column = robot[:, 0].astype(np.int64), robot[:, 1].astype(np.int64)
    away = np.abs(row - goal[:, 0]) + np.abs(column - goal[:, 1])
    valid = goal[np.arange(len(goal)), 2 + row * width + column] > 0
    reward = np.where(valid, -away / (height + width), -1.0).astype(np.float32)
    return reward, reward == 0


# -- top_off: a second marker on every one in the lowest row, then to its end


def _top_off_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    walls = room(count, height, width)
    marked = np.zeros((count, width), np.uint8)
    marked[:, 1:-2] = rng.random((count, width - 3)) < TOP_OFF_SHARE
    markers = np.zeros(walls.shape, np.uint8)
    markers[:, -2] = marked
    return Worlds(walls=walls, markers=markers, robot=robots(count, height - 2, 1, Direction.EAST)), marked


TOP_OFF_SHARE = 0.25  # of the row's cells have a marker: `wall_prob` of pretrain/leaps_topoff.py


def _top_off_score(state: State, goal: NDArray) -> Score:
    markers, robot = state
    height, width = markers.shape[1:]
    right = (markers[:, -2] == 2 * goal)[:, 1:-1]
    passed = np.arange(1, width - 1) <= robot[:, 1:2]
    steps = np.cumprod(right & passed, axis=1).sum(axis=1)
    at_end = (robot[:, 0] == height - 2) & (robot[:, 1] == width - 2)
    return done((steps + (at_end & (steps == width - 2))) / (width - 1))


# -- clean_house: pick up what lies along the walls of the rooms

HOUSE = (
    "######################",
    "#..##########.#......#",
    "#..#..........#####.##",
    "##.#................##",
    "##........#.........##",
    "###.#.###.#..###.#.###",
    "#...#...#....#...#..##",
    "#...#...#....#...#...#",
    "#...#...#....#...##..#",
    "#...#...##..##...##.##",
    "#...#...##..##...#..##",
    "#...#...##..##...#..##",
    "#...#...##..##...#..##",
    "######################",
)
"""The world of `clean_house`; the robot begins at row 1, column 13."""

_ROOMS_END = 13  # markers lie left of this column
_NO_MARKER = ((1, 13), (2, 12), (3, 10), (4, 11), (5, 11), (6, 10))
HOUSE_MARKERS = 10


def _clean_house_starts(count: int, height: int, width: int, rng: np.random.Generator) -> tuple[Worlds, NDArray]:
    walls = np.array([[cell == "#" for cell in row] for row in HOUSE])
    beside = np.zeros(walls.shape, bool)
    beside[:, : _ROOMS_END - 1] |= walls[:, 1:_ROOMS_END]  # left of a wall
    beside[:, 1 : _ROOMS_END - 1] |= walls[:, : _ROOMS_END - 2]  # right of one
    beside[:-1, :_ROOMS_END] |= walls[1:, :_ROOMS_END]
    beside[1:, :_ROOMS_END] |= walls[:-1, :_ROOMS_END]
    beside &= ~walls
    for place in _NO_MARKER:
        beside[place] = False
    cells = np.flatnonzero(beside)
    goal = np.array([rng.choice(cells, HOUSE_MARKERS, replace=False) for _ in range(count)]).reshape(
        count, HOUSE_MARKERS
    )
    markers = np.zeros((count, walls.size), np.uint8)
    np.put_along_axis(markers, goal, 1, axis=1)
    markers = markers.reshape(count, *walls.shape)
    markers[:, 2, 12] = 2
    return Worlds(
        walls=np.tile(walls, (count, 1, 1)), markers=markers, robot=robots(count, 1, 13, Direction.SOUTH)
    ), goal


def _clean_house_score(state: State, goal: NDArray) -> Score:
    markers, _ = state
    left = np.take_along_axis(markers.reshape(len(markers), -1), goal, axis=1)
    return done((left == 0).mean(axis=1))


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("explore", "worlds as the paper's, no reward", 8, 8, _explore_starts, _explore_score),
        Task("harvester", "pick up the marker of every cell", 8, 8, _harvester_starts, _harvester_score),
        Task("four_corners", "put a marker into each corner", 12, 12, _four_corners_starts, _four_corners_score),
        Task("random_maze", "find the marker in a maze", 8, 8, _random_maze_starts, _random_maze_score),
        Task("stair_climber", "climb the stairs to the marker", 12, 12, _stair_climber_starts, _stair_climber_score),
        Task("top_off", "put a second marker on each in a row", 12, 12, _top_off_starts, _top_off_score),
        Task("clean_house", "pick up what lies along the walls", 14, 22, _clean_house_starts, _clean_house_score, True),
        *HPRL_TASKS,
    )
}
"""Every task by name."""


def resolve_task(task: str | Task) -> Task:
    """The task of this name. ValueError for an unknown one."""
    if isinstance(task, Task):
        return task
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; {nearest(str(task), TASKS)}")
    return TASKS[task]
