"""The two ways a sample is written as tokens. A layout is a vocabulary, a prompt template and a rule for programs.

    compact    input <cells> output <cells> .. code <symbols> <end>        one token per interior cell and per symbol
    reference  the original authors' text, whose spaces, newlines and braces are tokens of their own

The prompt has the same length for every sample of a recipe: a template whose cell places are filled in. Cells are
written as in the text form of worlds, so the robot hides the markers under it and nine markers also stand for more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from karel_fast.data.sampling.recipe import ACTION_NAMES, CONDITION_NAMES, Recipe
from karel_fast.data.sampling.symbols import CLOSE, CONDITION, COUNT, ELSE, IF, NOT, OPEN, REPEAT

# The fifteen things a cell can show, in this order in both layouts: nothing, 1..9 markers, wall, robot by direction.
CELL_EMPTY, CELL_WALL, CELL_ROBOT, CELLS = 0, 10, 11, 15


@dataclass(frozen=True)
class Layout:
    """`tokens[i]` is the text of token i; the ids of cells, and those of the program part, are consecutive."""

    name: str
    tokens: tuple[str, ...]
    end_id: int
    first_cell: int
    first_action: int
    template: np.ndarray  # int64 (prompt_length,), cells shown as empty
    cell_positions: np.ndarray  # int64 (examples * 2 * cells,): example by example, its input before its output
    columns: int  # interior cells in a row,
    cells: int  # and in a world
    tokens_per_action: int  # of which the action itself is the middle one (or the only one)
    line_tokens: tuple[int, ...] = (0,) * 7  # reference only: indent, newline, `{`, `)`, a block's `}`, `if(`, count 0

    pad_id = 0

    @cached_property
    def cell_step(self) -> int:
        """Tokens from a cell to the next in its row."""
        return 1 if self.name == "compact" else 2

    @cached_property
    def row_step(self) -> int:
        """Tokens from a row's first cell to the next row's."""
        return self.columns if self.name == "compact" else 2 * self.columns + 1

    @cached_property
    def grid_starts(self) -> list[int]:
        """Where each grid's first cell stands: input, output, input, .."""
        return self.cell_positions[:: self.cells].tolist()


def make_layout(recipe: Recipe, name: str) -> Layout:
    """ValueError for an unknown layout name."""
    if name == "compact":
        return _compact(recipe)
    if name == "reference":
        return _reference(recipe)
    raise ValueError(f'layout {name!r} is unknown: "compact" or "reference"')


def _cell_grid(recipe: Recipe) -> tuple[int, int]:
    return recipe.height - 2, recipe.width - 2


# -- compact ----------------------------------------------------------------------------------------------------------

_COMPACT_HEAD = ("<pad>", "<end>", "input", "output", "code", ".", *"123456789", "#", "^", ">", "v", "<", *ACTION_NAMES)
_COMPACT_CONTROL = ("if", "ifelse", "while", "repeat", "else", "not", *CONDITION_NAMES, "{", "}")
COMPACT_INPUT, COMPACT_OUTPUT, COMPACT_CODE, COMPACT_CELL, COMPACT_SYMBOL = 2, 3, 4, 5, 20


def _compact(recipe: Recipe) -> Layout:
    tokens: tuple[str, ...] = _COMPACT_HEAD
    if recipe.control is not None:
        counts = tuple(f"x{count}" for count in range(recipe.control.repeat_counts[1] + 1))
        tokens += _COMPACT_CONTROL + counts  # so token = COMPACT_SYMBOL + symbol for every symbol
    rows, cols = _cell_grid(recipe)
    world = [COMPACT_CELL] * (rows * cols)
    template = np.array([COMPACT_INPUT, *world, COMPACT_OUTPUT, *world] * recipe.examples + [COMPACT_CODE])
    cells = np.flatnonzero(template == COMPACT_CELL)
    return Layout("compact", tokens, 1, COMPACT_CELL, COMPACT_SYMBOL, template, cells, cols, rows * cols, 1)


