"""The layouts there are, by name. `docs/extending-layouts.md` shows how to add one."""

from __future__ import annotations

from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.tokens.compact import CompactLayout
from karel_fast.data.tokens.layout import Layout
from karel_fast.data.tokens.reference import ReferenceLayout
from karel_fast.data.tokens.rows import RowPairsLayout, RowsLayout
from karel_fast.support.checks import one_of

LAYOUTS: dict[str, type[Layout]] = {
    layout.name: layout for layout in (CompactLayout, ReferenceLayout, RowsLayout, RowPairsLayout)
}


def make_layout(name: str, recipe: Recipe) -> Layout:
    """The layout of that name for a recipe's samples. ValueError, with the nearest name, if there is none."""
    return LAYOUTS[one_of("layout", name, LAYOUTS)](recipe)
