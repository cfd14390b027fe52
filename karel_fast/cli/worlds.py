"""Worlds on the command line: read from files or standard input, and drawn."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from karel_fast.karel.execution import Result, Trace
from karel_fast.karel.language import Action, Direction
from karel_fast.karel.status import Status
from karel_fast.karel.world import Worlds
from karel_fast.support.files import as_text

if TYPE_CHECKING:
    from rich.table import Table

Parsed = TypeVar("Parsed")
STANDARD_INPUT = "-"
ENDS = {
    Status.OK: "",
    Status.CRASHED: ": the next action is a move into a wall, or a pick from an empty cell",
    Status.STEP_LIMIT: ": it has not ended; --max-steps allows more",
    Status.MARKER_LIMIT: ": the cell holds 255 markers, and no more",
}
"""What a status says of a run."""
WIDEST = 400  # columns of two worlds of 64 cells side by side, and more


def read_worlds(name: str) -> Worlds:
    """The worlds of a file, separated by blank lines. Raises ValueError that names the input."""
    return read_named(name, lambda text: Worlds.from_text(_split_worlds(text)))


def read_named(name: str, parse: Callable[[str], Parsed]) -> Parsed:
    """What `parse` makes of a file's text, or of standard input's. Raises ValueError that names the input."""
    if name != STANDARD_INPUT:
        where, content = name, Path(name).read_bytes()
    elif sys.stdin is None:
        raise ValueError("standard input: it is closed")
    else:
        where, content = "standard input", sys.stdin.buffer.read()
    text = as_text(content, where)
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _split_worlds(text: str) -> list[str]:
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            blocks[-1].append(line.rstrip())
        elif blocks[-1]:
            blocks.append([])
    if not blocks[0]:
        raise ValueError("holds no world; write one as lines of # . and digits, with the robot as ^ > v or <")
    return ["\n".join(block) for block in blocks if block]


def draw_runs(worlds: Worlds, result: Result, steps: Trace | None = None) -> None:
    """Print each world before and after its run, and its steps where a trace is given."""
    from rich.console import Console

    from karel_fast.karel.drawing import before_and_after

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        # A file has no width: nothing is cut, whatever the terminal's beside it.
        console = Console(highlight=False, markup=False, width=WIDEST)
    for i in range(len(worlds)):
        status = Status(int(result.status[i]))
        count = int(result.steps[i])
        console.print(before_and_after(worlds[i], result.worlds[i], width=console.width))
        console.print(f"{count} step{'' if count == 1 else 's'}, {status.name}{ENDS[status]}")
        if steps is not None:
            console.print(_trace_table(steps, i))


def animate_runs(steps: Trace, seconds: float = 0.25) -> None:
    """Show all runs of a trace in the terminal, one state after the other. Raises ValueError where there is none."""
    import time

    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    from karel_fast.karel.drawing import draw

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        raise ValueError("--animate needs a terminal; --gif FILE draws the same into a file, --trace prints every step")
    longest = int(steps.steps.max(initial=0))
    with Live(console=console, auto_refresh=False) as live:
        for t in range(longest + 1):
            worlds = steps.worlds_at(t)
            done = [Action(int(code)).name.lower() for code in steps.actions[:, t - 1] if t and code >= 0]
            line = Text(f"after {t} of {longest} actions" + (f": {', '.join(dict.fromkeys(done))}" if done else ""))
            live.update(Group(*(draw(world) for world in worlds), line), refresh=True)
            time.sleep(seconds)


def _trace_table(steps: Trace, i: int) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for heading in ("step", "action", "row", "column", "facing", "markers", "clear"):
        table.add_column(heading, justify="right" if heading in {"step", "row", "column", "markers"} else "left")
    for t in range(int(steps.steps[i]) + 1):
        row, column, direction = steps.robot[i, t].tolist()
        action = Action(int(steps.actions[i, t - 1])).name.lower() if t else ""
        clear = [side for side in ("front", "left", "right") if getattr(steps, f"{side}_clear")[i, t]]
        table.add_row(
            str(t), action, str(row), str(column), Direction(direction).name.lower(), str(steps.markers_here[i, t]),
            " ".join(clear),
        )  # fmt: skip
    return table
