"""Worlds for people: rich text in colour on a terminal, the plain text of `Worlds.to_text` anywhere else."""

from __future__ import annotations

import re

from rich.table import Table
from rich.text import Text

from karel_fast.karel.language import Direction
from karel_fast.karel.world import ROBOT_SIGNS, Worlds

# Distinct in brightness as well as in hue, for readers who see few colours.
STYLES = {"[#.]+": "dim", "[1-9]+": "bold cyan", rf"[{re.escape(ROBOT_SIGNS)}]": "bold yellow"}
CHANGED_STYLE = "reverse"

GAP = 4  # columns between two worlds


def draw(world: Worlds, compared_with: Worlds | None = None) -> Text:
    """The world (a batch of one) as text with styles; its `.plain` is exactly what `to_text` gives.

    compared_with: the world before; cells that hold another number of markers since then are shown in reverse.
    """
    (plain,) = world.to_text()
    text = Text(plain, no_wrap=True)
    for signs, style in STYLES.items():
        text.highlight_regex(signs, style)
    if compared_with is not None:
        for row, column in zip(*(world.markers[0] != compared_with.markers[0]).nonzero(), strict=True):
            offset = int(row) * (world.width + 1) + int(column)
            text.stylize(CHANGED_STYLE, offset, offset + 1)
    return text


def describe_robot(world: Worlds) -> str:
    """Where the robot of this batch of one is, and how many markers it hides."""
    row, column, direction = world.robot[0].tolist()
    markers = int(world.markers[0, row, column])
    where = f"row {row}, column {column}, {Direction(direction).name.lower()}"
    return f"{where}, {markers} marker{'s' if markers != 1 else ''}"


def before_and_after(before: Worlds, after: Worlds, width: int = 80) -> Table:
    """Two batches of one, each with its robot's state under it, the cells that changed in reverse.

    They stand side by side if `width` columns hold both, else one above the other.
    """
    columns = [
        [Text("before", style="bold"), draw(before), Text(describe_robot(before), no_wrap=True)],
        [Text("after", style="bold"), draw(after, compared_with=before), Text(describe_robot(after), no_wrap=True)],
    ]
    table = Table.grid(padding=(0, GAP, 0, 0))
    if sum(max(map(_text_width, column)) + GAP for column in columns) - GAP <= width:
        for row in zip(*columns, strict=True):
            table.add_row(*row)
    else:
        for cell in columns[0] + columns[1]:
            table.add_row(cell)
    return table


def _text_width(text: Text) -> int:
    return max(len(line) for line in text.plain.split("\n"))
