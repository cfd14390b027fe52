"""Agents' side: the executor step by step, LEAPS's tasks and rewards, and Gymnasium's own checks."""

from __future__ import annotations

import numpy as np
import pytest

import karel_fast as kf
from karel_fast.karel.agents import Episodes
from karel_fast.karel.tasks import HOUSE_MARKERS, TASKS
from karel_fast.support.checks import InputError

MOVE, LEFT, RIGHT, PICK, PUT = range(5)
SOLUTIONS = {
    # Those that clvrai/leaps gives beside its starts.
    "harvester": "DEF run m( WHILE c( markersPresent c) w( WHILE c( markersPresent c) w( pickMarker move w) turnRight move turnLeft "
    "WHILE c( markersPresent c) w( pickMarker move w) turnLeft move turnRight w) m)",
    "four_corners": "DEF run m( WHILE c( noMarkersPresent c) w( WHILE c( frontIsClear c) w( move w) "
    "IF c( noMarkersPresent c) i( putMarker turnLeft move i) w) m)",
    "random_maze": "DEF run m( WHILE c( noMarkersPresent c) w( IFELSE c( rightIsClear c) i( turnRight i) "
    "ELSE e( WHILE c( not c( frontIsClear c) c) w( turnLeft w) e) move w) m)",
    "top_off": "DEF run m( WHILE c( frontIsClear c) w( IF c( markersPresent c) i( putMarker i) move w) m)",
    "stair_climber": "DEF run m( WHILE c( noMarkersPresent c) w( turnLeft move turnRight move w) m)",
}


def perform(program: kf.Program, episodes: Episodes) -> tuple[float, bool]:
    """The last reward, and whether the task was ever done, when an agent follows the program from state to state."""
    last, ever = 0.0, False

    def holds(statement: kf.If | kf.IfElse | kf.While) -> bool:
        worlds = episodes.worlds
        row, column, direction = map(int, worlds.robot[0])
        if statement.condition.name.endswith("MARKERS_PRESENT"):
            found = (worlds.markers[0, row, column] > 0) == (statement.condition.name == "MARKERS_PRESENT")
        else:
            turns = {"FRONT_IS_CLEAR": 0, "RIGHT_IS_CLEAR": 1, "LEFT_IS_CLEAR": 3}[statement.condition.name]
            down, right = ((-1, 0), (0, 1), (1, 0), (0, -1))[(direction + turns) % 4]
            found = not worlds.walls[0, row + down, column + right]
        return bool(found) != statement.negated

    def follow(body: tuple) -> None:
        nonlocal last, ever
        for statement in body:
            if isinstance(statement, kf.Action):
                reward, done = episodes.step([int(statement)])
                last, ever = float(reward[0]), ever or bool(done[0])
            elif isinstance(statement, kf.While):
                while holds(statement) and episodes.steps[0] < 2000:
                    follow(statement.body)
            elif isinstance(statement, kf.IfElse):
                follow(statement.body if holds(statement) else statement.orelse)
            elif holds(statement):
                follow(statement.body)

    follow(program.body)
    return last, ever


@pytest.mark.parametrize("task", SOLUTIONS)
def test_leaps_own_solutions_solve_its_tasks(task: str) -> None:
    for seed in range(4):
        episodes = Episodes(1, task)
        episodes.seed(seed)
        episodes.begin()
        if TASKS[task].score((episodes.worlds.markers, episodes.worlds.robot), episodes.goal)[1].all():
            continue  # a maze whose marker lies where the robot begins
        last, done = perform(kf.parse(SOLUTIONS[task]), episodes)
        assert done, seed
        assert last == (0 if task == "stair_climber" else 1)


def steps(episodes: Episodes, actions: tuple[int, ...]) -> tuple[list[float], list[bool]]:
    rewards, ended = zip(*(episodes.step([action]) for action in actions), strict=True)
    return [round(float(reward[0]), 4) for reward in rewards], [bool(over[0]) for over in ended]


