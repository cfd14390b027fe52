"""Hidden states on disk: one row per action that a model wrote, kept as memory-mapped arrays.

    TABLE/table.json            what it holds, which parts are whole, and their files' checksums
    TABLE/part-00000/hidden.npy (rows, layers, D) float32
                     actions.npy (programs, L) uint8 padded with 255, lengths.npy, correct.npy, finished.npy (programs,)

Programs are appended in order, a part at a time; a part is put in place whole, then
`table.json` is replaced, so a killed writer goes on at `.programs` and never repeats or loses a program. Unless a table is
made to keep the unfinished too, only programs that ended have rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.data.sampling.symbols import PAD
from karel_fast.support.checks import one_of, whole
from karel_fast.support.checksums import FILES, check_named, sums_of
from karel_fast.support.files import read_json, remove_temporaries, write_folder, write_json

VERSION = 1
HEAD = "table.json"
MOST = 2**20  # values in a state, or actions of a program: a head that says more is damaged


class TableWriter:
    """Appends programs to a table, or goes on with one left unfinished.

    width: D. layers: what each kept layer is called, e.g. ("mean",) or (0, 1, 2). identity: what the states came from
    (snapshot, recipe, split), JSON values; going on with a table of another identity is a ValueError. unfinished: programs cut
    off at the length limit have rows too, as if they ended there.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        width: int,
        layers: Sequence[int | str],
        max_actions: int,
        identity: Mapping[str, Any],
        unfinished: bool = False,
    ) -> None:
        self.directory = Path(directory)
        self._head = {
            "version": VERSION,
            "width": width,
            "layers": list(layers),
            "max_actions": max_actions,
            "dtype": "float32",
            "identity": json.loads(json.dumps(dict(identity))),
        }
        if unfinished:
            self._head["unfinished"] = True
        self._parts: list[dict[str, int]] = []
        self._complete = False
        self._sums: dict[str, str] = {}
        head = self.directory / HEAD
        remove_temporaries(head)
        if head.exists():
            stored_head = read_json(head)
            for name, value in self._head.items():
                old = stored_head.get(name)
                if old != value:
                    if name == "identity" and isinstance(old, dict):
                        name = next(key for key in {**old, **value} if old.get(key) != value.get(key))
                        old, value = old.get(name), value.get(name)
                    raise ValueError(
                        f"{self.directory} holds a table with {name} {old!r}, not {value!r}; "
                        "choose another folder or remove it"
                    )
            self._parts = stored_head["parts"]
            self._complete = stored_head["complete"]
            self._sums = stored_head.get(FILES, {})
        else:
            self._write_head(complete=False)

    @property
    def programs(self) -> int:
        """Programs already on disk: where to go on."""
        return sum(part["programs"] for part in self._parts)

    def append(
        self, actions: np.ndarray, lengths: np.ndarray, correct: np.ndarray, finished: np.ndarray, hidden: np.ndarray
    ) -> None:
        """Write one part.

        actions (p, L') uint8 with L' at most max_actions, lengths (p,), correct and finished bool (p,),
        hidden (p, L', D) or (p, L', layers, D): the states that predicted each action.
        """
        width, layers, most = self._head["width"], len(self._head["layers"]), self._head["max_actions"]
        if hidden.ndim == 3:
            hidden = hidden[:, :, None]
        programs, columns = actions.shape
        if columns > most or hidden.shape != (programs, columns, layers, width):
            raise ValueError(
                f"actions {actions.shape} and hidden states {hidden.shape} do not fit a table of at most {most} "
                f"actions, {layers} layers and width {width}"
            )
        padded = np.full((programs, most), PAD, np.uint8)
        padded[:, :columns] = actions
        rows = np.arange(columns) < np.asarray(lengths)[:, None]
        if not self._head.get("unfinished"):
            rows &= np.asarray(finished)[:, None]
        states = np.ascontiguousarray(hidden[rows], np.float32)
        if not np.isfinite(states).all():
            raise ValueError("the hidden states hold values that are not finite; the snapshot's training has diverged")
        name = f"part-{len(self._parts):05d}"
        arrays = {
            "hidden": states,
            "actions": padded,
            "lengths": np.asarray(lengths, np.int32),
            "correct": np.asarray(correct, bool),
            "finished": np.asarray(finished, bool),
        }

        def write(folder: Path) -> None:
            for key, value in arrays.items():
                np.save(folder / f"{key}.npy", value)

        # A part put in place just before a kill, and so not yet listed, is written again.
        write_folder(self.directory / name, write)
        self._parts.append({"programs": programs, "rows": len(states)})
        self._sums |= sums_of(self.directory, (f"{name}/{key}.npy" for key in arrays))
        self._write_head(complete=False)

    def close(self) -> None:
        """Say that no program is missing. A table that says so already is left as it is: others may be reading it."""
        if not self._complete:
            self._write_head(complete=True)

    def _write_head(self, complete: bool) -> None:
        content = {**self._head, "parts": self._parts, "complete": complete, FILES: self._sums}
        write_json(self.directory / HEAD, content)


