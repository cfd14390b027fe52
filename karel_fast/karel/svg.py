"""Worlds as SVG: in the report, in notebooks and in files. Colours stand in the drawing and may be replaced by CSS classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from karel_fast.karel.language.vocabulary import ROBOT_SIGNS

CELL = 12
WALL, GROUND, MARKER, ROBOT, WAY, INK = "#5c6670", "#ffffff", "#e69f00", "#14171b", "#0072b2", "#14171b"
_ARROWS = {sign: direction for direction, sign in enumerate(ROBOT_SIGNS)}
_TRIANGLE = "M0,-4.4 3.8,3.6 0,1.7 -3.8,3.6Z"
_LABEL = f'font-family="sans-serif" font-size="8" fill="{INK}"'
_COUNT = 'font-family="sans-serif" font-size="7" text-anchor="middle"'
GAP, LABEL_ROOM = 2 * CELL, 14

WORLDS_SHOWN = 12
"""Worlds of a batch that a notebook shows."""


Drawn = tuple[str, Sequence[str], Sequence[Sequence[int]] | None]
"""The label under a world, its rows of text, and the robot's way (or None)."""


def world_svg(rows: Sequence[str], label: str, robots: Sequence[Sequence[int]] | None = None) -> str:
    """A world as SVG: walls, markers with their count, the robot as an arrow; with `robots`, their way as a line."""
    height, width = len(rows), max(map(len, rows), default=0)
    return (
        f'<svg viewBox="0 0 {width * CELL} {height * CELL}" class="world" role="img" aria-label="{escape(label)}">'
        f"{_inside(rows, robots)}</svg>"
    )


def robot_place(row: int, column: int, direction: int) -> str:
    """The transform that puts the arrow there."""
    return f"translate({column * CELL + CELL / 2:g} {row * CELL + CELL / 2:g}) rotate({90 * direction})"


def _inside(rows: Sequence[str], robots: Sequence[Sequence[int]] | None = None) -> str:
    walls, marks, robot = [], [], None
    for r, line in enumerate(rows):
        for c, cell in enumerate(line):
            if cell == "#":
                walls.append(f"M{c * CELL},{r * CELL}h{CELL}v{CELL}h-{CELL}z")
            elif cell in _ARROWS:
                robot = (r, c, _ARROWS[cell])
            elif cell.isdigit() and cell != "0":
                x, y = c * CELL + CELL / 2, r * CELL + CELL / 2
                marks.append(f'<circle cx="{x:g}" cy="{y:g}" r="4.6" class="marker" fill="{MARKER}"/>')
                if cell != "1":
                    marks.append(f'<text x="{x:g}" y="{y + 2.4:g}" class="count" {_COUNT}>{cell}</text>')
    way = ""
    if robots:
        points = " ".join(f"{c * CELL + CELL / 2:g},{r * CELL + CELL / 2:g}" for r, c, _ in robots)
        way = f'<polyline points="{points}" class="way" fill="none" stroke="{WAY}" stroke-width="1.6"/>'
        robot = tuple(robots[-1])  # type: ignore[assignment]
    arrow = ""
    if robot is not None:
        arrow = f'<path d="{_TRIANGLE}" class="robot" fill="{ROBOT}" transform="{robot_place(*robot)}"/>'
    return f'<path d="{"".join(walls)}" class="wall" fill="{WALL}"/>{way}{"".join(marks)}{arrow}'


def row_of_worlds(worlds: Iterable[Drawn], scale: float = 1.6, top: str = "") -> str:
    """Worlds side by side as one SVG of its own.

    scale: pixels of the drawing's unit; a cell is 12 units. top: a line above them.
    """
    drawn, x, tallest = [], 0, 0
    head = LABEL_ROOM if top else 0
    for label, rows, robots in worlds:
        wide, tall = CELL * len(rows[0]), CELL * len(rows)
        room = max(wide, round(4.6 * len(label)))
        drawn.append(
            f'<g transform="translate({x} {head})"><rect width="{wide}" height="{tall}" fill="{GROUND}"/>'
            f'{_inside(rows, robots)}<text x="0" y="{tall + 10}" {_LABEL}>{escape(label)}</text></g>'
        )
        x, tallest = x + room + GAP, max(tallest, tall)
    width, height = max(x - GAP, round(4.6 * len(top)), 1), tallest + LABEL_ROOM + head
    title = f'<text x="0" y="9" {_LABEL}>{escape(top)}</text>' if top else ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{scale * width:g}" '
        f'height="{scale * height:g}" style="max-width:100%">{title}{"".join(drawn)}</svg>'
    )


def stacked(svgs: Sequence[str]) -> str:
    """Drawings of `row_of_worlds` below each other, as one that stands in a file."""
    sizes = [tuple(float(size) for size in svg.split('viewBox="0 0 ', 1)[1].split('"', 1)[0].split()) for svg in svgs]
    width, y, parts = max(w for w, _ in sizes), 0.0, []
    for svg, (w, h) in zip(svgs, sizes, strict=True):
        parts.append(
            f'<svg x="0" y="{y:g}" width="{w:g}" height="{h:g}" viewBox="0 0 {w:g} {h:g}">{svg.split(">", 1)[1]}'
        )
        y += h + CELL
    height = y - CELL
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{1.6 * width:g}" '
        f'height="{1.6 * height:g}"><rect width="100%" height="100%" fill="{GROUND}"/>{"".join(parts)}</svg>\n'
    )


def wrapped(worlds: Iterable[Drawn], after: str = "") -> str:
    """HTML: worlds side by side, on as many lines as there is room for, and what comes after."""
    drawn = "".join(row_of_worlds([world]) for world in worlds)
    return f'<div><div style="display:flex;flex-wrap:wrap;gap:8px 20px">{drawn}</div>{after}</div>'


def more(count: int, shown: int, what: str) -> str:
    """A line that says that there are more; nothing if there are not."""
    return f"<p>and {count - shown:,} more {what}</p>" if count > shown else ""