def test_seeder_counts_cells_with_one_marker() -> None:
    episodes = Episodes(1, "seeder", height=3, width=5)
    episodes.begin()
    rewards, ended = steps(episodes, (PUT, MOVE, PUT, PICK, PUT, MOVE, PUT))
    assert rewards == [0.3333, 0.3333, 0.6667, 0.3333, 0.6667, 0.6667, 1]
    assert ended == [False] * 6 + [True]
    episodes.begin()
    assert steps(episodes, (PUT, PUT)) == ([0.3333, 0], [False, True])


def test_the_key_opens_the_door() -> None:
    """The robot beside the key in the third row, the target behind the wall; every cell by hand."""
    episodes = Episodes(1, "door_key")
    episodes.begin()
    walls = ["########"] + ["#...#..#"] * 6 + ["########"]
    markers = np.zeros((1, 8, 8), np.uint8)
    markers[0, 3, 2] = markers[0, 3, 6] = 1
    robot = np.array([[3, 1, 1]], np.uint8)
    array = np.array([[[cell == "#" for cell in row] for row in walls]])
    assert (episodes.worlds.walls == array).all()
    episodes.worlds = kf.Worlds(walls=array, markers=markers, robot=robot)
    episodes.goal[:] = 3, 2, 3, 6
    assert steps(episodes, (MOVE, PUT, PICK, MOVE)) == ([0] * 4, [False] * 4)
    assert episodes.worlds.walls[0, 2:4, 4].all()
    assert steps(episodes, (LEFT, LEFT, MOVE, PICK, PUT, PICK, LEFT, LEFT))[0] == [0, 0, 0, 0.5, 0, 0.5, 0.5, 0.5]
    assert not episodes.worlds.walls[0, 2:4, 4].any()  # it stays open when the marker lies there again
    assert episodes.worlds.walls[0].sum() == array.sum() - 2
    rewards, ended = steps(episodes, (MOVE, PUT, MOVE, PUT, PICK, MOVE, MOVE, PUT))
    assert rewards == [0.5, 0.5, 0.5, 0.4999, 0.5, 0.5, 0.5, 1]  # of three cells with markers one is too many
    assert ended == [False] * 7 + [True]


def test_one_stroke_leaves_walls_behind() -> None:
    episodes = Episodes(1, "one_stroke", height=4, width=4)
    episodes.begin()
    episodes.worlds = kf.Worlds.from_text("####\n#>.#\n#..#\n####")
    assert steps(episodes, (PUT, RIGHT, LEFT, MOVE, RIGHT, MOVE)) == (
        [0.25, 0.25, 0.25, 0.5, 0.5, 0.75], [False] * 6,
    )  # fmt: skip
    assert episodes.worlds.to_text() == ["####\n####\n#.v#\n####"]
    assert steps(episodes, (RIGHT, MOVE)) == ([0.75, 1], [False, True])
    episodes.begin()
    episodes.worlds = kf.Worlds.from_text("####\n#>.#\n#..#\n####")
    assert steps(episodes, (MOVE, LEFT, MOVE)) == ([0.5, 0.5, 0.5], [False, False, True])


def test_the_snake_grows_and_ends_on_itself() -> None:
    episodes = Episodes(1, "snake")
    episodes.begin()
    top = episodes.worlds.to_text()[0].split("\n")[1]
    assert top == "#22>..1#"
    assert steps(episodes, (MOVE, MOVE)) == ([0, 0], [False, False])
    assert episodes.worlds.to_text()[0].split("\n")[1] == "#..22>1#"
    assert steps(episodes, (MOVE,)) == ([0.05], [False])  # it is longer now, and the next marker lies in the corner
    text = episodes.worlds.to_text()[0].split("\n")
    assert (text[1], text[6]) == ("#..222>#", "#.....1#")
    assert steps(episodes, (RIGHT, MOVE, MOVE, MOVE, MOVE, MOVE)) == ([0.05] * 5 + [0.1], [False] * 6)
    assert [row[6] for row in episodes.worlds.to_text()[0].split("\n")] == list("#.2222v#")
    assert episodes.worlds.markers[0, 6, 1] == 1
    # Back onto its own body: a blocked robot has turned around.
    assert steps(episodes, (MOVE, MOVE)) == ([0.1, 0.1], [False, True])