def compact_text(layout: Layout, ids: Sequence[int]) -> str:
    """Tokens as words: a line per world row, the program on one line. Split at white space it gives the tokens back."""
    lines: list[list[str]] = [[]]
    cells = 0
    for token in ids:
        is_cell = layout.first_cell <= token < layout.first_cell + CELLS
        starts_line = token in (COMPACT_INPUT, COMPACT_OUTPUT, COMPACT_CODE) or (
            is_cell and cells % layout.columns == 0
        )
        if (starts_line or (cells and not is_cell)) and lines[-1]:
            lines.append([])
        cells = cells + 1 if is_cell else 0
        lines[-1].append(layout.tokens[token])
    return "\n".join(" ".join(line) for line in lines)


# -- reference --------------------------------------------------------------------------------------------------------

_REFERENCE_HEAD = (
    "<PAD>", "}", "Examples:", "Code:", "def", "run()", " {", "  ", " ", "\n",
    "__space__", *(f"__{k}_Marker__" for k in range(1, 10)), "__wall__", "__up__", "__right__", "__down__", "__left__",
    *(f"{name}()" for name in ACTION_NAMES),
)  # fmt: skip
_REFERENCE_CONTROL = (
    "if(", "ifelse(", "while(", "repeat(", "else", "not ", *(f"{name}()" for name in CONDITION_NAMES), ")", "  }",
)  # fmt: skip
REF_EXAMPLES, REF_CODE, REF_DEF, REF_RUN, REF_OPEN, REF_INDENT, REF_SPACE, REF_NEWLINE, REF_CELL, REF_ACTION = (
    2, 3, 4, 5, 6, 7, 8, 9, 10, 25,
)  # fmt: skip
REF_CONTROL = REF_ACTION + 5  # + (symbol - IF) for keywords, `not` and conditions
REF_RIGHT_PAREN, REF_CLOSE, REF_COUNT = REF_CONTROL + 11, REF_CONTROL + 12, REF_CONTROL + 13


def _reference(recipe: Recipe) -> Layout:
    tokens: tuple[str, ...] = _REFERENCE_HEAD
    if recipe.control is not None:
        counts = tuple(str(count) for count in range(recipe.control.repeat_counts[1] + 1))
        tokens += _REFERENCE_CONTROL + counts
    inputs = len(tokens)
    tokens += tuple(f"{kind}{k}" for kind in ("Input", "Output") for k in range(recipe.examples))
    rows, cols = _cell_grid(recipe)
    world = ([REF_SPACE, REF_CELL] * cols + [REF_NEWLINE]) * rows
    ids = [REF_EXAMPLES, REF_NEWLINE, REF_NEWLINE]
    for k in range(recipe.examples):
        ids += [inputs + k, REF_NEWLINE, *world, inputs + recipe.examples + k, REF_NEWLINE, *world]
    ids += [REF_NEWLINE, REF_CODE, REF_NEWLINE, REF_DEF, REF_SPACE, REF_RUN, REF_OPEN, REF_NEWLINE]
    template = np.array(ids)
    cells = np.flatnonzero(template == REF_CELL)
    line_tokens = (REF_INDENT, REF_NEWLINE, REF_OPEN, REF_RIGHT_PAREN, REF_CLOSE, REF_CONTROL, REF_COUNT)
    return Layout(
        "reference", tokens, 1, REF_CELL, REF_ACTION, template, cells, cols, rows * cols, 3, line_tokens=line_tokens
    )


def reference_program(symbols: Sequence[int]) -> list[int]:
    """The tokens of a program's lines, before the brace that ends it: a statement a line, indented two spaces a level.

    A block ends in a line of its own; its brace and the last two spaces before it are one token, which keeps the brace
    that ends the program apart.
    """
    out: list[int] = []
    depth = 1
    after_count = False
    for symbol in symbols:
        if symbol < IF:
            out += [*[REF_INDENT] * depth, REF_ACTION + symbol, REF_NEWLINE]
        elif symbol <= REPEAT or symbol == ELSE:
            out += [*[REF_INDENT] * depth, REF_CONTROL + symbol - IF]
            after_count = symbol != ELSE
        elif symbol == OPEN:
            out += [REF_RIGHT_PAREN] * after_count + [REF_OPEN, REF_NEWLINE]
            depth += 1
        elif symbol == CLOSE:
            depth -= 1
            out += [*[REF_INDENT] * (depth - 1), REF_CLOSE, REF_NEWLINE]
        elif symbol == NOT or CONDITION <= symbol < OPEN:
            out.append(REF_CONTROL + symbol - IF)
        else:
            out.append(REF_COUNT + symbol - COUNT)
    return out
