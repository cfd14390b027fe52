"""The MSR Karel data set's JSON lines in and out, as bunelr/GandRL_for_NPS reads them (Bunel et al., ICLR 2018).

A line is {"program_tokens": [..], "examples": [{"inpgrid_tensor": "..", "outgrid_tensor": ".."}, ..]}. A grid is a sparse tensor
of 16 channels x 18 rows x 18 columns, written as the places of its ones, "place:1.0" (nps/data.py). Its rows count *from the bottom*,
and row and column 0 are the ring (karel/world.py, toPytorchTensor):

    0-3     the robot, facing north, east, south, west
    4       blocked cells
    5       the ring around the world, whose size is known by it
    6-15    cells with 1 to 10 markers

Programs there crash on a blocked move and on a pick from an empty cell: run them with on_error="crash".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.data.sampling.generation import generate
from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.storage.jsonl import json_rows
from karel_fast.karel.execution import check
from karel_fast.karel.language import Program, parse, resolve_semantics, to_source
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import InputError, whole
from karel_fast.support.files import write_whole

CHANNELS, SIDE = 16, 18
BLOCKED, RING, FIRST_MARKER = 4, 5, 6
MOST_MARKERS, MOST_SIDE = CHANNELS - FIRST_MARKER, SIDE - 2
DRAWN_TOGETHER = 20_000
LEAST_SHARE = 1000  # one in so many samples must be allowed


@dataclass(frozen=True, eq=False)
class MsrRecords:
    """n programs and E examples of each: `inputs` and `outputs` of batch n * E, example-minor.

    Worlds there have sizes of their own; here all have 18 x 18 cells, the ring included. A smaller one stands in the lower left
    corner, with wall around, which no program can tell from its own. sizes: int (n * E, 2), rows and columns inside the ring.
    """

    programs: list[Program]
    inputs: Worlds
    outputs: Worlds
    sizes: np.ndarray

    @property
    def examples(self) -> int:
        """E: worlds of each program."""
        return len(self.inputs) // len(self.programs)


def read_msr(path: str | Path, *, most: int | None = None) -> MsrRecords:
    """The records of a file (gzip's, too), or its first `most`. ValueError, naming the line, for one that cannot be read, or holds
    another number of examples than the first.
    """
    path = Path(path)
    if most is not None:
        whole("most", most, 1)
    programs: list[Program] = []
    grids: list[np.ndarray] = []
    lines: list[int] = []
    examples = None
    for line, record in islice(json_rows(path), most):
        where = f"{path}, line {line}"
        try:
            programs.append(parse(" ".join(record["program_tokens"])))
            found = [
                grid_of(example[name])
                for example in record["examples"]
                for name in ("inpgrid_tensor", "outgrid_tensor")
            ]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{where}: a record has program_tokens, and examples with inpgrid_tensor and outgrid_tensor"
            ) from error
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
        if not found or len(found) != (examples or len(found)):
            raise InputError(f"{where}: {len(found) // 2} examples; give every record as many, at least one")
        examples = len(found)
        grids += found
        lines.append(line)
    if not programs:
        raise InputError(f"{path} holds no records")
    try:
        worlds, sizes = worlds_of(np.stack(grids))
    except GridError as error:
        raise InputError(f"{path}, line {lines[error.number // (examples or 2)]}: {error}") from error
    if (sizes[::2] != sizes[1::2]).any():
        number = int((sizes[::2] != sizes[1::2]).any(axis=1).argmax()) * 2 // (examples or 2)
        raise InputError(f"{path}, line {lines[number]}: an output of another size than its input")
    return MsrRecords(programs, worlds[::2], worlds[1::2], sizes[::2])


def write_msr(
    path: str | Path,
    programs: Sequence[Program | str],
    inputs: Worlds,
    outputs: Worlds,
    sizes: np.ndarray | None = None,
) -> None:
    """Write programs and their examples, E = len(inputs) / len(programs) of each, as the data set has them.

    sizes: rows and columns inside the ring of each world that is smaller than its batch's, as `read_msr` gives them. The file is put
    in place when it is complete. InputError for worlds of more than 16 x 16 inner cells or with more than 10 markers in a cell,
    for free cells outside a world's size, and for outputs of another size than their inputs. Whether the programs make the outputs is
    not looked at: under the data set's rule a blocked move and a pick of nothing end a run (`kf.check(.., on_error="crash")`).
    `msr_samples` gives samples that it allows.
    """
    if not programs or len(inputs) != len(outputs) or len(inputs) % len(programs) or not len(inputs):
        raise InputError(
            f"{len(programs)} programs, {len(inputs)} inputs and {len(outputs)} outputs: give each program as many"
        )
    if (inputs.height, inputs.width) != (outputs.height, outputs.width):
        raise InputError(
            f"inputs of {inputs.height} x {inputs.width} cells and outputs of {outputs.height} x {outputs.width}: a program changes no "
            "world's size"
        )
    count = len(inputs) // len(programs)
    parsed = [parse(program) if isinstance(program, str) else program for program in programs]
    texts = [tensors_of(worlds, sizes) for worlds in (inputs, outputs)]

    def write(temporary: Path) -> None:
        with open(temporary, "w", encoding="utf-8") as file:
            for i, program in enumerate(parsed):
                record: dict[str, Any] = {"guid": str(i), "program_tokens": to_source(program, syntax="tokens").split()}
                record["examples"] = [
                    {"example_index": k, "inpgrid_tensor": texts[0][at], "outgrid_tensor": texts[1][at]}
                    for k, at in enumerate(range(i * count, (i + 1) * count))
                ]
                file.write(json.dumps(record, separators=(",", ":")) + "\n")

    write_whole(path, write)


def msr_samples(
    recipe: Recipe, split: str, start: int, count: int, *, backend: str | None = None, threads: int | None = None
) -> tuple[list[Program], Worlds, Worlds]:
    """Programs, inputs and outputs of the first `count` samples from `start` on that the data set's rule allows: no run is ended by a
    blocked move or a pick of nothing, and no cell has more than MOST_MARKERS markers.

    InputError for a recipe of another meaning, which no record could say, and where fewer than one sample in LEAST_SHARE is allowed.
    """
    if recipe.semantics != resolve_semantics("original"):
        raise InputError(
            "a record of the MSR data set has no meaning but the plain one; leave semantics out of the recipe"
        )
    programs: list[Program] = []
    worlds: tuple[list[Worlds], list[Worlds]] = [], []
    drawn = 0
    while len(programs) < count:
        if drawn >= LEAST_SHARE * (len(programs) + 1):
            raise InputError(
                f"of {drawn} samples {len(programs)} go through without a blocked move or a pick of nothing, and with at most "
                f"{MOST_MARKERS} markers in a cell, as the MSR data set demands: give shorter programs, or a lower marker_probability"
            )
        samples = generate(recipe, split, start + drawn, DRAWN_TOGETHER, backend=backend, threads=threads)
        drawn += DRAWN_TOGETHER
        right = check(samples.compiled, samples.inputs, samples.outputs, max_steps=recipe.step_limit, on_error="crash")
        for side in (samples.inputs, samples.outputs):
            right &= (side.markers <= MOST_MARKERS).all(axis=(1, 2))
        each = recipe.worlds_per_sample
        chosen = np.flatnonzero(right.reshape(-1, each).all(axis=1))[: count - len(programs)]
        programs += [samples.programs[i] for i in chosen]
        rows = (chosen[:, None] * each + np.arange(each)).ravel()
        worlds[0].append(samples.inputs[rows])
        worlds[1].append(samples.outputs[rows])
    return programs, Worlds.concatenate(worlds[0]), Worlds.concatenate(worlds[1])


class GridError(ValueError):
    """A grid that is no world. number: which one, from 0."""

    def __init__(self, number: int, says: str) -> None:
        super().__init__(says)
        self.number = number


def grid_of(text: str) -> np.ndarray:
    """bool (16, 18, 18) of "place:1.0 place:1.0 ..". ValueError for text that is none."""
    grid = np.zeros(CHANNELS * SIDE * SIDE, bool)
    for word in text.split():
        place, colon, value = word.partition(":")
        if not (colon and place.isdecimal() and int(place) < grid.size and value in ("1.0", "1")):
            raise ValueError(f"{word!r} is no place of a grid; write it as 0:1.0 to {grid.size - 1}:1.0")
        grid[int(place)] = True
    return grid.reshape(CHANNELS, SIDE, SIDE)


def worlds_of(grids: np.ndarray) -> tuple[Worlds, np.ndarray]:
    """Worlds of bool grids (N, 16, 18, 18), and their sizes int64 (N, 2). GridError for one that is no world."""
    ring = grids[:, RING]
    # The ring's left edge and lower edge, counted from the corner, are two longer than the world.
    rows, columns = (np.cumprod(edge, axis=1).sum(axis=1) - 2 for edge in (ring[:, :, 0], ring[:, 0, :]))
    robots = grids[:, :4].reshape(len(grids), -1)
    _refuse(
        (rows < 1) | (columns < 1) | (robots.sum(axis=1) != 1),
        "a grid has a ring around its world (channel 5) and one robot (channels 0-3)",
    )
    at = np.arange(SIDE)
    inside = ((at >= 1) & (at <= rows[:, None]))[:, :, None] & ((at >= 1) & (at <= columns[:, None]))[:, None, :]
    walls = ~inside | grids[:, BLOCKED]
    markers = (grids[:, FIRST_MARKER:] * np.arange(1, MOST_MARKERS + 1, dtype=np.uint8)[:, None, None]).max(axis=1)
    direction, row, column = np.unravel_index(robots.argmax(axis=1), (4, SIDE, SIDE))
    _refuse(walls[np.arange(len(walls)), row, column], "the robot stands in the ring, outside it or in a blocked cell")
    robot = np.stack([SIDE - 1 - row, column, direction], axis=1).astype(np.uint8)
    worlds = Worlds(walls=walls[:, ::-1], markers=markers[:, ::-1].astype(np.uint8), robot=robot)
    return worlds, np.stack([rows, columns], axis=1)


def _refuse(wrong: np.ndarray, says: str) -> None:
    if wrong.any():
        raise GridError(int(wrong.argmax()), says)


def tensors_of(worlds: Worlds, sizes: np.ndarray | None = None) -> list[str]:
    """Each world as the places of its ones. sizes: as for `write_msr`, whose errors it has."""
    inner = np.array([worlds.height - 2, worlds.width - 2])
    sizes = np.broadcast_to(inner, (len(worlds), 2)) if sizes is None else np.asarray(sizes)
    if sizes.shape != (len(worlds), 2) or sizes.dtype.kind not in "iu" or (sizes < 1).any() or (sizes > inner).any():
        raise InputError(
            f"sizes are {sizes.dtype} of shape {sizes.shape}; give rows and columns inside the ring for each of {len(worlds)} worlds"
        )
    up = np.arange(worlds.height)[::-1] - 1  # rows are counted from the bottom
    across = np.arange(worlds.width) - 1
    inside = (up < sizes[:, :1])[:, :, None] & (across < sizes[:, 1:])[:, None, :]
    if (~worlds.walls & ~inside).any():
        number = int((~worlds.walls & ~inside).any(axis=(1, 2)).argmax())
        rows, columns = sizes[number].tolist()
        raise InputError(
            f"world {number} has free cells outside the {rows} x {columns} cells of its size, which would be lost: give its whole size"
        )
    if (sizes > MOST_SIDE).any():
        raise InputError(
            f"worlds of {worlds.height} x {worlds.width} cells; the data set's have at most {SIDE} x {SIDE}, with the ring"
        )
    standing = ~worlds.walls
    many = (np.where(standing, worlds.markers, 0) > MOST_MARKERS).any(axis=(1, 2))
    if many.any():
        raise InputError(
            f"world {int(many.argmax())} has a cell with more than {MOST_MARKERS} markers, which the data set cannot hold"
        )
    return [_tensor(*arrays) for arrays in zip(worlds.walls, worlds.markers, worlds.robot, sizes, strict=True)]


def _tensor(walls: np.ndarray, markers: np.ndarray, robot: np.ndarray, size: Iterable[int]) -> str:
    rows, columns = size
    height = len(walls)
    grid = np.zeros((CHANNELS, SIDE, SIDE), bool)
    # The world stands in the lower left corner of its batch's cells.
    cells = slice(height - 1 - rows, height - 1), slice(1, 1 + columns)
    inside = (slice(1, 1 + rows), slice(1, 1 + columns))
    blocked, held = walls[cells][::-1], markers[cells][::-1]
    grid[(BLOCKED, *inside)] = blocked
    grid[RING, : rows + 2, [0, columns + 1]] = True
    grid[RING, [0, rows + 1], : columns + 2] = True
    for number in range(1, MOST_MARKERS + 1):
        grid[(FIRST_MARKER + number - 1, *inside)] = (held == number) & ~blocked
    row, column, direction = (int(value) for value in robot)
    grid[direction, height - 1 - row, column] = True
    return " ".join(f"{place}:1.0" for place in np.flatnonzero(grid))
