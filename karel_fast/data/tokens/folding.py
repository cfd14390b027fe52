"""How a layout's token rows, with a token per cell, become the tokenizer's: as they are, or with rows of worlds made one token.

There are far too many rows to list (15 signs in each of six cells: 11 million), so their tokens have numbers and no entry of their
own in a table: the model adds up a vector per cell where it reads one, and says what each cell shows where it writes one
(`karel_fast.model.rows`). Programs stay as the layout has them.

Shapes: n rows of U tokens, folded into T.
"""

from __future__ import annotations

import numpy as np

from karel_fast.data.tokens.layout import Layout
from karel_fast.support.checks import whole
from karel_fast.support.row_code import MOST_TOKENS, RowCode


class Folding:
    """Rows as they are, a token per cell; and what there is to ask of any folding.

    code: how rows are numbered; None where none are. dtype: of folded rows. kept: int64 (T,), which of the U tokens have a token of
    their own in the folded ones, of cells that share one the first. vocab_size: how many vectors make up all tokens. tokens: how many
    there are. cells: that share a token.
    """

    code: RowCode | None = None
    cells = 1

    def __init__(self, layout: Layout, length: int) -> None:
        self.dtype = self.plain_dtype = np.dtype(np.uint8 if len(layout.tokens) <= 256 else np.uint16)
        self.vocab_size = self.tokens = len(layout.tokens)
        self.first_cell = layout.first_cell
        self.kept = np.arange(length)

    def fold(self, rows: np.ndarray) -> np.ndarray:
        """`dtype` (n, T) from (n, U); also the first tokens of rows, a whole prompt at least."""
        return rows

    def unfold(self, tokens: list[int]) -> list[int]:
        """The layout's tokens of some of its folded ones, in order."""
        return tokens

    def places(self, positions: np.ndarray) -> np.ndarray:
        """int64: where among the T tokens those at some of the U positions are, or are part of one."""
        return np.searchsorted(self.kept, positions, side="right") - 1

    def shown(self, tokens: np.ndarray) -> np.ndarray:
        """int64 (.., c): what the cells show whose folded tokens those are, (.., c), as numbers in `CELL_SIGNS`. Cells that share a
        token stand together, each with that token.
        """
        return tokens.astype(np.int64) - self.first_cell


class RowFolding(Folding):
    """A token per `rows_per_token` rows of a world. Below, all cells of one token are a row, even where they are two rows of the world.

    Raises ValueError for a layout whose cells stand apart, worlds whose rows are no multiple of `rows_per_token`, and more cells than
    can be numbered.
    """

    code: RowCode

    def __init__(self, layout: Layout, length: int) -> None:
        super().__init__(layout, length)
        rows = whole(f"the {layout.name} layout's rows_per_token", layout.rows_per_token, 1)
        name, height = layout.name, layout.recipe.height
        if (height - 2) % rows:
            raise ValueError(
                f"the {name} layout makes one token of {rows} rows; worlds {height} high have {height - 2} between their walls: use the "
                "rows or the compact layout"
            )
        self.code = RowCode(len(layout.tokens), rows * layout.columns, len(layout.cell_words))
        if self.code.tokens > MOST_TOKENS:
            raise ValueError(
                f"the {name} layout numbers up to {self.code.most_cells} cells by a token; worlds {layout.recipe.width} wide have "
                f"{self.code.cells} in {rows} rows: use the compact layout"
            )
        self.vocab_size, self.tokens, self.cells = self.code.columns, self.code.tokens, self.code.cells
        self.dtype = np.dtype(np.int32 if self.tokens <= 2**31 else np.int64)
        self._cells = layout.cell_positions.reshape(-1, self.cells)
        """int64 (rows of worlds, cells of one), among the U positions."""
        if (np.diff(self._cells, axis=1) != 1).any():
            raise ValueError(
                f"the {name} layout makes one token of neighbouring cells, so their tokens must stand next to each other; in its rows "
                f"of worlds they stand {layout.cell_step} apart, and rows {layout.row_step}"
            )
        self.kept = np.setdiff1d(self.kept, self._cells[:, 1:])

    def fold(self, rows: np.ndarray) -> np.ndarray:
        kept = self.kept[self.kept < rows.shape[1]]
        folded = rows[:, kept].astype(self.dtype)
        signs = rows[:, self._cells].astype(self.dtype) - self.first_cell
        folded[:, self.places(self._cells[:, 0])] = self.code.join(signs)
        return folded

    def unfold(self, tokens: list[int]) -> list[int]:
        plain: list[int] = []
        for token in tokens:
            if token < self.code.words:
                plain.append(token)
            else:
                plain += (self.first_cell + self.code.sign(token, cell) for cell in range(self.cells))
        return plain

    def shown(self, tokens: np.ndarray) -> np.ndarray:
        shared = tokens.astype(np.int64).reshape(*tokens.shape[:-1], -1, self.cells)
        return np.stack([self.code.sign(shared[..., cell], cell) for cell in range(self.cells)], -1).reshape(
            tokens.shape
        )


def folding_of(layout: Layout, length: int) -> Folding:
    """How rows of so many of the layout's tokens are folded. Raises ValueError as `RowFolding`."""
    return (Folding if layout.rows_per_token is None else RowFolding)(layout, length)
