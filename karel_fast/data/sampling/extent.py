"""How long a recipe's longest program gets, in symbols or in tokens of the reference layout."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

Unit = Literal["symbols", "reference"]


@lru_cache(maxsize=4096)
def longest_program(
    statements: int, levels: int, negate: bool, kinds: tuple[bool, bool, bool, bool], unit: Unit, level: int = 1
) -> int:
    """The most that `statements` statements take, with `levels` more levels of blocks allowed.

    `kinds` says which of if, ifelse, while, repeat there are. `level` is the lines' indent in the reference layout,
    where a line costs its indent and a newline too.
    """
    if unit == "symbols":
        action, condition_block, repeat_block, orelse = 1, 4 + negate, 4, 3
    else:
        close = level + 1  # its brace includes one indent
        action, condition_block, repeat_block, orelse = (
            level + 2,
            level + 5 + negate + close,
            level + 5 + close,
            level + 3 + close,
        )
    best = [0]
    for n in range(1, statements + 1):
        options = [action + best[n - 1]]  # what the first statement is, and what follows it
        if levels:
            inner = [longest_program(m, levels - 1, negate, kinds, unit, level + 1) for m in range(n)]
            for m in range(1, n):
                rest = best[n - 1 - m]
                if kinds[0] or kinds[2]:
                    options.append(condition_block + inner[m] + rest)
                if kinds[3]:
                    options.append(repeat_block + inner[m] + rest)
                if kinds[1]:
                    options += [condition_block + orelse + inner[k] + inner[m - k] + rest for k in range(1, m)]
        best.append(max(options))
    return best[statements]
