"""A token for every row of a world, or for two: a fifth or an eighth of the compact layout's tokens, and the same text.

There are far too many rows to list (15 signs in each of six cells: 11 million), so these tokens have numbers and no entry of
their own in a table: the model adds up a vector per cell where it reads one, and says what each cell shows where it writes one
(`karel_fast.model.rows`). Programs are written as in the compact layout, a token a symbol.

Below, the cells that one token stands for are a row, even where they are two rows of the world.
"""

from __future__ import annotations

import numpy as np

from karel_fast.data.tokens.compact import CompactLayout
from karel_fast.data.tokens.layout import Layout
from karel_fast.support.checks import whole
from karel_fast.support.row_code import MOST_TOKENS, RowCode


class RowsLayout(CompactLayout):
    """The compact layout, read by rows."""

    name = "rows"
    rows_per_token = 1


class RowPairsLayout(CompactLayout):
    """The compact layout, read by two rows at a time."""

    name = "row-pairs"
    rows_per_token = 2


class RowFolding:
    """Token rows of a layout with a token per cell, and the same ones with a token per `rows_per_token` rows of a world.

    Raises ValueError for a layout whose cells stand apart, worlds whose rows are no multiple of `rows_per_token`, and more cells than
    can be numbered.

    Shapes: n rows of U tokens, folded into T; E examples, R folded rows of a world.
    """

    def __init__(self, layout: Layout, length: int) -> None:
        rows = whole(f"the {layout.name} layout's rows_per_token", layout.rows_per_token, 1)
        name, height = layout.name, layout.recipe.height
        if (height - 2) % rows:
            raise ValueError(
                f"the {name} layout makes one token of {rows} rows; worlds {height} high have {height - 2} between their walls: use the "
                "rows or the compact layout"
            )
        self.code = RowCode(len(layout.tokens), rows * layout.columns, len(layout.cell_words))
        """How the layout's tokens and the rows of its worlds are numbered."""
        if self.code.tokens > MOST_TOKENS:
            raise ValueError(
                f"the {name} layout numbers up to {self.code.most_cells} cells by a token; worlds {layout.recipe.width} wide have "
                f"{self.code.cells} in {rows} rows: use the compact layout"
            )
        cells = layout.cell_positions.reshape(-1, self.code.cells)
        if (np.diff(cells, axis=1) != 1).any():
            raise ValueError(
                f"the {name} layout makes one token of neighbouring cells, so their tokens must stand next to each other; in its rows "
                f"of worlds they stand {layout.cell_step} apart, and rows {layout.row_step}"
            )
        self.dtype = np.dtype(np.int32 if self.code.tokens <= 2**31 else np.int64)
        """Of folded rows."""
        self.first_cell = layout.first_cell
        self.kept = np.setdiff1d(np.arange(length), cells[:, 1:])
        """int64 (T,): which of the U tokens stay, of a row the first cell's."""
        self.row_positions = np.searchsorted(self.kept, cells[:, 0])
        """int64 (E * 2 * R,): where the tokens of rows stand among the T."""
        self._cells = cells

    def fold(self, rows: np.ndarray) -> np.ndarray:
        """`dtype` (n, T) from (n, U); also the first tokens of rows, a whole prompt at least."""
        kept = self.kept[self.kept < rows.shape[1]]
        folded = rows[:, kept].astype(self.dtype)
        folded[:, self.row_positions] = self.code.join(rows[:, self._cells].astype(self.dtype) - self.first_cell)
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
