"""Sums by the place of an action in its program, kept beside a snapshot's records: where in a program states are read well.

A place is (before, after): how many actions of the program stand before the one that the hidden state predicted, and how
many after it. Sums over one of the two give the measures by distance from the start, over the other by distance from the end.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.probing.measures import SUMS, stored_kinds

SIDES = ("start", "end")
"""What the distance of an action is counted from."""

_PREFIX = "place_"


@dataclass(frozen=True)
class Places:
    """places: int16 (P, 2), actions before and after, in ascending order. sums: each of `SUMS`, (records, P)."""

    places: np.ndarray
    sums: Mapping[str, np.ndarray]

    def by_distance(self, side: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Distances (K,) from the program's "start" or "end", 0 for its first or last action, and the sums (records, K)."""
        distances, group = np.unique(self.places[:, SIDES.index(side)], return_inverse=True)
        member = (group.reshape(-1)[:, None] == np.arange(len(distances))).astype(np.float64)
        return distances, {name: self.sums[name] @ member for name in SUMS}


def place_sums(tallies: Sequence[Any], before: np.ndarray, after: np.ndarray) -> Places:
    """The tallies (None: sums of zero) summed over rows of equal place; before, after: (test rows,)."""
    pairs = np.stack([before, after], 1).astype(np.int16).reshape(-1, 2)
    places, of_row = np.unique(pairs, axis=0, return_inverse=True)
    of_row = of_row.reshape(-1)
    sums = {name: np.zeros((len(tallies), len(places))) for name in SUMS}
    for index, tally in enumerate(tallies):
        if tally is not None:
            for name in SUMS:
                sums[name][index] = np.bincount(of_row, getattr(tally, name), len(places))
    return Places(places, sums)


def place_arrays(places: Places, exact: bool = False) -> dict[str, np.ndarray]:
    """What is stored of them, by array name; see `stored_kinds`."""
    kinds = stored_kinds(exact)
    return {"places": places.places, **{_PREFIX + name: places.sums[name].astype(kinds[name]) for name in SUMS}}


def read_places(path: Path) -> Places | None:
    """Those of a file of sums; None where there is no whole file, or one from before places were kept."""
    try:
        with open(path, "rb") as file, np.load(file) as arrays:
            places = arrays["places"]
            if places.ndim != 2 or places.shape[1] != len(SIDES) or not np.issubdtype(places.dtype, np.integer):
                return None
            return Places(places, read_sums(arrays, len(places), _PREFIX))
    except UNREADABLE:
        return None


UNREADABLE = (OSError, KeyError, TypeError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)
"""What reading a file of arrays may raise where somebody changed it."""


def read_sums(arrays: Mapping[str, np.ndarray], columns: int, prefix: str = "") -> dict[str, np.ndarray]:
    """Each of `SUMS`, float64 (records, columns). ValueError where they are of other shapes, KeyError where one is missing."""
    sums = {name: arrays[prefix + name].astype(np.float64) for name in SUMS}
    shapes = {values.shape for values in sums.values()}
    if len(shapes) != 1 or (shape := shapes.pop())[1:] != (columns,) or len(shape) != 2:
        raise ValueError(f"the sums have other shapes than (records, {columns})")
    return sums