def test_rewards_on_the_way() -> None:
    corners = Episodes(1, "four_corners", height=5, width=6)
    corners.begin()
    # It begins in the lowest row's second cell, looking east.
    got = [float(corners.step([a])[0][0]) for a in (MOVE, MOVE, PUT, LEFT, MOVE, PUT, PICK, MOVE, PUT)]
    assert got == [0, 0, 0.25, 0.25, 0.25, 0, 0.25, 0.25, 0.5]
    harvester = Episodes(1, "harvester", height=4, width=5)
    harvester.begin()
    assert [round(float(harvester.step([a])[0][0]), 4) for a in (PICK, PICK, MOVE, PICK, PUT)] == [
        0.1667, 0.1667, 0.1667, 0.3333, 0.1667,
    ]  # fmt: skip
    stairs = Episodes(30, "stair_climber")
    stairs.seed(0)
    stairs.begin()
    reward, _ = stairs.step(np.full(30, LEFT))
    away = np.abs(stairs.worlds.robot[:, :2].astype(int) - stairs.goal[:, :2]).sum(axis=1)
    np.testing.assert_allclose(reward, -away / 24, rtol=1e-6)
    reward, _ = stairs.step(np.full(30, MOVE))  # straight up: off the stairs after two
    reward, _ = stairs.step(np.full(30, MOVE))
    assert (reward == -1).any()
    top = Episodes(1, "top_off", height=4, width=6)
    top.begin()
    top.goal[:] = 0
    top.worlds = kf.Worlds(walls=top.worlds.walls, markers=top.worlds.markers * 0, robot=top.worlds.robot)
    got = [top.step([MOVE]) for _ in range(3)]
    np.testing.assert_allclose([r[0] for r, _ in got], [2 / 5, 3 / 5, 1])
    assert [bool(d[0]) for _, d in got] == [False, False, True]


def test_the_house() -> None:
    house = Episodes(10, "clean_house")
    house.seed(1)
    house.begin()
    markers = house.worlds.markers.reshape(10, -1)
    assert (np.take_along_axis(markers, house.goal, 1) == 1).all()
    assert (markers.sum(axis=1) == HOUSE_MARKERS + 2).all()
    assert not house.worlds.walls.reshape(10, -1)[np.arange(10)[:, None], house.goal].any()
    walls = np.pad(house.worlds.walls[0], 1)
    for row, column in {divmod(int(place), 22) for place in house.goal.ravel()}:
        around = walls[[row, row + 2, row + 1, row + 1], [column + 1, column + 1, column, column + 2]]
        assert around.any()
        assert column < 13
    with pytest.raises(InputError, match="14 x 22 cells only"):
        Episodes(1, "clean_house", height=8)


@pytest.mark.parametrize("task", TASKS)
def test_starts_are_worlds_and_follow_from_the_seed(task: str) -> None:
    one, other = Episodes(5, task), Episodes(5, task)
    for episodes in (one, other):
        episodes.seed(7)
        episodes.begin()
        episodes.begin_again(np.array([0, 1, 0, 1, 0], bool))
    assert one.worlds == other.worlds
    checked = kf.Worlds(walls=one.worlds.walls, markers=one.worlds.markers, robot=one.worlds.robot)
    assert checked == one.worlds
    reward, _ = TASKS[task].score((one.worlds.markers, one.worlds.robot), one.goal)
    assert (reward < 1).any() or task == "random_maze"


