"""Numbers for tokens of two kinds: words, and rows of cells each of which shows one of a few signs.

Words come first. A row is written as a number with a digit per cell, the first cell's the highest. Arrays are NumPy's or torch's;
nothing here imports either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MOST_TOKENS = 2**63
"""Tokens are kept as int64 at most."""


@dataclass(frozen=True, slots=True)
class RowCode:
    """words: tokens that are no rows, 0 .. words - 1. cells: of a row. signs: what a cell can show."""

    words: int
    cells: int
    signs: int

    @property
    def tokens(self) -> int:
        """How many tokens there are: words and rows."""
        return self.words + self.signs**self.cells

    @property
    def columns(self) -> int:
        """How many numbers describe them: one a word, and one for every sign of every cell."""
        return self.words + self.cells * self.signs

    @property
    def most_cells(self) -> int:
        """Of a row with so many words and signs whose tokens can be numbered."""
        cells = 0
        while self.words + self.signs ** (cells + 1) <= MOST_TOKENS:
            cells += 1
        return cells

    def join(self, signs: Any) -> Any:
        """Signs (.., cells), 0 .. signs - 1 -> the tokens of the rows (..)."""
        token = signs[..., 0]
        for cell in range(1, self.cells):
            token = token * self.signs + signs[..., cell]
        return token + self.words

    def sign(self, tokens: Any, cell: int) -> Any:
        """What a cell of each row shows, in the tokens' shape. Of words it says nothing."""
        return (tokens - self.words) // self.signs ** (self.cells - 1 - cell) % self.signs


def vocabulary_text(vocab_size: int, code: RowCode | None) -> str:
    """A vocabulary, for people."""
    if code is None:
        return f"{vocab_size} tokens"
    return f"{code.words} tokens and rows of {code.cells} cells with {code.signs} signs"
