"""Worlds: a batch of grid worlds of one size, as three arrays, to and from text.

N worlds of H x W cells. Row 0 is the top; directions are 0 north, 1 east, 2 south, 3 west. Positions in error messages
count from 0, as in the arrays.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karel_fast.karel.language.vocabulary import ROBOT_SIGNS as ROBOT_SIGNS

MIN_SIDE, MAX_SIDE = 3, 64

CELL_SIGNS = ".123456789#" + ROBOT_SIGNS
"""What a cell can show: nothing, 1 to 9 markers (9 also stands for more), a wall, the robot by its direction."""

MOST_SHOWN, WALL_SHOWN, ROBOT_SHOWN = CELL_SIGNS.index("9"), CELL_SIGNS.index("#"), CELL_SIGNS.index(ROBOT_SIGNS)

WorldText: TypeAlias = str | Sequence[str]

_NO_ROBOT = 255
# Tables over byte values: what a character of a text says about its cell.
_KNOWN = np.zeros(256, dtype=bool)
_KNOWN[list(CELL_SIGNS.encode())] = True
_MARKERS = np.zeros(256, dtype=np.uint8)
_MARKERS[ord("1") : ord("9") + 1] = np.arange(1, 10)
_DIRECTION = np.full(256, _NO_ROBOT, dtype=np.uint8)
_DIRECTION[list(ROBOT_SIGNS.encode())] = np.arange(4)


class Worlds:
    """N worlds: `walls` bool (N,H,W), `markers` uint8 (N,H,W), `robot` uint8 (N,3) holding row, column, direction.

    The arrays are copied, C-contiguous and read-only. The outer ring of every world is wall, the robot stands on a cell
    that is not, and H and W are 3 to 64. Raises TypeError for a wrong dtype and ValueError for a wrong shape or value,
    naming the world and the cell. Markers inside walls are allowed: no robot reaches them and no text shows them.

    `len(worlds)` is N; `worlds[i]` is a batch of one, `worlds[a:b]`, `worlds[indices]` and `worlds[mask]` of some.
    """

    __slots__ = ("markers", "robot", "walls")

    walls: NDArray[np.bool_]
    markers: NDArray[np.uint8]
    robot: NDArray[np.uint8]

    def __init__(self, *, walls: ArrayLike, markers: ArrayLike, robot: ArrayLike) -> None:
        arrays = (
            _array("walls", walls, np.bool_, "(worlds, height, width)", 3),
            _array("markers", markers, np.uint8, "(worlds, height, width)", 3),
            _array("robot", robot, np.uint8, "(worlds, 3)", 2),
        )
        _check_shapes(*(array.shape for array in arrays))
        _check_values(arrays[0], arrays[2])
        # A bool array made by viewing bytes may hold others than 0 and 1, which compiled code would take at face value.
        walls = np.not_equal(arrays[0].view(np.uint8), 0, order="C")
        self._keep(walls, np.array(arrays[1], order="C"), np.array(arrays[2], order="C"))

    def _keep(self, walls: NDArray, markers: NDArray, robot: NDArray) -> None:
        for array in (walls, markers, robot):
            array.flags.writeable = False
        self.walls, self.markers, self.robot = walls, markers, robot

    @classmethod
    def _trusted(cls, walls: NDArray, markers: NDArray, robot: NDArray) -> Worlds:
        """Worlds around arrays known to be right: nothing checked, nothing copied; only this view is made read-only."""
        worlds = cls.__new__(cls)
        worlds._keep(*(np.ascontiguousarray(array).view() for array in (walls, markers, robot)))
        return worlds

    @property
    def batch(self) -> int:
        """How many worlds."""
        return self.walls.shape[0]

    @property
    def height(self) -> int:
        """Rows of each world, the ring included."""
        return self.walls.shape[1]

    @property
    def width(self) -> int:
        """Columns of each world, the ring included."""
        return self.walls.shape[2]

    def __len__(self) -> int:
        return self.batch

    def __getitem__(self, index: int | slice | ArrayLike) -> Worlds:
        if isinstance(index, int | np.integer):
            position = operator.index(index)
            if not -len(self) <= position < len(self):
                raise IndexError(f"world {position} of a batch of {len(self)}")
            position %= len(self)
            index = slice(position, position + 1)
        elif not isinstance(index, slice):
            index = np.asarray(index)
            if index.ndim != 1 or index.dtype.kind not in "biu":
                if index.size:
                    raise TypeError(
                        f"worlds are indexed by one integer, a slice, or a 1-D array of integers or booleans,"
                        f" not {index.dtype} of shape {index.shape}"
                    )
                index = np.empty(0, dtype=np.intp)  # an empty list says no dtype
        return Worlds._trusted(self.walls[index], self.markers[index], self.robot[index])

    def __iter__(self) -> Iterator[Worlds]:
        return (self[position] for position in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Worlds):
            return NotImplemented
        pairs = ((self.walls, other.walls), (self.markers, other.markers), (self.robot, other.robot))
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Worlds: {self.batch} of {self.height} x {self.width}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the first worlds, drawn."""
        from karel_fast.karel.svg import WORLDS_SHOWN, more, wrapped

        shown = self[:WORLDS_SHOWN].to_text()
        drawn = ((f"world {i}", text.split("\n"), None) for i, text in enumerate(shown))
        return wrapped(drawn, more(len(self), len(shown), "worlds"))

    def __reduce__(self) -> tuple:
        return Worlds._trusted, (self.walls, self.markers, self.robot)

    @classmethod
    def concatenate(cls, batches: Iterable[Worlds]) -> Worlds:
        """One batch of all the worlds of several, which must be of one size. Raises ValueError if not, or for none."""
        batches = list(batches)
        if not batches:
            raise ValueError("there are no worlds to concatenate; give at least one batch")
        first = batches[0]
        for position, batch in enumerate(batches):
            if not isinstance(batch, Worlds):
                raise TypeError(f"batch {position} is {type(batch).__name__}, not Worlds")
            if (batch.height, batch.width) != (first.height, first.width):
                raise ValueError(
                    f"batch {position} has worlds of {batch.height} x {batch.width}, batch 0 of"
                    f" {first.height} x {first.width}; worlds of different sizes need batches of their own"
                )
        joined = [np.concatenate([getattr(b, name) for b in batches]) for name in ("walls", "markers", "robot")]
        return cls._trusted(*joined)

    @classmethod
    def from_text(cls, texts: WorldText | Iterable[WorldText]) -> Worlds:
        r"""Worlds from texts, each H lines joined by "\n" or a list of H strings; one text alone makes a batch of one.

        `#` wall, `.` empty, `1`-`9` markers, `^ > v <` the robot on an empty cell. Line breaks before and after
        a text are ignored. Raises ValueError for text that is no world, naming world, row and column.
        """
        if not isinstance(texts, Iterable):
            raise TypeError(f"texts is {type(texts).__name__}; give a list of texts")
        texts = [texts] if isinstance(texts, str) else list(texts)
        rows_of = [_rows(index, text) for index, text in enumerate(texts)]
        if not rows_of:
            raise ValueError("there are no worlds in an empty list, so their size is unknown; give at least one text")
        height, width = len(rows_of[0]), len(rows_of[0][0])
        if height == 1 and len(rows_of) > 1 and isinstance(texts[0], str):
            raise ValueError(
                "world 0 has only one row; if these strings are the rows of one world, wrap them in a list: [rows]"
            )
        for index, rows in enumerate(rows_of):
            _check_rows(index, rows, height, width)
        _check_size(height, width)
        return cls._from_characters(rows_of, (len(rows_of), height, width))

    @classmethod
    def _from_characters(cls, rows_of: list[Sequence[str]], shape: tuple[int, int, int]) -> Worlds:
        text = "".join(["".join(rows) for rows in rows_of]).encode("ascii", errors="replace")
        characters = np.frombuffer(text, dtype=np.uint8).reshape(shape)
        known = _KNOWN[characters]
        if not known.all():
            n, row, column = np.argwhere(~known)[0]
            raise ValueError(
                f"world {n}, row {row}, column {column}: unknown character {rows_of[n][row][column]!r};"
                f" use # . 1-9 and one of {' '.join(ROBOT_SIGNS)}"
            )
        directions = _DIRECTION[characters].reshape(shape[0], -1)
        here = directions != _NO_ROBOT
        robots = here.sum(axis=1)
        if (robots != 1).any():
            n = int((robots != 1).argmax())
            places = [f"row {p // shape[2]}, column {p % shape[2]}" for p in np.flatnonzero(here[n])[:4]]
            where = f" ({'; '.join(places)})" if places else ""
            count = robots[n] if places else "no"
            raise ValueError(f"world {n} has {count} robots{where}; put exactly one of {' '.join(ROBOT_SIGNS)} in it")
        place = here.argmax(axis=1)
        direction = directions[np.arange(shape[0]), place]
        robot = np.stack([place // shape[2], place % shape[2], direction], axis=1).astype(np.uint8)
        walls = characters == ord("#")
        _check_values(walls, robot)
        return cls._trusted(walls, _MARKERS[characters], robot)

    def cells(self) -> NDArray[np.uint8]:
        """uint8 (N,H,W): what each cell shows, as its place in CELL_SIGNS. The robot hides the markers under it."""
        cells = np.where(self.walls, np.uint8(WALL_SHOWN), np.minimum(self.markers, np.uint8(MOST_SHOWN)))
        cells[np.arange(len(self)), self.robot[:, 0], self.robot[:, 1]] = ROBOT_SHOWN + self.robot[:, 2]
        return cells

    def to_text(self) -> list[str]:
        r"""Each world as H lines joined by "\n". More than 9 markers show as 9, and the robot hides those under it."""
        count, height, width = self.walls.shape
        characters = np.full((count, height, width + 1), ord("\n"), dtype=np.uint8)
        characters[:, :, :-1] = np.frombuffer(CELL_SIGNS.encode(), dtype=np.uint8)[self.cells()]
        text = characters.tobytes().decode("ascii")
        length = height * (width + 1)
        return [text[start : start + length - 1] for start in range(0, count * length, length)]

    def same_text(self, other: Worlds) -> NDArray[np.bool_]:
        """bool (N,): which worlds have the same text as `other`'s, without making the texts.

        The markers under the robot and those in walls do not count, and 9 stands for more. Raises ValueError for a
        batch of another shape.
        """
        self._check_same_shape(other)
        return (self.cells() == other.cells()).all(axis=(1, 2))

    def equal(self, other: Worlds) -> NDArray[np.bool_]:
        """bool (N,): which worlds are exactly `other`'s, markers under the robot and in walls included.

        Raises ValueError for a batch of another shape.
        """
        self._check_same_shape(other)
        same = (self.walls == other.walls) & (self.markers == other.markers)
        return same.all(axis=(1, 2)) & (self.robot == other.robot).all(axis=1)

    def _check_same_shape(self, other: Worlds) -> None:
        if not isinstance(other, Worlds):
            raise TypeError(f"other is {type(other).__name__}; give Worlds")
        if self.walls.shape != other.walls.shape:
            raise ValueError(
                f"worlds of shape {self.walls.shape} and {other.walls.shape} cannot be compared one by one; "
                "give as many of the same size"
            )

    @classmethod
    def random(
        cls,
        count: int,
        height: int = 8,
        width: int = 8,
        *,
        wall_probability: float = 0.1,
        marker_probability: float = 0.1,
        seed: int,
    ) -> Worlds:
        """Random worlds, distributed as the paper's: the same `seed` and NumPy version give the same worlds.

        Each cell inside the ring is a wall with wall_probability, else holds one marker with marker_probability. The
        robot stands on a uniform cell inside the ring, cleared of wall and marker, and looks in a uniform direction.
        (Data sets draw theirs elsewhere, with a generator that is the same in every version: karel_fast.data.)
        """
        for name, value in (("wall_probability", wall_probability), ("marker_probability", marker_probability)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; give a number from 0 to 1")
        if operator.index(count) < 0:
            raise ValueError(f"count is {count}; give 0 or more")
        _check_size(operator.index(height), operator.index(width))
        rng = np.random.default_rng(seed)
        inside = rng.random((count, height - 2, width - 2))
        walls = np.ones((count, height, width), dtype=bool)
        walls[:, 1:-1, 1:-1] = inside < wall_probability
        markers = np.zeros((count, height, width), dtype=np.uint8)
        # One draw decides both: above the wall's share, the next part of it is the markers'.
        marked = inside < wall_probability + (1 - wall_probability) * marker_probability
        markers[:, 1:-1, 1:-1] = marked & ~walls[:, 1:-1, 1:-1]
        robot = rng.integers((1, 1, 0), (height - 1, width - 1, 4), size=(count, 3)).astype(np.uint8)
        standing = np.arange(count), robot[:, 0], robot[:, 1]
        walls[standing] = False
        markers[standing] = 0
        return cls._trusted(walls, markers, robot)


def _array(name: str, value: ArrayLike, dtype: type, shape: str, dimensions: int) -> NDArray:
    array = np.asarray(value)
    if array.dtype != dtype:
        if dtype == np.uint8 and array.dtype.kind in "iu" and array.size and (array.min() < 0 or array.max() > 255):
            # A cast would wrap such a value without a word.
            place = np.unravel_index(int(((array < 0) | (array > 255)).argmax()), array.shape)
            where = ", ".join(map(str, place))
            raise ValueError(f"{name}[{where}] is {array[place]}; {name} hold 0 to 255, as uint8")
        remedy = f"make it {np.dtype(dtype)}, for example with .astype(numpy.{np.dtype(dtype)})"
        raise TypeError(f"{name} is {array.dtype}; {remedy}")
    if array.ndim != dimensions:
        hint = "; one world alone is a batch of one: add an axis in front" if array.ndim == dimensions - 1 else ""
        raise ValueError(f"{name} has shape {array.shape}; make it {shape}{hint}")
    return array


def _check_shapes(walls: tuple[int, ...], markers: tuple[int, ...], robot: tuple[int, ...]) -> None:
    if markers != walls:
        raise ValueError(f"markers has shape {markers}, walls {walls}; make them the same")
    if robot != (walls[0], 3):
        raise ValueError(f"robot has shape {robot}, but there are {walls[0]} worlds; make it ({walls[0]}, 3)")
    _check_size(walls[1], walls[2])


def _check_size(height: int, width: int) -> None:
    for name, side in (("height", height), ("width", width)):
        if not MIN_SIDE <= side <= MAX_SIDE:
            kind = "small" if side < MIN_SIDE else "large"
            raise ValueError(
                f"worlds of {height} x {width} cells are too {kind}: the {name} is {side};"
                f" give {MIN_SIDE} to {MAX_SIDE}, the outer ring included"
            )


def _check_values(walls: NDArray, robot: NDArray) -> None:
    count, height, width = walls.shape
    if not (walls[:, 0].all() and walls[:, -1].all() and walls[:, :, 0].all() and walls[:, :, -1].all()):
        ring = np.ones((height, width), dtype=bool)
        ring[1:-1, 1:-1] = False
        n, row, column = np.argwhere(~walls & ring)[0]
        raise ValueError(
            f"world {n}, row {row}, column {column}: the outer ring must be all wall ('#' in text, True in walls),"
            " and this cell of it is not"
        )
    for place, (name, limit) in enumerate((("row", height), ("column", width), ("direction", 4))):
        wrong = robot[:, place] >= limit
        if wrong.any():
            n = int(wrong.argmax())
            raise ValueError(f"world {n}: the robot's {name} is {robot[n, place]}; give 0 to {limit - 1}")
    inside_wall = walls[np.arange(count), robot[:, 0], robot[:, 1]]
    if inside_wall.any():
        n = int(inside_wall.argmax())
        row, column = robot[n, :2]
        raise ValueError(
            f"world {n}, row {row}, column {column}: the robot stands in a wall; move it or clear the cell"
        )


def _rows(index: int, text: WorldText) -> Sequence[str]:
    if not isinstance(text, Iterable):
        raise TypeError(f"world {index} is {type(text).__name__}; give a string, or a list of the rows as strings")
    rows = text.strip("\r\n").splitlines() if isinstance(text, str) else list(text)
    for row, line in enumerate(rows):
        if not isinstance(line, str):
            raise TypeError(f"world {index}, row {row} is {type(line).__name__}; each row is a string")
    if not rows or not rows[0]:
        raise ValueError(f"world {index} is empty; give {MIN_SIDE} to {MAX_SIDE} rows")
    return rows


def _check_rows(index: int, rows: Sequence[str], height: int, width: int) -> None:
    own_width = len(rows[0])
    if len(rows) == height and all(len(row) == width for row in rows):
        return
    for row, line in enumerate(rows):
        if len(line) != own_width:
            raise ValueError(
                f"world {index}, row {row} has {len(line)} cells, row 0 has {own_width}; make all rows equally long"
            )
    raise ValueError(
        f"world {index} has {len(rows)} x {own_width} cells, world 0 {height} x {width};"
        " worlds of different sizes need batches of their own"
    )
