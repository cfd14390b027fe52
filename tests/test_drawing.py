"""Worlds drawn for a terminal."""

import io

from hypothesis import given
from rich.console import Console
from strategies import worlds

from karel_fast.karel.drawing import before_and_after, describe_robot, draw
from karel_fast.karel.world import Worlds

BEFORE = Worlds.from_text(["#####\n#>.2#\n#####"])
AFTER = Worlds.from_text(["#####\n#.>3#\n#####"])


def printed(what, terminal):
    console = Console(
        file=io.StringIO(), force_terminal=terminal, color_system="standard" if terminal else None, width=80
    )
    console.print(what)
    return console.file.getvalue()


@given(worlds())
def test_plain_drawing_is_the_text(world):
    assert draw(world).plain == world.to_text()[0]
    assert printed(draw(world), terminal=False) == world.to_text()[0] + "\n"


def test_a_terminal_gets_colour():
    assert "\x1b[1;33m>" in printed(draw(BEFORE), terminal=True)
    assert "\x1b[1;36m2" in printed(draw(BEFORE), terminal=True)


def test_changed_cells_stand_out():
    reversed_cells = [span for span in draw(AFTER, compared_with=BEFORE).spans if span.style == "reverse"]
    assert [(span.start, span.end) for span in reversed_cells] == [(9, 10)]
    assert AFTER.to_text()[0][9] == "3"
    assert not [span for span in draw(AFTER, compared_with=AFTER).spans if span.style == "reverse"]


def test_before_and_after_stand_side_by_side():
    lines = [line.split() for line in printed(before_and_after(BEFORE, AFTER), terminal=False).splitlines()]
    assert lines[0] == ["before", "after"]
    assert lines[2] == ["#>.2#", "#.>3#"]
    assert len(lines) == 5


def test_worlds_too_wide_for_that_stand_one_above_the_other():
    wide = Worlds.random(1, 4, 64, seed=0)
    lines = [line.rstrip() for line in printed(before_and_after(wide, wide), terminal=False).splitlines()]
    drawn = wide.to_text()[0].split("\n")
    robot = describe_robot(wide)
    assert lines == ["before", *drawn, robot, "after", *drawn, robot]


def test_the_robot_described():
    assert describe_robot(BEFORE) == "row 1, column 1, east, 0 markers"
    markers = BEFORE.markers.copy()
    markers[0, 1, 1] = 1
    world = Worlds(walls=BEFORE.walls, markers=markers, robot=BEFORE.robot)
    assert describe_robot(world) == "row 1, column 1, east, 1 marker"
