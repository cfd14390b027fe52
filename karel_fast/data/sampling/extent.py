"""How long a recipe's longest program gets, in symbols or in whatever a token layout writes its statements with."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, TypeAlias


class StatementCosts(NamedTuple):
    """What statements take, without what stands in their blocks. `orelse` is what an ifelse takes on top of an if."""

    action: int
    condition_block: int
    negation: int
    repeat_block: int
    orelse: int


Costs: TypeAlias = Callable[[int], StatementCosts]
"""The costs of statements inside `level` - 1 blocks, by level."""


def symbol_costs(level: int) -> StatementCosts:
    """Costs in symbols: a block is its keyword, its condition or count, and its two braces, at every level."""
    return StatementCosts(action=1, condition_block=4, negation=1, repeat_block=4, orelse=3)


def longest_program(
    statements: int, levels: int, negate: bool, kinds: tuple[bool, bool, bool, bool], costs: Costs
) -> int:
    """The most that `statements` statements take, with `levels` levels of blocks allowed.

    `kinds` says which of if, ifelse, while, repeat there are.
    """
    return _longest(statements, levels, negate, kinds, costs, 1)[statements]


@lru_cache(maxsize=4096)
def _longest(
    statements: int, levels: int, negate: bool, kinds: tuple[bool, bool, bool, bool], costs: Costs, level: int
) -> tuple[int, ...]:
    """The most that 0, 1, .. `statements` statements take inside `level` - 1 blocks."""
    action, condition_block, negation, repeat_block, orelse = costs(level)
    condition_block += negation if negate else 0
    inner = _longest(statements - 1, levels - 1, negate, kinds, costs, level + 1) if levels and statements else (0,)
    # Of two bodies with m statements together, at least one in each.
    both = [max((inner[k] + inner[m - k] for k in range(1, m)), default=0) for m in range(len(inner))]
    best = [0]
    for n in range(1, statements + 1):
        options = [action + best[n - 1]]  # what the first statement is, and what follows it
        for m in range(1, n if levels else 1):
            rest = best[n - 1 - m]
            if kinds[0] or kinds[2]:
                options.append(condition_block + inner[m] + rest)
            if kinds[3]:
                options.append(repeat_block + inner[m] + rest)
            if kinds[1] and m > 1:
                options.append(condition_block + orelse + both[m] + rest)
        best.append(max(options))
    return tuple(best)
