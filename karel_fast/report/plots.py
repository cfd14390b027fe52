"""What a figure is, and the parts every figure is drawn from.

Bands and whiskers span the lowest and highest seed; lines and bars are means over seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from karel_fast.analysis.names import DEPTH_TITLES as DEPTH_TITLES
from karel_fast.analysis.names import TITLES as TITLES
from karel_fast.analysis.series import Run
from karel_fast.report.style import INK, PALETTE, look, new_figure

Row = tuple[object, ...]


@dataclass(frozen=True)
class Plot:
    """One figure: a file name, a title, a caption, its table, and the drawing; or why there is none."""

    name: str
    title: str
    caption: str
    columns: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    figure: Figure | None = None
    missing: str = ""


def drawn(plot: Plot, figure: Figure, columns: Sequence[str], rows: Sequence[Row]) -> Plot:
    return Plot(plot.name, plot.title, plot.caption, tuple(columns), tuple(rows), figure)


def undrawn(plot: Plot, why: str) -> Plot:
    return Plot(plot.name, plot.title, plot.caption, missing=why)


def panels(count: int, height: float = 3.1) -> tuple[Figure, list[Axes]]:
    columns = min(3, max(1, count))
    rows = -(-count // columns)
    figure, axes = new_figure(9, height * rows, rows, columns, sharey=True)
    for ax in axes[count:]:
        ax.set_visible(False)
    return figure, axes


LETTERS_PER_INCH, HANDLE_LETTERS = 13, 7
"""How wide legends are: letters of theirs in an inch, and in place of a handle with its gaps."""


def gaps(values: Sequence[float | None]) -> list[float]:
    """None as matplotlib's gap."""
    return [np.nan if v is None else v for v in values]


def extents(middles: Sequence[float], values: Sequence[Sequence[float | None]]) -> list[list[float]]:
    """Lengths from each middle down to its lowest value and up to its highest; rounding never makes one negative. NaN, of which no
    bar is drawn, where a value is missing.
    """
    below, above = [], []
    for middle, ends in zip(middles, values, strict=True):
        known = [end for end in ends if end is not None]
        whole = len(known) == len(ends)
        below.append(max(0.0, middle - min(known)) if whole else np.nan)
        above.append(max(0.0, max(known) - middle) if whole else np.nan)
    return [below, above]


def summary(values: Sequence[float]) -> tuple[float | None, float | None, float | None, int]:
    """Mean, lowest, highest, how many."""
    if not values:
        return None, None, None, 0
    return sum(values) / len(values), min(values), max(values), len(values)


def curve(ax: Axes, x: Sequence[int], values: Sequence[float | None], label: str, index: int | None) -> None:
    """A series; without an index it is the reference that others are seen against, in ink."""
    known = [(a, b) for a, b in zip(x, values, strict=True) if b is not None]
    if not known:
        return
    style: dict[str, Any] = {"color": INK, "linestyle": "-", "linewidth": 1.1} if index is None else look(index)
    ax.plot(*zip(*known, strict=True), label=label, **style)


def band(ax: Axes, x: Sequence[int], seeds: Sequence[Sequence[float]], label: str, index: int) -> None:
    known = [(a, v) for a, v in zip(x, seeds, strict=True) if v]
    if not known:
        return
    at = [a for a, _ in known]
    ax.plot(at, [sum(v) / len(v) for _, v in known], label=label, **look(index))
    color = str(look(index)["color"])
    ax.fill_between(at, [min(v) for _, v in known], [max(v) for _, v in known], color=color, alpha=0.2, lw=0)


def whiskers(
    ax: Axes, x: Sequence[int], seeds: Sequence[Sequence[float]], label: str, index: int, shift: float
) -> None:
    known = [(a + shift, v) for a, v in zip(x, seeds, strict=True) if v]
    if not known:
        return
    middle = [sum(v) / len(v) for _, v in known]
    ax.errorbar(
        [a for a, _ in known],
        middle,
        yerr=extents(middle, [v for _, v in known]),
        capsize=2,
        label=label,
        **look(index),
    )


def as_percent(value: float, _: object = None) -> str:
    """A share as a percentage with the decimals it needs: rounded ticks of a narrow axis would repeat or mislead."""
    return f"{round(100 * value, 2):g}".replace("-", "−")


def percent(ax: Axes, full: bool = True) -> None:
    ax.yaxis.set_major_formatter(as_percent)
    if full:
        ax.set_ylim(-0.02, 1.02)


def logarithmic(ax: Axes) -> None:
    """A logarithmic axis with plain numbers on it: 2, 3, 5, 10, 20, .."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_locator(NullLocator())


STEPS = "steps"
"""The group id of axes whose x is the training step; that of a heat map's names the steps of its columns after it."""


def step_axis(ax: Axes) -> None:
    ax.set_gid(STEPS)
    ax.set_xlabel("training step")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(lambda value, _: short(int(value)))


def step_columns(ax: Axes, steps: Sequence[int]) -> None:
    """The axis of a heat map with a column per step, each one wide; as many are named as there is room for."""
    ax.set_gid(" ".join([STEPS, *map(str, steps)]))
    ax.set_xlabel("training step")
    shown = np.unique(np.linspace(0, len(steps) - 1, min(5, len(steps))).astype(int))
    ax.set_xticks(shown + 0.5, [short(steps[i]) for i in shown])


def short(step: int) -> str:
    return f"{step / 1000:g}k" if step >= 10_000 else str(step)


def shade(ax: Axes, run: Run, syntax: int | None, semantics: int | None) -> None:
    start, end = run.steps[0], run.steps[-1]
    edges = [start, syntax if syntax is not None else end, semantics if semantics is not None else end, end]
    for index, (left, right) in enumerate(itertools.pairwise(edges)):
        if right > left:
            ax.axvspan(left, right, color=PALETTE[(5, 4, 2)[index]], alpha=0.13, lw=0, zorder=0)
            ax.annotate(
                ("babbling", "syntax", "semantics")[index],
                ((left + right) / 2, 1.0),
                xycoords=ax.get_xaxis_transform(),
                # Of a short phase in between, the name is wider than its band.
                xytext=(0, 8 if index == 1 else 0),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7.5,
            )


def legend(ax: Axes) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best")


def shared_legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        # A column is as wide as its longest label and a handle; together they must fit into the figure.
        fits = int(figure.get_figwidth() * LETTERS_PER_INCH / (max(map(len, labels)) + HANDLE_LETTERS))
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, min(5, len(labels), fits)))


def p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