@pytest.mark.parametrize("task", ["stair_climber", "harvester", "four_corners", "random_maze"])
def test_a_crash_ends_an_episode_with_the_reward_of_its_state(task: str) -> None:
    episodes = Episodes(40, task, on_error="crash")
    episodes.seed(3)
    episodes.begin()
    if task == "harvester":
        episodes.step(np.full(40, PICK))  # there is one in every cell
    worth, _ = TASKS[task].score((episodes.worlds.markers, episodes.worlds.robot), episodes.goal)
    no_marker = episodes.worlds.markers[np.arange(40), *episodes.worlds.robot[:, :2].T.astype(int)] == 0
    reward, done = episodes.step(np.full(40, PICK))
    assert no_marker.any()
    assert done[no_marker].all()
    np.testing.assert_array_equal(reward[no_marker], worth[no_marker])


def test_cells_of_a_maze_open_to_all_their_neighbours() -> None:
    episodes = Episodes(300, "random_maze", height=8, width=8)
    episodes.seed(0)
    episodes.begin()
    walls = episodes.worlds.walls
    # The first cell, lower left, has two neighbours, and both ways are open in every maze.
    assert not walls[:, 5, 1].any()
    assert not walls[:, 6, 2].any()
    assert len(np.unique(walls, axis=0)) == 6


def test_what_a_robot_does_that_can_not() -> None:
    blocked = kf.Worlds.from_text("####\n#^.#\n####")
    for on_error, direction, ended in (("leaps", 2, False), ("ignore", 0, False), ("crash", 0, True)):
        episodes = Episodes(1, "explore", height=3, width=4, on_error=on_error)
        episodes.begin()
        episodes.worlds = blocked
        _, done = episodes.step([MOVE])
        assert (int(episodes.worlds.robot[0, 2]), bool(done[0])) == (direction, ended)
        episodes.worlds = blocked
        assert bool(episodes.step([PICK])[1][0]) == ended
    full = Episodes(1, "explore", height=3, width=4)
    full.begin()
    full.worlds = blocked
    for _ in range(12):
        full.step([PUT])
    assert full.worlds.markers.max() == 9
    assert full.steps[0] == 12  # what does nothing is a step all the same, or an episode need never end


def test_observations_are_those_of_leaps() -> None:
    episodes = Episodes(2, "explore", height=4, width=5)
    episodes.begin()
    worlds = kf.Worlds.from_text(
        ["#####\n#>2.#\n#..#\n#####".replace("#..#\n", "#...#\n"), "#####\n#...#\n#9v.#\n#####"]
    )
    markers = worlds.markers.copy()
    markers[1, 2, 1], markers[0, 1, 1] = 200, 1
    episodes.worlds = worlds = kf.Worlds(walls=worlds.walls, markers=markers, robot=worlds.robot)
    seen = episodes.observations()
    assert seen.shape == (2, 4, 5, 16)
    assert set(np.unique(seen)) == {0, 1}
    np.testing.assert_array_equal(seen[..., 4], worlds.walls)
    assert (seen[..., 5:].sum(axis=3) == 1).all()  # one number of markers in every cell
    assert np.argwhere(seen[..., :4]).tolist() == [[0, 1, 1, 1], [1, 2, 2, 2]]
    assert seen[0, 1, 1, 6] == seen[0, 1, 2, 7] == seen[1, 2, 1, 15] == 1  # ten stands for more


@pytest.mark.parametrize("task", TASKS)
def test_gymnasiums_checker(task: str) -> None:
    pytest.importorskip("gymnasium")
    from gymnasium.utils.env_checker import check_env

    check_env(kf.KarelEnv(task), skip_render_check=True)
    for mode in ("rgb_array", "ansi"):
        env = kf.KarelEnv(task, render_mode=mode)
        env.reset(seed=1)
        drawn = env.render()
        height, width = env.world.height, env.world.width
        assert drawn == env.world.to_text()[0] if mode == "ansi" else drawn.shape == (16 * height, 16 * width, 3)


