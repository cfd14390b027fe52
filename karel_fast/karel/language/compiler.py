"""Programs to the arrays that the backends run.

A batch of straight-line programs (the paper's) stays what it is, one byte per action, and has a kernel of its own in
the fast backends. One program with control flow makes the whole batch bytecode.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karel_fast.karel.language.bytecode import Op, encode_instruction
from karel_fast.karel.language.parser import KarelSyntaxError, parse
from karel_fast.karel.language.syntax import CLOSE, ELSE, IF, IFELSE, REPEAT, WHILE, Program, Statement, flatten
from karel_fast.karel.language.vocabulary import Action

PADDING = 16
"""Spare zero bytes after the last action, so that a kernel may load a whole vector at any action."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CompiledPrograms:
    """P programs ready to run, made by `compile` or `from_actions`. All arrays are read-only.

    straight_line: whether no program has control flow. If so, program p is actions[starts[p] : starts[p] + lengths[p]]
    and `code` is empty; if not, it is code[starts[p] : starts[p] + lengths[p]] (see bytecode.py) and `actions` is only
    padding.
    """

    straight_line: bool
    actions: NDArray[np.uint8]  # flat, with PADDING zero bytes at its end
    code: NDArray[np.int64]  # flat, each program ending in HALT
    starts: NDArray[np.int64]  # (P,)
    lengths: NDArray[np.int32]  # (P,) actions, or instructions with the HALT
    slots: int  # loop counters that a run needs
    _programs: tuple[Program, ...]  # the trees, of a batch with control flow

    def __post_init__(self) -> None:
        for name in ("actions", "code", "starts", "lengths"):
            object.__setattr__(self, name, _immutable(getattr(self, name)))

    def __reduce__(self) -> tuple:
        arrays = (self.actions, self.code, self.starts, self.lengths)
        return CompiledPrograms, (self.straight_line, *arrays, self.slots, self._programs)

    def __len__(self) -> int:
        return self.starts.shape[0]

    def __repr__(self) -> str:
        kind = "straight-line" if self.straight_line else "bytecode"
        return f"<CompiledPrograms: {len(self)} {kind} programs>"

    def program(self, index: int) -> Program:
        """The program at this index of the batch, as a tree."""
        position = operator.index(index)
        if not -len(self) <= position < len(self):
            raise IndexError(f"program {position} of a batch of {len(self)}")
        if not self.straight_line:
            return self._programs[position]
        start = self.starts[position]
        return Program.from_actions(self.actions[start : start + self.lengths[position]].tolist())

    @classmethod
    def from_actions(cls, actions: NDArray[np.uint8], lengths: ArrayLike | None = None) -> CompiledPrograms:
        """Straight-line programs from arrays, without text or trees.

        actions: uint8 (P, L), row p holding program p's codes in its first lengths[p] places (the rest is ignored).
        lengths: (P,) integers 0..L; without them, every program has L actions.
        Raises TypeError for another dtype, ValueError for a wrong shape, length or code, naming the program.
        """
        actions = np.asarray(actions)
        if actions.dtype != np.uint8:
            raise TypeError(f"actions is {actions.dtype}; make it uint8, shape (programs, longest)")
        if actions.ndim != 2:
            raise ValueError(f"actions has shape {actions.shape}; make it (programs, longest)")
        count, longest = actions.shape
        lengths = np.full(count, longest) if lengths is None else np.asarray(lengths)
        if lengths.dtype.kind not in "iu":
            raise TypeError(f"lengths is {lengths.dtype}; make it integers, shape (programs,)")
        if lengths.shape != (count,):
            raise ValueError(f"lengths has shape {lengths.shape}, but there are {count} programs; make it ({count},)")
        wrong = (lengths < 0) | (lengths > longest)
        if wrong.any():
            p = int(wrong.argmax())
            raise ValueError(f"lengths[{p}] is {lengths[p]}; a row of actions has {longest} places")
        written = np.arange(longest) < lengths[:, None]
        flat = actions[written]
        if flat.size and flat.max() >= len(Action):
            p, k = np.argwhere(written & (actions >= len(Action)))[0]
            raise ValueError(f"actions[{p}, {k}] is {actions[p, k]}; the action codes are 0 to {len(Action) - 1}")
        return cls._straight(flat.tobytes(), lengths)

    @classmethod
    def _straight(cls, flat: bytes, lengths: Sequence[int] | NDArray) -> CompiledPrograms:
        actions = np.frombuffer(flat + bytes(PADDING), dtype=np.uint8)
        return cls(True, actions, np.empty(0, np.int64), *_starts_and_lengths(lengths), slots=0, _programs=())


