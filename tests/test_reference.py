"""The reference backend, which specifies what running means: its rules one by one, on cases to check by eye."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import programs, semantics, worlds

from karel_fast.karel.backends.reference import run_batch, trace_batch
from karel_fast.karel.language import Action, compile, resolve_semantics
from karel_fast.karel.status import DECISIONS_PER_STEP, Status
from karel_fast.karel.world import Worlds

HALL = "#######\n#>....#\n#######"
OK, CRASHED, STEP_LIMIT, MARKER_LIMIT = (Status[name] for name in ("OK", "CRASHED", "STEP_LIMIT", "MARKER_LIMIT"))


class Run:
    """One program run in one world: how it ended and what the world looked like then."""

    def __init__(self, statements, world=HALL, *, semantics="original", max_steps=1000, crash=False):
        world = Worlds.from_text([world]) if isinstance(world, str) else world
        arguments = compile(f"def run() {{ {statements} }}"), world, resolve_semantics(semantics).table
        markers, robot, steps, status = run_batch(*arguments, max_steps, crash, 1)
        self.world = Worlds(walls=world.walls, markers=markers, robot=robot)
        self.text = self.world.to_text()[0].split("\n")
        self.row, self.column, self.direction = robot[0].tolist()
        self.here = int(markers[0, self.row, self.column])
        self.steps, self.status = int(steps[0]), Status(status[0])


def with_markers(text, count):
    """The world of the text with this many markers under its robot."""
    world = Worlds.from_text([text])
    markers = world.markers.copy()
    row, column = world.robot[0, :2]
    markers[0, row, column] = count
    return Worlds(walls=world.walls, markers=markers, robot=world.robot)


# Actions


@pytest.mark.parametrize(("sign", "row", "column"), [("^", 1, 2), (">", 2, 3), ("v", 3, 2), ("<", 2, 1)])
def test_move_goes_one_cell_ahead(sign, row, column):
    run = Run("move()", f"#####\n#...#\n#.{sign}.#\n#...#\n#####")
    assert (run.row, run.column, run.steps, run.status) == (row, column, 1, OK)
    assert run.direction == "^>v<".index(sign)


def test_turns_go_round():
    for direction, sign in enumerate("^>v<"):
        world = f"###\n#{sign}#\n###"
        assert Run("turn_left()", world).direction == (direction - 1) % 4
        assert Run("turn_right()", world).direction == (direction + 1) % 4


def test_a_blocked_move_does_nothing_and_is_a_step():
    run = Run("move(); turn_left(); move(); put_marker()", "####\n#.>#\n####")
    assert (run.row, run.column, run.direction) == (1, 2, 0)
    assert (run.here, run.steps, run.status) == (1, 4, OK)


def test_a_blocked_move_crashes_under_crash():
    run = Run("put_marker(); turn_right(); move(); put_marker()", crash=True)
    assert (run.here, run.steps, run.status) == (1, 2, CRASHED)
    assert run.text[1] == "#v....#"
    assert Run("move(); move()", crash=True).status == OK


def test_put_and_pick():
    run = Run("put_marker(); put_marker(); move(); put_marker(); pick_marker(); move()")
    assert run.text[1] == "#2.>..#"
    assert (run.steps, run.status) == (6, OK)


def test_pick_on_an_empty_cell():
    ignored = Run("pick_marker(); move()")
    assert (ignored.text[1], ignored.steps, ignored.status) == ("#.>...#", 2, OK)
    crashed = Run("move(); pick_marker(); move()", crash=True)
    assert (crashed.text[1], crashed.steps, crashed.status) == ("#.>...#", 1, CRASHED)


@pytest.mark.parametrize("crash", [False, True])
def test_put_onto_255_stops_the_run_in_both_modes(crash):
    run = Run("put_marker(); put_marker(); move()", with_markers(HALL, 254), crash=crash)
    assert (run.here, run.column, run.steps, run.status) == (255, 1, 1, MARKER_LIMIT)
    again = Run("pick_marker(); put_marker(); move()", with_markers(HALL, 255), crash=crash)
    assert (again.world.markers[0, 1, 1], again.steps, again.status) == (255, 3, OK)


def test_the_given_worlds_do_not_change():
    world = with_markers(HALL, 3)
    Run("pick_marker(); move()", world)
    assert world == with_markers(HALL, 3)


# Conditions


@pytest.mark.parametrize(
    ("world", "condition", "truth"),
    [
        (HALL, "front_is_clear", True),
        (HALL, "left_is_clear", False),
        (HALL, "right_is_clear", False),
        ("####\n#.>#\n####", "front_is_clear", False),
        ("####\n#..#\n#.>#\n####", "left_is_clear", True),
        ("####\n#..#\n#.>#\n####", "right_is_clear", False),
        ("####\n#.^#\n#..#\n####", "left_is_clear", True),
        ("####\n#.^#\n#..#\n####", "right_is_clear", False),
        ("####\n#<.#\n#..#\n####", "left_is_clear", True),
        ("####\n#<.#\n#..#\n####", "right_is_clear", False),
        ("####\n#.v#\n#..#\n####", "right_is_clear", True),
        ("####\n#.v#\n#..#\n####", "left_is_clear", False),
        (with_markers(HALL, 0), "markers_present", False),
        (with_markers(HALL, 1), "markers_present", True),
        (with_markers(HALL, 255), "markers_present", True),
        (with_markers(HALL, 0), "no_markers_present", True),
        (with_markers(HALL, 2), "no_markers_present", False),
    ],
)
def test_conditions(world, condition, truth):
    # Turning left says yes, turning right says no; neither needs room.
    start = Run("", world).direction
    for test, holds in ((f"{condition}()", truth), (f"not ({condition}())", not truth)):
        run = Run(f"ifelse ({test}) {{ turn_left() }} else {{ turn_right() }}", world)
        assert run.direction == (start + (-1 if holds else 1)) % 4
        assert Run(f"if ({test}) {{ turn_left() }}", world).steps == int(holds)


# Control flow


def test_while():
    run = Run("while (front_is_clear()) { put_marker(); move() }; turn_left()")
    assert run.text[1] == "#1111^#"
    assert (run.steps, run.status) == (9, OK)


def test_if_runs_its_body_once_and_goes_on():
    assert Run("if (front_is_clear()) { move() }; put_marker(); move()").text[1] == "#.1>..#"


@pytest.mark.parametrize("count", [0, 1, 5])
def test_repeat(count):
    run = Run(f"repeat ({count}) {{ put_marker() }}; turn_left()")
    assert (run.here, run.steps) == (count, count + 1)


def test_nested_repeats():
    assert Run("repeat (3) { repeat (4) { put_marker() }; repeat (0) { move() }; pick_marker() }").here == 9
    assert Run("repeat (2) { while (front_is_clear()) { move() }; turn_left(); turn_left() }").text[1] == "#>....#"


def test_an_empty_program():
    run = Run("")
    assert (run.text, run.steps, run.status) == (HALL.split("\n"), 0, OK)


def test_a_deep_program():
    deep = "if (front_is_clear()) { " * 10_000 + "move()" + " }" * 10_000
    assert Run(deep).text[1] == "#.>...#"


# Limits


def test_the_step_limit_at_its_boundary():
    exactly = Run("move(); move(); move()", max_steps=3)
    assert (exactly.column, exactly.steps, exactly.status) == (4, 3, OK)
    over = Run("move(); move(); move(); move()", max_steps=3)
    assert (over.column, over.steps, over.status) == (4, 3, STEP_LIMIT)
    assert Run("repeat (3) { move() }", max_steps=3).status == OK
    assert Run("repeat (4) { move() }", max_steps=3).status == STEP_LIMIT
    # A decision that leads to no action may still follow the last step.
    assert Run("move(); if (markers_present()) { move() }", max_steps=1).status == OK


def test_the_step_limit_comes_before_what_the_action_would_do():
    assert Run("turn_left(); move()", max_steps=1, crash=True).status == STEP_LIMIT
    assert Run("turn_left(); put_marker()", with_markers(HALL, 255), max_steps=1).status == STEP_LIMIT


@pytest.mark.parametrize("max_steps", [1, 7])
def test_a_while_that_never_acts_ends(max_steps):
    run = Run("move(); while (no_markers_present()) { }", max_steps=max_steps)
    assert (run.column, run.steps, run.status) == (2, 1, STEP_LIMIT)


def test_a_while_that_always_acts_ends():
    run = Run("while (no_markers_present()) { turn_left() }", max_steps=50)
    assert (run.steps, run.status) == (50, STEP_LIMIT)


def test_the_decision_limit_at_its_boundary():
    # repeat (n) makes n + 1 decisions, and one step allows 16.
    assert DECISIONS_PER_STEP == 16
    assert Run("repeat (15) { }", max_steps=1).status == OK
    assert Run("repeat (16) { }", max_steps=1).status == STEP_LIMIT
    assert Run("repeat (31) { }", max_steps=2).status == OK
    assert Run("repeat (32) { }", max_steps=2).status == STEP_LIMIT
    ifs = "if (markers_present()) { }"
    assert Run("; ".join([ifs] * 16), max_steps=1).status == OK
    assert Run("; ".join([ifs] * 17), max_steps=1).status == STEP_LIMIT
    elses = "ifelse (markers_present()) { } else { }"
    assert Run("; ".join([elses] * 8 + [ifs] * 8 + ["move()"]), max_steps=1).status == OK
    # A while makes one decision each time round and one to leave: 4 + 1 here, then 10 + 1.
    assert Run("while (front_is_clear()) { move() }; repeat (58) { }", max_steps=4).status == OK
    assert Run("while (front_is_clear()) { move() }; repeat (59) { }", max_steps=4).status == STEP_LIMIT


def test_an_endless_while_inside_a_repeat():
    run = Run("repeat (16777215) { repeat (16777215) { } }", max_steps=3)
    assert (run.steps, run.status) == (0, STEP_LIMIT)


# Semantics


def test_semantics_changes_what_is_performed_but_not_what_is_asked():
    assert Run("turn_left()", semantics="flip").direction == 2
    run = Run("turn_right(); pick_marker(); put_marker(); move(); turn_left()", semantics="adversarial")
    # move, turn_right, turn_left, turn_left, turn_right
    assert (run.text[1], run.here, run.steps) == ("#.>...#", 0, 5)
    # The condition still reads the world: the hall is five cells long, and `turn_right` is what walks it.
    assert Run("while (front_is_clear()) { turn_right() }", semantics="adversarial").text[1] == "#....>#"


def test_a_crash_is_of_the_action_performed():
    blocked = "####\n#.>#\n####"
    assert Run("move()", blocked, semantics="adversarial", crash=True).status == OK
    assert Run("turn_right()", blocked, semantics="adversarial", crash=True).status == CRASHED
    assert Run("move()", with_markers(HALL, 255), semantics={"move": "put_marker"}).status == MARKER_LIMIT


# Batches


def test_worlds_are_example_minor():
    batch = Worlds.from_text([HALL, HALL.replace(">.", ".>"), HALL, HALL.replace(">.", ".>")])
    compiled = compile(["def run() { move() }", "def run() { turn_left() }"])
    _, robot, steps, status = run_batch(compiled, batch, resolve_semantics("original").table, 10, False, 1)
    assert robot.tolist() == [[1, 2, 1], [1, 3, 1], [1, 1, 0], [1, 2, 0]]
    assert steps.tolist() == [1, 1, 1, 1]
    assert status.tolist() == [0, 0, 0, 0]


def test_no_worlds():
    empty = Worlds.random(0, seed=0)
    table = resolve_semantics("original").table
    markers, robot, steps, status = run_batch(compile("def run() { move() }"), empty, table, 10, False, 1)
    assert (markers.shape, robot.shape, steps.shape, status.shape) == ((0, 8, 8), (0, 3), (0,), (0,))
    shapes = [array.shape for array in trace_batch(compile("def run() { move() }"), empty, table, 10, False, 1)]
    assert shapes == [(0, 0), (0, 1, 3), (0, 1), (0, 1), (0, 1), (0, 1), (0,), (0,)]


def test_trace_by_hand():
    batch = Worlds.from_text(["#####\n#...#\n#>..#\n#####", "#####\n#.#.#\n#.>.#\n#####"])
    compiled = compile("def run() { put_marker(); move(); turn_left(); move() }")
    table = resolve_semantics("original").table
    actions, robot, markers, front, left, right, steps, status = trace_batch(compiled, batch, table, 10, True, 1)
    assert actions.tolist() == [[4, 0, 1, 0], [4, 0, 1, 0]]
    assert robot[0].tolist() == [[2, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 0], [1, 2, 0]]
    assert robot[1].tolist() == [[2, 2, 1], [2, 2, 1], [2, 3, 1], [2, 3, 0], [1, 3, 0]]
    assert markers.tolist() == [[0, 1, 0, 0, 0], [0, 1, 0, 0, 0]]
    assert front.astype(int).tolist() == [[1, 1, 1, 1, 0], [1, 1, 0, 1, 0]]
    assert left.astype(int).tolist() == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 0]]
    assert right.astype(int).tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]]
    assert (steps.tolist(), status.tolist()) == ([4, 4], [0, 0])
    dtypes = [array.dtype.name for array in (actions, robot, markers, front, left, right, steps, status)]
    assert dtypes == ["int8", "uint8", "uint8", "bool", "bool", "bool", "int32", "uint8"]


def test_trace_past_the_end_repeats_the_last_state():
    batch = Worlds.from_text(["####\n#.>#\n####", "####\n#>.#\n####"])
    compiled = compile("def run() { put_marker(); move(); move() }")
    arguments = compiled, batch, resolve_semantics("original").table, 10, True, 1
    actions, robot, markers, front, *_, steps, status = trace_batch(*arguments)
    assert actions.tolist() == [[4, -1], [4, 0]]
    assert robot.tolist() == [[[1, 2, 1]] * 3, [[1, 1, 1], [1, 1, 1], [1, 2, 1]]]
    assert markers.tolist() == [[0, 1, 1], [0, 1, 0]]
    assert front.tolist() == [[False] * 3, [True, True, False]]
    assert (steps.tolist(), status.tolist()) == ([1, 2], [CRASHED, CRASHED])


def test_trace_holds_the_performed_actions():
    table = resolve_semantics("adversarial").table
    actions, *_ = trace_batch(
        compile("def run() { turn_right(); move() }"), Worlds.from_text([HALL]), table, 10, False, 1
    )
    assert actions.tolist() == [[Action.MOVE, Action.TURN_LEFT]]


@settings(max_examples=60)
@given(st.lists(programs, min_size=1, max_size=3), st.data(), semantics, st.integers(1, 30), st.booleans())
def test_run_is_the_end_of_trace_and_a_batch_is_its_parts(batch, data, table, max_steps, crash):
    table = table.table
    inputs = data.draw(worlds(count=2 * len(batch)))
    run = run_batch(compile(batch), inputs, table, max_steps, crash, 1)
    actions, robot, markers_here, front, _, _, steps, status = trace_batch(
        compile(batch), inputs, table, max_steps, crash, 1
    )
    markers, last_robot, run_steps, run_status = run
    assert np.array_equal(robot[:, -1], last_robot)
    assert np.array_equal(steps, run_steps)
    assert np.array_equal(status, run_status)
    assert np.array_equal((actions >= 0).sum(axis=1), steps)
    assert np.array_equal(markers_here[:, -1], markers[np.arange(len(inputs)), last_robot[:, 0], last_robot[:, 1]])
    assert (steps <= max_steps).all()
    assert crash or not (status == CRASHED).any()
    moved = (robot[:, 1:, :2] != robot[:, :-1, :2]).any(axis=2)
    assert np.array_equal(moved, (actions == Action.MOVE) & front[:, :-1])
    for k, program in enumerate(batch):
        part = run_batch(compile(program), inputs[2 * k : 2 * k + 2], table, max_steps, crash, 1)
        for whole, own in zip(run, part, strict=True):
            assert np.array_equal(whole[2 * k : 2 * k + 2], own)
