"""What notebooks show of runs, and runs as pictures in files: SVG, and an animated GIF."""

from __future__ import annotations

import io
from typing import Protocol

import numpy as np

from karel_fast.karel.drawing import describe_robot
from karel_fast.karel.language import Action
from karel_fast.karel.status import Status
from karel_fast.karel.svg import WORLDS_SHOWN, Drawn, more, row_of_worlds, stacked, wrapped
from karel_fast.karel.world import Worlds

MOST_RUNS = 3
"""Runs of a trace that a notebook shows."""

MOST_FRAMES = 300
"""States of a trace that a notebook's slider or a GIF goes through."""

MOST_PIXELS = 65_535  # of a GIF, across

PIXELS = 16  # of a cell in a GIF
_RGB = {
    "wall": (92, 102, 112), "ground": (255, 255, 255), "rule": (226, 230, 234), "marker": (230, 159, 0), "robot": (20, 23, 27),
}  # fmt: skip


class Result(Protocol):
    """The part of a `karel_fast.run` result that is drawn."""

    @property
    def worlds(self) -> Worlds: ...
    @property
    def steps(self) -> np.ndarray: ...
    @property
    def status(self) -> np.ndarray: ...


class Trace(Protocol):
    """The part of a `karel_fast.trace` result that is drawn."""

    @property
    def actions(self) -> np.ndarray: ...
    @property
    def robot(self) -> np.ndarray: ...
    @property
    def steps(self) -> np.ndarray: ...
    @property
    def status(self) -> np.ndarray: ...
    @property
    def start(self) -> Worlds: ...
    def worlds_at(self, t: int) -> Worlds: ...


def rows_of(world: Worlds) -> list[str]:
    """The rows of a batch of one."""
    return world.to_text()[0].split("\n")


def result_html(result: Result) -> str:
    """The first worlds after their runs, with how each ended."""
    shown: list[Drawn] = [
        (f"world {i}: {_ended(result.steps[i], result.status[i])}", rows_of(result.worlds[i]), None)
        for i in range(min(len(result.steps), WORLDS_SHOWN))
    ]
    return wrapped(shown, more(len(result.steps), len(shown), "runs"))


def trace_html(trace: Trace) -> str:
    """A slider over the states of the first runs. Without JavaScript the last state is seen, with the robot's way."""
    runs = min(len(trace.steps), MOST_RUNS)
    if not runs:
        return "<div></div>"
    last = min(int(trace.steps[:runs].max()), MOST_FRAMES)
    frames = []
    for t in range(last + 1):
        worlds = trace.worlds_at(t)
        row = row_of_worlds(_states(trace, worlds, t, runs), top=f"after {t} of {last} actions")
        hidden = "" if t == last else ' style="display:none"'
        frames.append(f"<div{hidden}>{row}</div>")
    choose = (
        "var f=this.nextElementSibling.children;for(var i=0;i<f.length;i++)f[i].style.display=i==this.value?'':'none'"
    )
    slider = f'<input type="range" min="0" max="{last}" value="{last}" style="width:20em" aria-label="actions" oninput="{choose}">'
    cut = "" if trace.steps[:runs].max() <= last else f"<p>The first {last} actions.</p>"
    return f"<div>{slider}<div>{''.join(frames)}</div>{cut}{more(len(trace.steps), runs, 'runs')}</div>"


def _states(trace: Trace, worlds: Worlds, t: int, runs: int) -> list[Drawn]:
    shown: list[Drawn] = []
    for i in range(runs):
        steps = int(trace.steps[i])
        if t > steps or (t == steps and steps):
            label = _ended(steps, trace.status[i])
        else:
            label = Action(int(trace.actions[i, t - 1])).name.lower() if t else "before"
        shown.append((label, rows_of(worlds[i]), trace.robot[i, : min(t, steps) + 1].tolist()))
    return shown


