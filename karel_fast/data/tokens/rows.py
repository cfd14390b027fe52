"""A token for every row of a world: a fifth of the compact layout's tokens, and the same text.

There are far too many rows to list (15 signs in each of six cells: 11 million), so these tokens have numbers and no entry of
their own in a table: the model adds up a vector per cell where it reads one, and says what each cell shows where it writes one
(`karel_fast.model.rows`). Programs are written as in the compact layout, a token a symbol.
"""

from __future__ import annotations

import numpy as np

from karel_fast.data.tokens.compact import CompactLayout
from karel_fast.data.tokens.layout import Layout
from karel_fast.support.row_code import MOST_TOKENS, RowCode


class RowsLayout(CompactLayout):
    """The compact layout, read by rows."""

    name = "rows"
    one_token_rows = True


class RowFolding:
    """Token rows of a layout with a token per cell, and the same ones with a token per row of a world.

    Raises ValueError for a layout whose cells of a row stand apart, and for worlds whose rows are too long to be numbered.

    Shapes: n rows of U tokens, folded into T; E examples, R rows of a world.
    """

    def __init__(self, layout: Layout, length: int) -> None:
        self.code = RowCode(len(layout.tokens), layout.columns, len(layout.cell_words))
        """How the layout's tokens and the rows of its worlds are numbered."""
        if self.code.tokens > MOST_TOKENS:
            raise ValueError(
                f"the {layout.name} layout numbers rows of up to 7 cells; worlds {layout.recipe.width} wide have {layout.columns} "
                "between their walls: use the compact layout"
            )
        if layout.cell_step != 1:
            raise ValueError(
                f"the {layout.name} layout makes one token of a row, so its cells must stand next to each other; they stand "
                f"{layout.cell_step} apart"
            )
        self.first_cell = layout.first_cell
        cells = layout.cell_positions.reshape(-1, layout.columns)
        self.kept = np.setdiff1d(np.arange(length), cells[:, 1:])
        """int64 (T,): which of the U tokens stay, of a row the first cell's."""
        self.row_positions = np.searchsorted(self.kept, cells[:, 0])
        """int64 (E * 2 * R,): where the tokens of rows stand among the T."""
        self._cells = cells

    def fold(self, rows: np.ndarray) -> np.ndarray:
        """int32 (n, T) from (n, U); also the first tokens of rows, a whole prompt at least."""
        kept = self.kept[self.kept < rows.shape[1]]
        folded = rows[:, kept].astype(np.int32)
        folded[:, self.row_positions] = self.code.join(rows[:, self._cells].astype(np.int32) - self.first_cell)
        return folded

    def unfold(self, tokens: list[int]) -> list[int]:
        """The layout's tokens of some of its folded ones, in order."""
        plain: list[int] = []
        for token in tokens:
            if token < self.code.words:
                plain.append(token)
            else:
                plain += (self.first_cell + self.code.sign(token, cell) for cell in range(self.code.cells))
        return plain
