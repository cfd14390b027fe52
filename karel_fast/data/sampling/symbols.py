"""Programs as short rows of bytes: one symbol per action, keyword, condition, brace or repeat count.

A straight-line program's symbols are its action codes, so for the paper's recipe this is just its action array. The
same rows are what the shards store, what splits hash and what the compact tokens follow one to one.

    statement := action
               | IF cond OPEN statements CLOSE
               | IFELSE cond OPEN statements CLOSE ELSE OPEN statements CLOSE
               | WHILE cond OPEN statements CLOSE
               | REPEAT count OPEN statements CLOSE
    cond      := [NOT] condition
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from karel_fast.karel.language import Action, Condition, If, IfElse, Program, Repeat, Statement, While

# After the actions; csrc/karel/symbols.hpp says the same.
IF, IFELSE, WHILE, REPEAT, ELSE, NOT = range(len(Action), len(Action) + 6)
CONDITION = NOT + 1  # + Condition code
OPEN = CONDITION + len(Condition)
CLOSE = OPEN + 1
COUNT = CLOSE + 1  # + repeat count
MAX_COUNT = 99
PAD = 255

_MASK64 = (1 << 64) - 1


def symbol_count(straight_line: bool) -> int:
    """How many symbols programs are written with; the codes are those below."""
    return len(Action) if straight_line else COUNT + MAX_COUNT + 1


def to_symbols(program: Program) -> list[int]:
    """The program's symbols. ValueError if a repeat count is above 99, which has no symbol."""
    out: list[int] = []
    todo: list[object] = list(reversed(program.body))
    while todo:
        item = todo.pop()
        match item:
            case int():  # an Action, or a symbol put here by the cases below
                out.append(int(item))
            case If() | While():
                out.append(IF if isinstance(item, If) else WHILE)
                out.extend(_condition(item.condition, item.negated))
                todo += [CLOSE, *reversed(item.body), OPEN]
            case IfElse():
                out.append(IFELSE)
                out.extend(_condition(item.condition, item.negated))
                todo += [CLOSE, *reversed(item.orelse), OPEN, ELSE, CLOSE, *reversed(item.body), OPEN]
            case Repeat():
                if item.count > MAX_COUNT:
                    raise ValueError(f"repeat({item.count}) has no symbol: data sets hold counts of 0..{MAX_COUNT}")
                out += [REPEAT, COUNT + item.count]
                todo += [CLOSE, *reversed(item.body), OPEN]
            case _:
                raise TypeError(f"a program holds {item!r}, which is no statement")
    return out


def _condition(condition: Condition, negated: bool) -> list[int]:
    return [NOT, CONDITION + int(condition)] if negated else [CONDITION + int(condition)]


def from_symbols(symbols: Iterable[int]) -> Program:
    """The program that a row of symbols (up to its padding) spells. ValueError names where it is malformed."""
    row = [int(s) for s in symbols]
    if PAD in row:
        row = row[: row.index(PAD)]
    if all(s < IF for s in row):
        return Program.from_actions(row)
    return Program(_parse(row))


def _parse(row: Sequence[int]) -> tuple[Statement, ...]:
    bodies: list[list[Statement]] = [[]]
    heads: list[tuple[int, Condition | int, bool, tuple[Statement, ...] | None]] = []
    at = 0

    def expect(symbol: int) -> None:
        nonlocal at
        if at >= len(row) or row[at] != symbol:
            raise ValueError(f"malformed program row: symbol {symbol} expected at position {at}")
        at += 1

    while at < len(row):
        symbol = row[at]
        at += 1
        if symbol < IF:
            bodies[-1].append(Action(symbol))
        elif symbol in (IF, IFELSE, WHILE):
            negated = at < len(row) and row[at] == NOT
            at += negated
            if at >= len(row) or not CONDITION <= row[at] < OPEN:
                raise ValueError(f"malformed program row: condition expected at position {at}")
            heads.append((symbol, Condition(row[at] - CONDITION), negated, None))
            at += 1
            expect(OPEN)
            bodies.append([])
        elif symbol == REPEAT:
            if at >= len(row) or not COUNT <= row[at] <= COUNT + MAX_COUNT:
                raise ValueError(f"malformed program row: repeat count expected at position {at}")
            heads.append((symbol, row[at] - COUNT, False, None))
            at += 1
            expect(OPEN)
            bodies.append([])
        elif symbol == CLOSE and heads:
            kind, head, negated, first = heads.pop()
            body = tuple(bodies.pop())
            if kind == IFELSE and first is None:
                expect(ELSE)
                expect(OPEN)
                heads.append((kind, head, negated, body))
                bodies.append([])
            elif kind == REPEAT:
                bodies[-1].append(Repeat(int(head), body))
            else:
                condition = Condition(head)
                if kind == IFELSE:
                    assert first is not None
                    bodies[-1].append(IfElse(condition, negated, first, body))
                else:
                    bodies[-1].append((If if kind == IF else While)(condition, negated, body))
        else:
            raise ValueError(f"malformed program row: symbol {symbol} at position {at - 1} begins no statement")
    if heads:
        raise ValueError("malformed program row: it ends inside a block")
    return tuple(bodies[0])


def program_hash(symbols: Iterable[int]) -> int:
    """32 bits that decide a program's split: FNV-1a over its symbols, then MurmurHash3's 64-bit finaliser, high half.

    Independent of recipe and seed, so data sets of different seeds agree on which programs belong to which split.
    """
    h = 0xCBF29CE484222325
    for symbol in symbols:
        h = ((h ^ int(symbol)) * 0x100000001B3) & _MASK64
    h = ((h ^ h >> 33) * 0xFF51AFD7ED558CCD) & _MASK64
    h = ((h ^ h >> 33) * 0xC4CEB9FE1A85EC53) & _MASK64
    return (h ^ h >> 33) >> 32


def pad_rows(rows: Sequence[Sequence[int]], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of symbols as one array: uint8 (n, width) padded with 255, and int32 (n,) lengths."""
    symbols = np.full((len(rows), width), PAD, np.uint8)
    for i, row in enumerate(rows):
        symbols[i, : len(row)] = row
    return symbols, np.array([len(row) for row in rows], np.int32)
