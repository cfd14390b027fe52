"""What Numba's kernels must be sure of: they read and write without looking, where the C++ core looks for itself.

The same conditions as in csrc/karel/program.cpp and csrc/bindings/arrays.hpp, checked once per batch.
"""

from __future__ import annotations

import numpy as np

from karel_fast.karel.language.bytecode import Op
from karel_fast.karel.language.compiler import CompiledPrograms
from karel_fast.karel.language.vocabulary import Action, Condition
from karel_fast.karel.world import MAX_SIDE, MIN_SIDE, Worlds
from karel_fast.support.numba_cache import cached_njit

# Kernels take what comes from the vocabulary as arguments. A global would be frozen into them, and Numba's cache on disk
# notices changes of the kernel's own file only: a word added elsewhere would leave the old kernel in use.
OPS = tuple(int(op) for op in Op)
"""The bytecode's operation codes, in the order of `Op`."""


def check_batch(programs: CompiledPrograms, worlds: Worlds) -> None:
    """Raises TypeError for a wrong dtype, ValueError for anything else that the kernels cannot run, naming its place.

    Worlds and CompiledPrograms made in the usual ways always pass; this is for arrays changed behind their backs.
    """
    count = len(worlds.robot)
    _check_array("walls", worlds.walls, np.bool_, (count, None, None))
    _check_array("markers", worlds.markers, np.uint8, worlds.walls.shape)
    _check_array("robot", worlds.robot, np.uint8, (count, 3))
    height, width = worlds.walls.shape[1:]
    if not (MIN_SIDE <= height <= MAX_SIDE and MIN_SIDE <= width <= MAX_SIDE):
        raise ValueError(f"worlds must be {MIN_SIDE}..{MAX_SIDE} cells each side, got {height} x {width}")
    i = _outside(worlds.robot, height, width)
    if i >= 0:
        raise ValueError(f"world {i}: robot {worlds.robot[i].tolist()} is not inside the outer walls")

    _check_array("starts", programs.starts, np.int64, (None,))
    _check_array("lengths", programs.lengths, np.int32, programs.starts.shape)
    content = programs.actions if programs.straight_line else programs.code
    _check_array("the programs' code", content, np.uint8 if programs.straight_line else np.int64, (None,))
    starts, lengths = programs.starts, programs.lengths
    p = _beyond(starts, lengths, len(content))
    if p >= 0:
        raise ValueError(f"program {p}: lies outside the batch's code")
    if not 0 <= programs.slots <= 1 << 24:
        raise ValueError(f"slots must be 0..2**24, got {programs.slots}")
    if programs.straight_line and (len(content) == 0 or content.max() < len(Action)):
        return
    words = len(Action), len(Condition), OPS
    p = _wrong_program(content, starts, lengths, programs.slots, programs.straight_line, *words)
    if p >= 0:
        raise ValueError(f"program {p}: has an instruction that cannot be run")


def _check_array(name: str, array: np.ndarray, dtype: type, shape: tuple[int | None, ...]) -> None:
    if array.dtype != dtype:
        raise TypeError(f"{name} must have dtype {np.dtype(dtype)}, got {array.dtype}")
    fits = array.ndim == len(shape) and all(n is None or n == m for n, m in zip(shape, array.shape, strict=True))
    if not fits or not array.flags.c_contiguous or not array.flags.aligned:
        raise ValueError(f"{name} has shape {array.shape} and must be C-contiguous, of shape {shape}")


@cached_njit(nogil=True)
def _outside(robot, height, width):
    """The first world whose robot is not inside the outer walls; else -1."""
    for i in range(len(robot)):
        row, column = np.int64(robot[i, 0]), np.int64(robot[i, 1])
        if not (0 < row < height - 1 and 0 < column < width - 1 and robot[i, 2] < 4):
            return i
    return -1


@cached_njit(nogil=True)
def _beyond(starts, lengths, size):
    """The first program that is not within 0..size; else -1."""
    for p in range(len(starts)):
        length = np.int64(lengths[p])
        if starts[p] < 0 or length < 0 or length > size or starts[p] > size - length:
            return p
    return -1


@cached_njit(nogil=True)
def _wrong_program(content, starts, lengths, slots, straight_line, actions, conditions, ops):
    """The first program with an unknown action, or with bytecode that could leave its program or never end; else -1."""
    jump, branch, set_, loop, halt = ops
    for p in range(len(starts)):
        length = np.int64(lengths[p])
        code = content[starts[p] : starts[p] + length]
        if not straight_line and (length == 0 or code[length - 1] & 0xFF != halt):
            return p
        for k in range(length):
            op = np.int64(code[k]) & 0xFF
            if op < actions:
                continue
            if straight_line or op > halt:
                return p
            a, b = np.int64(code[k]) >> 8 & 0xFFFFFF, np.int64(code[k]) >> 32
            if op in (jump, branch, loop) and not 0 <= b < length:
                return p
            if op == branch and (a & ~8) >= conditions:
                return p
            if op in (set_, loop) and a >= slots:
                return p
            if op == set_ and b < 0:
                return p
            if op == jump and b <= k and np.int64(code[b]) & 0xFF != branch:
                return p
    return -1
