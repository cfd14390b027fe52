"""The `compact` layout, the default: one token per interior cell and per symbol, and no white space.

input <cells> output <cells> .. code <symbols> <end>
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.symbols import CLOSE, CONDITION, COUNT, ELSE, IF, IFELSE, NOT, OPEN, REPEAT, WHILE
from karel_fast.data.tokens.layout import Layout
from karel_fast.karel.language.vocabulary import ACTION_NAMES, CONDITION_NAMES
from karel_fast.karel.world import CELL_SIGNS


class CompactLayout(Layout):
    """One token per interior cell and per symbol."""

    name = "compact"
    cell_words = tuple(CELL_SIGNS)
    program_writer = "symbols"

    def words(self, recipe: Recipe) -> Mapping[int, str]:
        words = dict(enumerate(ACTION_NAMES))
        if recipe.control is not None:
            words |= {IF: "if", IFELSE: "ifelse", WHILE: "while", REPEAT: "repeat", ELSE: "else", NOT: "not"}
            words |= {CONDITION + code: name for code, name in enumerate(CONDITION_NAMES)}
            words |= {OPEN: "{", CLOSE: "}"}
            words |= {COUNT + count: f"x{count}" for count in range(recipe.control.repeat_counts[1] + 1)}
        return words

    def vocabulary(self) -> Sequence[str]:
        return ("<pad>", "<end>", "input", "output", "code", *self.cell_words, *self.symbol_words.values())

    def prompt(self) -> Sequence[str]:
        world = [self.cell_words[0]] * ((self.recipe.height - 2) * (self.recipe.width - 2))
        return ["input", *world, "output", *world] * self.recipe.examples + ["code"]

    def text(self, ids: Sequence[int]) -> str:
        """A line per world row, the program on one line."""
        heads = {self.token_ids[word] for word in ("input", "output", "code")}
        lines: list[list[str]] = [[]]
        cells = 0
        for token in ids:
            is_cell = self.first_cell <= token < self.first_cell + len(self.cell_words)
            starts_line = token in heads or (is_cell and cells % self.columns == 0)
            if (starts_line or (cells and not is_cell)) and lines[-1]:
                lines.append([])
            cells = cells + 1 if is_cell else 0
            lines[-1].append(self.tokens[token])
        return "\n".join(" ".join(line) for line in lines)
