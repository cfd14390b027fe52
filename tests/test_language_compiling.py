"""Compiling programs to bytecode, and batches that are none."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from language_names import LEFT, MOVE, PUT
from strategies import programs, straight_line_programs

from karel_fast.karel.language import MAX_REPEAT, CompiledPrograms, KarelSyntaxError, Program, compile, parse
from karel_fast.karel.language.bytecode import Op, encode_instruction


def unpack(instruction):
    """The parts (op, a, b): 8 bits, 24 bits, and the rest."""
    return instruction & 0xFF, instruction >> 8 & 0xFFFFFF, instruction >> 32


def test_instructions_unpack_to_their_parts():
    for parts in [(0, 0, 0), (9, 0, 0), (7, 2**24 - 1, MAX_REPEAT), (8, 1, 2**31 - 1)]:
        assert 0 <= encode_instruction(*parts) < 2**63
        assert unpack(encode_instruction(*parts)) == parts


def instructions(source):
    compiled = compile(source)
    assert not compiled.straight_line
    return [unpack(instruction) for instruction in compiled.code.tolist()]


def test_bytecode_of_each_block():
    assert instructions("def run() { if (left_is_clear()) { move() }; put_marker() }") == [
        (Op.BRANCH, 1, 2),
        (MOVE, 0, 0),
        (PUT, 0, 0),
        (Op.HALT, 0, 0),
    ]
    assert instructions("def run() { ifelse (not (markers_present())) { move() } else { turn_left() } }") == [
        (Op.BRANCH, 3 | 8, 3),
        (MOVE, 0, 0),
        (Op.JUMP, 0, 4),
        (LEFT, 0, 0),
        (Op.HALT, 0, 0),
    ]
    assert instructions("def run() { while (front_is_clear()) { move() } }") == [
        (Op.BRANCH, 0, 3),
        (MOVE, 0, 0),
        (Op.JUMP, 0, 0),
        (Op.HALT, 0, 0),
    ]
    assert instructions("def run() { repeat (2) { repeat (3) { move() } }; repeat (4) { } }") == [
        (Op.SET, 0, 2),
        (Op.JUMP, 0, 6),
        (Op.SET, 1, 3),
        (Op.JUMP, 0, 5),
        (MOVE, 0, 0),
        (Op.LOOP, 1, 4),
        (Op.LOOP, 0, 2),
        (Op.SET, 0, 4),
        (Op.JUMP, 0, 9),
        (Op.LOOP, 0, 9),
        (Op.HALT, 0, 0),
    ]


def test_targets_count_from_each_programs_start():
    source = "def run() { while (front_is_clear()) { move() } }"
    one, two = compile(source), compile([source, source])
    assert two.starts.tolist() == [0, 4]
    assert two.lengths.tolist() == [4, 4]
    assert two.code.tolist() == one.code.tolist() * 2
    assert compile(["def run() { repeat (2) { } }", source]).slots == 1
    assert compile(source).slots == 0


@given(st.lists(straight_line_programs, min_size=1, max_size=5))
def test_a_straight_line_batch(batch):
    compiled = compile(batch)
    assert compiled.straight_line
    assert len(compiled) == len(batch)
    assert compiled.actions.dtype == np.uint8
    assert compiled.starts.dtype == np.int64
    assert compiled.lengths.dtype == np.int32
    assert not compiled.actions[-16:].any()
    assert compiled.actions.size == sum(len(program.body) for program in batch) + 16
    assert [compiled.program(k) for k in range(len(batch))] == batch

    longest = max(len(program.body) for program in batch)
    rows = np.full((len(batch), longest), 255, np.uint8)
    for row, program in zip(rows, batch, strict=True):
        row[: len(program.body)] = program.body
    from_arrays = CompiledPrograms.from_actions(rows, [len(program.body) for program in batch])
    for name in ("actions", "starts", "lengths"):
        assert np.array_equal(getattr(from_arrays, name), getattr(compiled, name))


@given(st.lists(programs, min_size=1, max_size=4))
def test_a_batch_keeps_its_programs(batch):
    compiled = compile(batch)
    assert compiled.straight_line == all(program.actions is not None for program in batch)
    assert [compiled.program(k) for k in range(-len(batch), 0)] == batch
    again = pickle.loads(pickle.dumps(compiled))
    assert [again.program(k) for k in range(len(batch))] == batch
    assert np.array_equal(again.code, compiled.code)


def test_what_compile_takes():
    source = "def run() { move() }"
    expected = compile([parse(source)])
    assert compile(expected) is expected
    for given_ in (source, parse(source), [source], (parse(source),), iter([source])):
        compiled = compile(given_)
        assert np.array_equal(compiled.actions, expected.actions)
        assert len(compiled) == 1
    with pytest.raises(IndexError, match="program 1 of a batch of 1"):
        expected.program(1)
    with pytest.raises(ValueError, match="read-only"):
        expected.actions[0] = 3


def test_wrong_batches():
    with pytest.raises(ValueError, match="no programs"):
        compile([])
    with pytest.raises(TypeError, match=r"programs\[1\] is int"):
        compile([Program(()), 3])
    with pytest.raises(TypeError, match=r"programs\[0\] is list"):
        compile([[MOVE, LEFT]])
    for wrong in (None, 3, b"def run() { }", np.zeros((2, 3), np.uint8)):
        with pytest.raises(TypeError, match="programs is"):
            compile(wrong)
    with pytest.raises(KarelSyntaxError, match=r"programs\[1\], line 1, column 13: unknown action 'mvoe'") as caught:
        compile(["def run() { }", "def run() { mvoe() }"])
    assert (caught.value.line, caught.value.column) == (1, 13)


def test_wrong_action_arrays():
    rows = np.zeros((2, 3), np.uint8)
    with pytest.raises(TypeError, match="actions is int64"):
        CompiledPrograms.from_actions(rows.astype(np.int64))
    with pytest.raises(ValueError, match=r"actions has shape \(3,\)"):
        CompiledPrograms.from_actions(rows[0])
    with pytest.raises(ValueError, match=r"lengths\[1\] is 4"):
        CompiledPrograms.from_actions(rows, [3, 4])
    with pytest.raises(ValueError, match=r"lengths\[0\] is -1"):
        CompiledPrograms.from_actions(rows, [-1, 3])
    with pytest.raises(ValueError, match=r"lengths has shape \(3,\)"):
        CompiledPrograms.from_actions(rows, [1, 2, 3])
    with pytest.raises(TypeError, match="lengths is float64"):
        CompiledPrograms.from_actions(rows, [1.0, 2.0])
    rows[1, 2] = 5
    with pytest.raises(ValueError, match=r"actions\[1, 2\] is 5"):
        CompiledPrograms.from_actions(rows)
    assert len(CompiledPrograms.from_actions(rows, [3, 2])) == 2
    assert len(CompiledPrograms.from_actions(rows[:0])) == 0