def test_many_at_once_are_many_alone() -> None:
    pytest.importorskip("gymnasium")
    many = kf.KarelVectorEnv(6, "four_corners", height=5, width=5, max_steps=7, render_mode="ansi")
    seen, _ = many.reset(seed=5)
    assert many.observation_space.contains(seen)
    alone = Episodes(6, "four_corners", height=5, width=5)
    alone.begin()
    rng = np.random.default_rng(0)
    age = np.zeros(6, int)
    for t in range(40):
        actions = rng.integers(0, 5, 6)
        before = many.worlds
        seen, reward, done, cut, _ = many.step(actions)
        if t % 8 == 7:  # every episode was cut off after seven; this step began it anew
            assert (many._episodes.steps == 0).all()
            assert not (done | cut).any()
            assert not reward.any()
            age[:] = 0
            continue
        age += 1
        alone.worlds = before
        wanted, ended = alone.step(actions)
        np.testing.assert_array_equal(reward, wanted)
        np.testing.assert_array_equal(done, ended)
        np.testing.assert_array_equal(cut, age >= 7)
        assert many.worlds == alone.worlds
        np.testing.assert_array_equal(seen, many._episodes.observations())
    assert len(many.render()) == 6
    bare = kf.KarelVectorEnv(6, observations=False)
    assert bare.reset(seed=1)[0].shape == (6, 0)
    assert bare.step(np.zeros(6, int))[0].shape == (6, 0)
    assert bare.reset(seed=1)[0].shape == (6, 0)
    with pytest.raises(InputError, match="one number for all"):
        bare.reset(seed=[1, 2])
    for actions, says in (
        ([0] * 5, "give 6 whole numbers"),
        ([5] * 6, "codes are 0 to 4"),
        ([0.5] * 6, "whole numbers"),
    ):
        with pytest.raises(InputError, match=says):
            bare.step(actions)


def test_wrong_arguments() -> None:
    for arguments, says in (
        ({"task": "harvest"}, "did you mean 'harvester'"),
        ({"on_error": "stop"}, "on_error is 'stop'"),
        ({"height": 2}, "height is 2"),
        ({"count": 0}, "count is 0"),
    ):
        with pytest.raises(ValueError, match=says):
            Episodes(**{"count": 1, **arguments})


def test_an_episode_of_steps_without_effect_is_cut_off() -> None:
    """Alone or in company, and whatever the others do: after max_steps."""
    env = kf.KarelEnv("explore", max_steps=20)
    env.reset(seed=1)
    assert [env.step(PUT)[3] for _ in range(20)] == [False] * 19 + [True]
    envs = kf.KarelVectorEnv(2, "explore", max_steps=12)
    envs.reset(seed=1)
    cut = [envs.step(np.array([PUT, LEFT]))[3].tolist() for _ in range(12)]
    assert cut == [[False, False]] * 11 + [[True, True]]


@pytest.mark.parametrize("action", [1.9, "1", True, np.array(1.7), 5, -1, None])
def test_an_action_is_a_whole_number(action) -> None:
    env = kf.KarelEnv()
    env.reset(seed=0)
    with pytest.raises((TypeError, ValueError), match=r"action is .*; give a whole number from 0 to 4"):
        env.step(action)
    for right in (1, np.int32(1), np.array(1)):
        env.step(right)


def test_what_is_wrong_with_an_environment_is_said_when_it_is_made_or_used_first() -> None:
    for env in (kf.KarelEnv(render_mode="ansi"), kf.KarelVectorEnv(2, render_mode="ansi")):
        for use in (lambda env=env: env.step(1), env.render):
            with pytest.raises(InputError, match=r"not reset; call reset\(\) first"):
                use()
    with pytest.raises(ValueError, match="foo"):
        kf.KarelEnv(backend="foo")
    with pytest.raises(ValueError, match="threads is 0"):
        kf.KarelVectorEnv(2, threads=0)
    for height, width in ((3, 3), (3, 12), (12, 3)):
        env = kf.KarelEnv("stair_climber", height=height, width=width)
        with pytest.raises(InputError, match=f"worlds of {height} x {width} cells are too small for stairs"):
            env.reset()