def _immutable(array: NDArray) -> NDArray:
    """The array, on bytes that nobody can change: kernels run without the GIL on what they have checked once."""
    if isinstance(array.base, bytes) and array.flags.c_contiguous:
        return array
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def compile(programs: Program | str | Iterable[Program | str] | CompiledPrograms) -> CompiledPrograms:
    """One program or a batch, as a `Program`, its source, or an iterable of these, ready to be run many times.

    Raises ValueError for an empty batch, TypeError for anything that is not a program (naming its index), and
    KarelSyntaxError for source that does not parse.
    """
    if isinstance(programs, CompiledPrograms):
        return programs
    trees = [_tree(programs, None)] if isinstance(programs, Program | str) else _batch(programs)
    bodies = [tree.body for tree in trees]
    try:
        # An Action is an integer and a block is not, so this both joins the bodies and finds control flow, at C speed.
        flat = bytes(chain.from_iterable(bodies))  # type: ignore[arg-type]
    except TypeError:
        return _bytecode(trees)
    return CompiledPrograms._straight(flat, [len(body) for body in bodies])


def _batch(programs: Iterable[Program | str]) -> list[Program]:
    if isinstance(programs, bytes | np.ndarray) or not isinstance(programs, Iterable):
        raise TypeError(
            f"programs is {type(programs).__name__}; give a Program, its source, or a list of these"
            " (CompiledPrograms.from_actions takes arrays of action codes)"
        )
    trees = [_tree(program, index) for index, program in enumerate(programs)]
    if not trees:
        raise ValueError("there are no programs to compile; give at least one")
    return trees


def _tree(program: Program | str, index: int | None) -> Program:
    if isinstance(program, Program):
        return program
    if not isinstance(program, str):
        raise TypeError(f"programs[{index}] is {type(program).__name__}; give a Program or its source")
    try:
        return parse(program)
    except KarelSyntaxError as error:
        if index is None:
            raise
        raise KarelSyntaxError(f"programs[{index}], {error}", error.line, error.column) from None


def _starts_and_lengths(lengths: Sequence[int] | NDArray) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    lengths32 = np.array(lengths, dtype=np.int32)
    ends = np.cumsum(lengths32, dtype=np.int64)
    return ends - lengths32, lengths32


def _bytecode(trees: list[Program]) -> CompiledPrograms:
    code: list[int] = []
    lengths: list[int] = []
    slots = 0
    for tree in trees:
        instructions, needed = _instructions(tree.body)
        code += instructions
        lengths.append(len(instructions))
        slots = max(slots, needed)
    actions = np.zeros(PADDING, np.uint8)
    starts_and_lengths = _starts_and_lengths(lengths)
    return CompiledPrograms(
        False, actions, np.array(code, np.int64), *starts_and_lengths, slots=slots, _programs=tuple(trees)
    )


def _instructions(body: Sequence[Statement]) -> tuple[list[int], int]:
    """The instructions of one program, and how many loop counters it needs (how deep its repeats nest)."""
    code: list[int] = []
    open_blocks: list[tuple[int, int]] = []  # kind, and where its first instruction is
    depth = slots = 0  # of repeats
    stream = iter(flatten(body))
    for item in stream:
        here = len(code)
        if item < IF:
            code.append(item)
        elif item == REPEAT:
            open_blocks.append((item, here))
            code += (encode_instruction(Op.SET, depth, next(stream)), 0)  # the 0 becomes a jump to the LOOP
            depth += 1
            slots = max(slots, depth)
        elif item in (IF, IFELSE, WHILE):
            open_blocks.append((item, here))
            code.append(
                encode_instruction(Op.BRANCH, next(stream))
            )  # its target is filled in where the block, or its half, ends
        elif item == ELSE:
            _, branch = open_blocks.pop()
            open_blocks.append((ELSE, here))
            code.append(0)  # becomes a jump over the second half
            code[branch] |= encode_instruction(0, b=here + 1)
        elif item == CLOSE:
            kind, first = open_blocks.pop()
            if kind == IF:
                code[first] |= encode_instruction(0, b=here)
            elif kind == ELSE:
                code[first] = encode_instruction(Op.JUMP, b=here)
            elif kind == WHILE:
                code.append(encode_instruction(Op.JUMP, b=first))
                code[first] |= encode_instruction(0, b=here + 1)
            else:
                depth -= 1
                code[first + 1] = encode_instruction(Op.JUMP, b=here)
                code.append(encode_instruction(Op.LOOP, depth, first + 2))
        else:
            raise ValueError(f"code {item} of a program's flat form has no instruction")
    code.append(encode_instruction(Op.HALT))
    return code, slots
