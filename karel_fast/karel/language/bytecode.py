"""The instructions that programs with control flow compile to, one int64 each: `op | a << 8 | b << 32`.

op takes 8 bits, a 24 and b 31, so an instruction is never negative. Jump targets count from the program's first
instruction.

    0, 1, ..  perform this *written* action (the semantics decides what it does)
    JUMP      go to b
    BRANCH    a decision: condition a (its code, plus NEGATED under `not`); go to b when it is FALSE
    SET       counters[a] = b
    LOOP      a decision: if counters[a] > 0, take one from it and go to b
    HALT      the program is done
"""

from __future__ import annotations

from enum import IntEnum

from karel_fast.karel.language.vocabulary import Action


class Op(IntEnum):
    """Operation codes; those below are the actions themselves."""

    JUMP = len(Action)
    BRANCH = JUMP + 1
    SET = JUMP + 2
    LOOP = JUMP + 3
    HALT = JUMP + 4


def encode_instruction(op: int, a: int = 0, b: int = 0) -> int:
    """One instruction from its parts."""
    return op | a << 8 | b << 32