class HiddenTable:
    """A table to read. Raises FileNotFoundError when there is none, ValueError when it is unfinished or of another
    version.

    programs: count n. actions uint8 (n, L), lengths int32 (n,), correct, finished and kept (has rows) bool (n,) per program;
    `first_row` says which rows are a program's, `hidden` reads their states.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        head = self.directory / HEAD
        if not head.exists():
            raise FileNotFoundError(f"there is no table of hidden states at {self.directory}")
        values = read_json(head)
        if values.get("version") != VERSION:
            raise ValueError(
                f"{self.directory} is a table of version {values.get('version')}, this is for {VERSION}; make it anew"
            )
        try:
            complete, parts = values["complete"], list(values["parts"])
            self.width = whole("width", values["width"], 1, MOST)
            self.layers: list[int | str] = list(values["layers"])
            self.max_actions = whole("max_actions", values["max_actions"], 0, MOST)
            one_of("dtype", values["dtype"], ("float32",))
            self.identity: dict[str, Any] = dict(values["identity"])
            self._rows = [whole("rows", part["rows"], 0, MOST**2) for part in parts]
            self._programs = [whole("programs", part["programs"], 0, MOST**2) for part in parts]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{head} lacks or garbles {error}; remove {self.directory} and make it anew") from error
        if not complete:
            raise ValueError(f"the table at {self.directory} is unfinished; run the same command again to finish it")
        self.unfinished: bool = values.get("unfinished", False)
        self._head = values
        self._looked_at: set[str] = set()
        self.programs = sum(self._programs)
        self.rows = sum(self._rows)

    def _read(self, part: int, name: str) -> np.ndarray:
        """An array of a part, memory-mapped, its file compared with its checksum when it is first read.

        ValueError naming the file for one that is damaged, missing, or not of the shape that the table's head says.
        """
        programs, rows = self._programs[part], self._rows[part]
        shape, dtype = {
            "hidden": ((rows, len(self.layers), self.width), np.float32),
            "actions": ((programs, self.max_actions), np.uint8),
            "lengths": ((programs,), np.int32),
            "correct": ((programs,), np.bool_),
            "finished": ((programs,), np.bool_),
        }[name]
        file = f"part-{part:05d}/{name}.npy"
        remedy = f"remove {self.directory} and run the same command again"
        try:
            if file not in self._looked_at:
                check_named(self.directory, self._head, [file])
                self._looked_at.add(file)
            array = np.load(self.directory / file, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{self.directory / file}: cannot be read ({error}); {remedy}") from error
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"{self.directory / file}: holds {array.dtype} {array.shape}, the table {np.dtype(dtype)} {shape}; {remedy}"
            )
        return array

    def _joined(self, name: str, empty: tuple[int, ...], dtype: type) -> np.ndarray:
        parts = [np.array(self._read(part, name)) for part in range(len(self._rows))]
        return np.concatenate(parts) if parts else np.empty(empty, dtype)

    @cached_property
    def actions(self) -> np.ndarray:
        return self._joined("actions", (0, self.max_actions), np.uint8)

    @cached_property
    def lengths(self) -> np.ndarray:
        return self._joined("lengths", (0,), np.int32)

    @cached_property
    def correct(self) -> np.ndarray:
        return self._joined("correct", (0,), np.bool_)

    @cached_property
    def finished(self) -> np.ndarray:
        return self._joined("finished", (0,), np.bool_)

    @cached_property
    def kept(self) -> np.ndarray:
        return np.ones_like(self.finished) if self.unfinished else self.finished

    @cached_property
    def first_row(self) -> np.ndarray:
        """(n + 1,) each program's first row, one per action from there; last, the number of rows."""
        return np.concatenate([[0], np.cumsum(np.where(self.kept, self.lengths, 0))])

    def hidden(self, rows: np.ndarray, layer: int = 0) -> np.ndarray:
        """float32 (len(rows), D): the states of some rows at the table's `layer`-th kept layer; only these are read. Raises
        IndexError for a row that the table does not have.
        """
        rows = np.asarray(rows)
        outside = rows[(rows < 0) | (rows >= self.rows)]
        if len(outside):
            raise IndexError(f"row {outside[0]}: the table at {self.directory} has {self.rows} rows, from 0 on")
        out = np.empty((len(rows), self.width), np.float32)
        part = np.searchsorted(np.cumsum(self._rows), rows, side="right")
        starts = np.cumsum([0, *self._rows])
        for number in range(len(self._rows)):
            here = np.flatnonzero(part == number)
            if len(here):
                out[here] = self._read(number, "hidden")[rows[here] - starts[number], layer]
        return out