def run_svg(before: Worlds, result: Result, trace: Trace | None = None) -> str:
    """Every run as a row: the world before and after, with the robot's way where there is a trace. An SVG file's text.
    ValueError for no runs.
    """
    if not len(before):
        raise ValueError("there is no run to draw")
    rows = []
    for i in range(len(before)):
        way = None if trace is None else trace.robot[i, : int(trace.steps[i]) + 1].tolist()
        after = f"after: {describe_robot(result.worlds[i])}"
        rows.append(
            row_of_worlds(
                [
                    (f"before: {describe_robot(before[i])}", rows_of(before[i]), None),
                    (after, rows_of(result.worlds[i]), way),
                ],
                top=f"world {i}: {_ended(result.steps[i], result.status[i])}",
            )
        )
    return stacked(rows)


def run_gif(trace: Trace, seconds: float = 0.3) -> bytes:
    """All runs of a trace side by side as an animated GIF, a frame for each state; the last one stays a while. It needs Pillow.

    ValueError for no runs, for more than MOST_FRAMES states, or for more than MOST_PIXELS across.
    """
    from PIL import Image, ImageDraw

    if not len(trace.steps):
        raise ValueError("there is no run to draw")
    last = int(trace.steps.max(initial=0))
    if last >= MOST_FRAMES:
        raise ValueError(f"the runs take {last} actions; a GIF holds at most {MOST_FRAMES - 1}: give a lower max_steps")
    across = (len(trace.start) * (trace.start.width + 1) - 1) * PIXELS
    if across > MOST_PIXELS:
        raise ValueError(
            f"the worlds side by side are {across} pixels wide; a GIF holds at most {MOST_PIXELS}: give fewer"
        )
    frames = []
    for t in range(last + 1):
        worlds = trace.worlds_at(t)
        image = Image.fromarray(frame(worlds))
        draw = ImageDraw.Draw(image)
        for i, row, column in np.argwhere((worlds.markers > 1) & ~worlds.walls):
            if (row, column) != tuple(worlds.robot[i, :2]):
                x = (i * (worlds.width + 1) + column + 0.5) * PIXELS
                draw.text(
                    (x, (row + 0.5) * PIXELS), str(worlds.markers[i, row, column]), fill=_RGB["robot"], anchor="mm"
                )
        frames.append(image)
    times = [round(1000 * seconds)] * last + [round(3000 * seconds)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return out.getvalue()


def frame(worlds: Worlds, pixels: int = PIXELS) -> np.ndarray:
    """uint8 (height, width, 3): the worlds of a batch side by side, a cell apart, `pixels` a cell."""
    tiles = []
    for i in range(len(worlds)):
        if i:
            tiles.append(np.full((worlds.height * pixels, pixels, 3), 255, np.uint8))
        tiles.append(_tile(worlds, i, pixels))
    return np.concatenate(tiles, axis=1)


def _tile(worlds: Worlds, i: int, pixels: int) -> np.ndarray:
    y, x = (np.mgrid[:pixels, :pixels] + 0.5) / pixels - 0.5  # of a pixel, from its cell's middle
    edge = np.arange(pixels) == pixels - 1
    blank = np.where((edge[:, None] | edge)[..., None], _RGB["rule"], _RGB["ground"]).astype(np.uint8)
    marked = np.where((y**2 + x**2 < 0.36**2)[..., None], _RGB["marker"], blank).astype(np.uint8)
    wall = np.broadcast_to(np.array(_RGB["wall"], np.uint8), (pixels, pixels, 3))
    cells = np.where(worlds.walls[i], 2, np.minimum(worlds.markers[i], 1))
    tile = np.stack([blank, marked, wall])[cells].transpose(0, 2, 1, 3, 4)
    tile = tile.reshape(worlds.height * pixels, worlds.width * pixels, 3)
    row, column, direction = (int(value) for value in worlds.robot[i])
    # An arrow that looks north: between two slanted sides, with a notch below; turned by quarters, clockwise.
    arrow = (np.abs(x) < 0.32 * (y + 0.38) / 0.7) & (y < 0.32) & (y < 0.1 + 0.7 * np.abs(x) + 0.05)
    here = np.rot90(arrow, -direction)
    tile[row * pixels : (row + 1) * pixels, column * pixels : (column + 1) * pixels][here] = _RGB["robot"]
    return tile


def _ended(steps: int, status: int) -> str:
    name = Status(int(status)).name
    return f"{int(steps)} step{'' if steps == 1 else 's'}, {name}"
