"""Programs as values: comparing, copying and the trees that are none; and the meanings that actions can have."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from language_names import EVERYTHING, FRONT, MOVE
from strategies import programs, semantics, straight_line_programs

from karel_fast.karel.language import (
    MAX_REPEAT,
    NAMED_SEMANTICS,
    Action,
    Condition,
    If,
    IfElse,
    Program,
    Repeat,
    Semantics,
    While,
    parse,
    resolve_semantics,
)

# The tree


@given(programs, programs)
def test_equality_and_hash_follow_structure(one, other):
    assert (one == other) == (str(one) == str(other))
    twin = parse(str(one))
    assert hash(twin) == hash(one)
    for a, b in zip(one.body, twin.body, strict=True):
        assert a == b
        assert hash(a) == hash(b)


@given(programs)
def test_copies_are_equal(program):
    for again in (pickle.loads(pickle.dumps(program)), copy.copy(program), copy.deepcopy(program)):
        assert again == program
    for statement in program.body:
        assert pickle.loads(pickle.dumps(statement)) == statement


def test_blocks_of_different_kinds_differ():
    blocks = [
        If(FRONT, False, (MOVE,)),
        If(FRONT, True, (MOVE,)),
        If(Condition.LEFT_IS_CLEAR, False, (MOVE,)),
        While(FRONT, False, (MOVE,)),
        IfElse(FRONT, False, (MOVE,), ()),
        IfElse(FRONT, False, (), (MOVE,)),
        Repeat(0, (MOVE,)),
        Repeat(1, (MOVE,)),
        If(FRONT, False, (If(FRONT, False, ()), MOVE)),
        If(FRONT, False, (If(FRONT, False, (MOVE,)),)),
    ]
    assert len(set(blocks)) == len(blocks)
    assert blocks[0] != "if"


def test_the_hash_is_the_same_in_every_process():
    code = "from karel_fast.karel.language import parse; print(hash(parse('def run() { move(); repeat (2) { turn_left() } }')))"
    printed = {subprocess.check_output([sys.executable, "-c", code]) for _ in range(2)}
    assert len(printed) == 1


def test_programs_cannot_be_changed():
    with pytest.raises(AttributeError):
        EVERYTHING.body = ()
    with pytest.raises(AttributeError):
        EVERYTHING.body[1].negated = False


@given(straight_line_programs)
def test_actions_of_a_straight_line_program(program):
    assert program.actions == program.body
    assert Program.from_actions(np.array(program.actions, np.uint8)) == program
    assert Program.from_actions(list(program.actions)) == program


def test_a_program_with_control_flow_has_no_actions():
    assert EVERYTHING.actions is None


def test_wrong_trees():
    with pytest.raises(ValueError, match=r"action 2 has code 5"):
        Program.from_actions([0, 1, 5])
    with pytest.raises(ValueError, match=r"action 0 has code -1"):
        Program.from_actions([-1])
    with pytest.raises(TypeError, match="action 1 is 'move'"):
        Program.from_actions([0, "move"])
    with pytest.raises(TypeError, match="statement 0 is 3"):
        Program((3,))
    with pytest.raises(TypeError, match=r"write \(statement,\)"):
        Repeat(3, MOVE)
    with pytest.raises(TypeError, match=r"write \(statement,\)"):
        Program("def run() { }")
    for count in (-1, MAX_REPEAT + 1):
        with pytest.raises(ValueError, match=f"repeat count {count} is out of range"):
            Repeat(count, ())
    with pytest.raises(TypeError):
        Repeat(1.5, ())
    with pytest.raises(ValueError, match="9 is not a valid Condition"):
        If(9, False, ())


# Semantics


def test_the_named_semantics():
    def table(name):
        return resolve_semantics(name).table.tolist()

    assert table("original") == [0, 1, 2, 3, 4]
    assert table("flip") == [0, 2, 1, 3, 4]
    assert table("adversarial") == [1, 2, 0, 2, 1]
    # The numbered ones, from the table of the original's code: p pick, u put, L left, R right, M move.
    assert table("map0") == table("map7") == [0, 2, 1, 4, 3]
    assert table("map1") == [2, 4, 3, 1, 0]
    assert table("map2") == [3, 0, 1, 4, 2]
    assert table("map3") == [1, 2, 0, 2, 1]
    assert table("map4") == [1, 3, 4, 2, 0]
    assert table("map5") == table("map6") == table("map10") == [1, 2, 0, 4, 3]
    assert table("map8") == [1, 0, 2, 4, 3]
    assert table("map9") == [2, 1, 0, 4, 3]
    assert table("map11") == [2, 0, 1, 4, 3]
    assert len(NAMED_SEMANTICS) == 16
    assert all(resolve_semantics(name).name == name for name in NAMED_SEMANTICS)


def test_a_semantics_of_ones_own():
    made = Semantics(move="turnLeft", put_marker=Action.MOVE)
    assert made.table.dtype == np.uint8
    assert made.table.tolist() == [1, 1, 2, 3, 0]
    assert made.name == "move>turn_left,put_marker>move"
    assert made == resolve_semantics({"move": "turn_left", "putMarker": "move"}) == resolve_semantics(made)
    assert Semantics(move="turn_left", put_marker="move", name="mine") == made
    assert Semantics().name == "original"


@given(semantics)
def test_semantics_compare_hash_and_pickle(made):
    again = pickle.loads(pickle.dumps(made))
    assert (again, again.name, hash(again)) == (made, made.name, hash(made))
    assert (made == resolve_semantics("original")) == (made.table.tolist() == [0, 1, 2, 3, 4])
    assert eval(repr(made), {"Semantics": Semantics}) == made


def test_wrong_semantics():
    with pytest.raises(ValueError, match="unknown semantics 'flop'; did you mean 'flip'"):
        resolve_semantics("flop")
    with pytest.raises(ValueError, match="move='jump' names no action"):
        Semantics(move="jump")
    with pytest.raises(TypeError, match="move=1"):
        Semantics(move=1)
    with pytest.raises(TypeError):
        Semantics(mvoe="turn_left")
    with pytest.raises(ValueError, match="maps 'mvoe', which names no action"):
        resolve_semantics({"mvoe": "turn_left"})
    with pytest.raises(ValueError, match="maps turn_left twice, in two spellings"):
        resolve_semantics("turn_left>move+turnLeft>pick_marker")
    with pytest.raises(TypeError, match="semantics is int"):
        resolve_semantics(3)


def test_importing_the_language_imports_nothing_heavy():
    code = "import sys, karel_fast.karel.language; print([m for m in ('torch', 'numba', 'pyarrow', 'rich') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
