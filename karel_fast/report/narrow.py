"""A figure drawn again for a narrow page: its panels one under the other, so that their labels stay legible."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from karel_fast.report.plots import HANDLE_LETTERS, LETTERS_PER_INCH
from karel_fast.report.style import INK

WIDTH = 3.8
"""Inches; on a phone's 350 pixels, letters of 9 points are about 11 pixels high."""
HIGHEST = 2.9


def panels_of(figure: Figure) -> list[Axes]:
    """The visible axes that hold data: not those of colour bars."""
    return [ax for ax in figure.axes if ax.get_visible() and not hasattr(ax, "_colorbar")]


def stack(figure: Figure) -> None:
    """Lay the figure's panels out in one column; each gets the tick labels and axis labels that it shared. Changes the figure."""
    shown = panels_of(figure)
    for ax in figure.axes:
        if not ax.get_visible():
            ax.remove()
    rows = max((spec.rowspan.stop for ax in shown if (spec := ax.get_subplotspec()) is not None), default=1)
    height = min(HIGHEST, float(figure.get_figheight()) / rows)
    _label(shown)
    bars = [(ax._colorbar, ax.get_ylabel()) for ax in figure.axes if hasattr(ax, "_colorbar")]
    for bar, _ in bars:
        bar.remove()
    grid = GridSpec(len(shown), 1, figure)
    for index, ax in enumerate(shown):
        ax.set_subplotspec(grid[index, 0])
    for bar, label in bars:
        below = figure.colorbar(bar.mappable, ax=shown, location="bottom", pad=0.01, aspect=40)
        below.set_label(label)
        below.outline.set_edgecolor(INK)
    lines = 0
    for legend in figure.legends:
        labels = [text.get_text() for text in legend.get_texts()]
        columns = max(1, int(WIDTH * LETTERS_PER_INCH / (max(map(len, labels)) + HANDLE_LETTERS)))
        legend.set_ncols(columns)
        lines += -(-len(labels) // columns)
    figure.set_size_inches(WIDTH, height * len(shown) + 0.2 * lines)


def _label(shown: list[Axes]) -> None:
    """Give every panel what only the first of its row or the last of its column had."""
    places = [(spec.rowspan.start, spec.colspan.start) for ax in shown if (spec := ax.get_subplotspec()) is not None]
    across = {
        row: ax.get_ylabel() for ax, (row, _) in reversed(list(zip(shown, places, strict=True))) if ax.get_ylabel()
    }
    below = {column: ax.get_xlabel() for ax, (_, column) in zip(shown, places, strict=True) if ax.get_xlabel()}
    titles = {column: ax.get_title(loc="left") for ax, (_, column) in reversed(list(zip(shown, places, strict=True)))}
    for ax, (row, column) in zip(shown, places, strict=True):
        ax.tick_params(labelleft=True, labelbottom=True)
        ax.set_ylabel(ax.get_ylabel() or across.get(row, ""))
        ax.set_xlabel(ax.get_xlabel() or below.get(column, ""))
        if not ax.get_title(loc="left") and titles.get(column):
            ax.set_title(titles[column])
