"""The compact layout with a token for every row of a world, or for two: a fifth or an eighth of its tokens, and the same text."""

from __future__ import annotations

from karel_fast.data.tokens.compact import CompactLayout


class RowsLayout(CompactLayout):
    """The compact layout, read by rows."""

    name = "rows"
    rows_per_token = 1


class RowPairsLayout(CompactLayout):
    """The compact layout, read by two rows at a time."""

    name = "row-pairs"
    rows_per_token = 2
