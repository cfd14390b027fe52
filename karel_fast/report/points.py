"""Where a drawn figure's numbers lie, for tooltips and for the marker that follows the page's slider of snapshots.

    {"panels": [{"box": [left, top, right, bottom], "at": [x of each step or null], "points": [[x, y, text, step's index or -1], ...]}]}

Places are in the SVG's own units (points of 1/72 inch, y down). Texts are for people.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter

from karel_fast.report.narrow import panels_of
from karel_fast.report.plots import STEPS, as_percent

MOST = 400
"""Points of one series; more lie too close to be pointed at."""


@dataclass(frozen=True)
class _Numbers:
    """What stands for numbers in a panel: a series, or the cells of a heat map, whose x and y are columns and rows.

    pixels: (n, 2) where each is. notes: what is said after each value; of a cell, all but its column.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    pixels: np.ndarray
    notes: Sequence[str]
    cells: bool = False


def points_of(figure: Figure, steps: Sequence[int]) -> dict[str, Any]:
    """The points of a figure that has just been drawn; steps: those of the slider."""
    height = float(figure.get_figheight()) * 72
    scale = 72 / float(figure.dpi)

    def place(x: float, y: float) -> list[float]:
        return [round(scale * x, 1), round(height - scale * y, 1)]

    panels = []
    for ax in panels_of(figure):
        columns = _columns(ax)
        known = list(columns) if columns else steps
        at: list[float | None] = []
        for step in steps if _over_steps(ax) else ():
            x = columns.get(step) if columns else float(step)
            at.append(None if x is None else place(*ax.transData.transform((x, 0)))[0])
        points = []
        for numbers in _numbers(ax):
            stride = 1 if numbers.cells else max(1, len(numbers.x) // MOST)
            for i in range(0, len(numbers.x), stride):
                x, y = numbers.x[i], numbers.y[i]
                if not (math.isfinite(x) and math.isfinite(y) and np.isfinite(numbers.pixels[i]).all()):
                    continue
                step = known[int(x)] if numbers.cells and columns else int(x)
                whole = numbers.cells or x == step
                index = steps.index(step) if at and whole and step in steps else -1
                where = f", step {step}" if columns else _x_text(ax, x + 0.5 * numbers.cells, bool(at))
                said = numbers.notes[i] if numbers.cells else f"{_y_text(ax, y)}{numbers.notes[i]}"
                label = f"{numbers.label}: " if numbers.label else ""
                points.append([*place(*numbers.pixels[i]), f"{label}{said}{where}", index])
        box = ax.bbox
        panels.append({"box": place(box.x0, box.y1) + place(box.x1, box.y0), "at": at, "points": points})
    return {"panels": panels}


def _over_steps(ax: Axes) -> bool:
    siblings = [ax, *ax.get_shared_x_axes().get_siblings(ax)]
    return any(str(one.get_gid() or "").split(" ")[0] == STEPS for one in siblings)


def _columns(ax: Axes) -> dict[int, float]:
    """The middle of each step's column on a heat map's axis; {} on any other."""
    named = str(ax.get_gid() or "").split(" ")[1:]
    return {int(step): index + 0.5 for index, step in enumerate(named)}


def _numbers(ax: Axes) -> Iterator[_Numbers]:
    """Everything in the axes that stands for numbers."""
    names = {line: str(line.get_label()) for line in ax.lines}
    spans: dict[Any, list[str]] = {}
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer) and container.lines[0] is not None:
            names[container.lines[0]] = str(container.get_label())
            spans[container.lines[0]] = _spans(ax, container)
    by_colour = {to_hex(line.get_color()): name for line, name in names.items() if _named(name)}
    for line in ax.lines:
        if line.get_marker() in ("_", "|") or (not _named(names[line]) and line.get_marker() in ("None", "", None)):
            continue  # the ends of whiskers; rules
        x, y = (np.asarray(values, float).tolist() for values in line.get_data(orig=True))
        name = names[line] if _named(names[line]) else by_colour.get(to_hex(line.get_color()), "")
        pixels = line.get_transform().transform(np.column_stack([x, y])) if x else np.empty((0, 2))
        yield _Numbers(name, x, y, pixels, spans.get(line) or [""] * len(x))
    for container in ax.containers:
        if isinstance(container, BarContainer):
            x = [bar.get_x() + bar.get_width() / 2 for bar in container]
            tops = [bar.get_y() + bar.get_height() for bar in container]
            pixels = ax.transData.transform(np.column_stack([x, tops]))
            heights = [bar.get_height() for bar in container]
            yield _Numbers(_label(container), x, heights, pixels, [""] * len(x))
    for collection in ax.collections:
        if isinstance(collection, PathCollection):
            places = np.asarray(collection.get_offsets(), float)
            x, y = places.T.tolist()
            yield _Numbers(_label(collection), x, y, ax.transData.transform(places), [""] * len(x))
        elif isinstance(collection, QuadMesh):
            yield _cells(ax, collection)


def _cells(ax: Axes, mesh: QuadMesh) -> _Numbers:
    corners: Any = mesh.get_coordinates()
    middles = (corners[:-1, :-1] + corners[1:, 1:]) / 2
    values: Any = np.ma.masked_invalid(mesh.get_array()).reshape(middles.shape[:2])  # type: ignore[arg-type]
    names = [label.get_text() for label in ax.get_yticklabels()]
    rows, columns = np.nonzero(~np.ma.getmaskarray(values))
    notes = [
        f"{ax.get_ylabel()} {names[r] if r < len(names) else r}: {values[r, c]:.1f}".lstrip()
        for r, c in zip(rows, columns, strict=True)
    ]
    pixels = ax.transData.transform(middles[rows, columns]) if len(rows) else np.empty((0, 2))
    return _Numbers("", columns.tolist(), rows.tolist(), pixels, notes, cells=True)


def _label(artist: Any) -> str:
    label = str(artist.get_label())
    return label if _named(label) else ""


def _named(label: str) -> bool:
    return bool(label) and not label.startswith("_") and label != "None"


def _spans(ax: Axes, container: ErrorbarContainer) -> list[str]:
    bars = container.lines[2]
    if not bars:
        return []
    ends = [np.asarray(segment)[:, 1] for segment in bars[0].get_segments()]
    return ["" if len(both) < 2 else f" ({_y_text(ax, both[0])} to {_y_text(ax, both[1])})" for both in ends]


def _y_text(ax: Axes, value: float) -> str:
    formatter = ax.yaxis.get_major_formatter()
    unit = ax.get_ylabel() or next(
        (one.get_ylabel() for one in ax.get_shared_y_axes().get_siblings(ax) if one.get_ylabel()), ""
    )
    mark = " %" if "(%)" in unit else ""
    if getattr(formatter, "func", None) is as_percent:
        return f"{100 * value:.1f}{mark}"
    return f"{value:.1f}{mark}" if mark else f"{value:.3g}"


def _x_text(ax: Axes, value: float, over_steps: bool) -> str:
    if over_steps:
        return f", step {value:g}"
    formatter = ax.xaxis.get_major_formatter()
    if isinstance(formatter, FixedFormatter):
        ticks = ax.get_xticks()
        nearest = int(np.argmin(np.abs(np.asarray(ticks) - value)))
        said = " ".join(ax.get_xticklabels()[nearest].get_text().split())
        return f", {said}" if said else ""
    return f", {ax.get_xlabel()} {value:g}" if ax.get_xlabel() else ""
