"""Where a drawn figure's numbers lie, for tooltips and for the marker that follows the page's slider of snapshots.

    {"panels": [{"box": [left, top, right, bottom], "at": [x of each step or null], "points": [[x, y, text, step's index or -1], ...]}]}

Places are in the SVG's own units (points of 1/72 inch, y down). Texts are for people.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
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

_Point = tuple[float, float, float, float, str]  # place in pixels, value, text of its interval or cell


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
        for label, xs, ys, pixels, notes in _series(ax):
            stride = max(1, len(xs) // MOST)
            for i in range(0, len(xs), stride):
                if math.isfinite(xs[i]) and math.isfinite(ys[i]) and np.isfinite(pixels[i]).all():
                    if columns:
                        index = steps.index(known[int(xs[i])]) if known[int(xs[i])] in steps else -1
                        says = f"step {known[int(xs[i])]}, {notes[i]}"
                    else:
                        index = steps.index(int(xs[i])) if at and xs[i] in steps else -1
                        where = _x_text(ax, xs[i], bool(at))
                        says = f"{label + ': ' if label else ''}{_y_text(ax, ys[i])}{notes[i]}{where}"
                    points.append([*place(*pixels[i]), says, index])
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


def _series(ax: Axes) -> Iterator[tuple[str, Sequence[float], Sequence[float], np.ndarray, Sequence[str]]]:
    """(label, x, y, places in pixels, text after each value) of everything in the axes that stands for numbers."""
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
        yield name, x, y, pixels, spans.get(line) or [""] * len(x)
    for container in ax.containers:
        if isinstance(container, BarContainer):
            x = [bar.get_x() + bar.get_width() / 2 for bar in container]
            y = [bar.get_y() + bar.get_height() for bar in container]
            label = str(container.get_label())
            yield (
                label if _named(label) else "",
                x,
                [bar.get_height() for bar in container],
                ax.transData.transform(np.column_stack([x, y])),
                [""] * len(x),
            )
    for collection in ax.collections:
        if isinstance(collection, PathCollection):
            places = np.asarray(collection.get_offsets(), float)
            x, y = places.T.tolist()
            label = str(collection.get_label())
            yield label if _named(label) else "", x, y, ax.transData.transform(places), [""] * len(x)
        elif isinstance(collection, QuadMesh):
            corners: Any = collection.get_coordinates()
            middles = (corners[:-1, :-1] + corners[1:, 1:]) / 2
            values: Any = np.ma.masked_invalid(collection.get_array()).reshape(middles.shape[:2])  # type: ignore[arg-type]
            rows = [label.get_text() for label in ax.get_yticklabels()]
            cells = [
                (c, r, f"{ax.get_ylabel()} {rows[r] if r < len(rows) else r}: {values[r, c]:.1f}")
                for r in range(values.shape[0])
                for c in range(values.shape[1])
                if values[r, c] is not np.ma.masked
            ]
            if cells:
                places = np.array([middles[r, c] for c, r, _ in cells])
                yield (
                    "",
                    [c for c, _, _ in cells],
                    [r for _, r, _ in cells],
                    ax.transData.transform(places),
                    [text for *_, text in cells],
                )


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
