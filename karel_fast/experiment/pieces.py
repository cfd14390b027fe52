"""An experiment in pieces: how long each took, and whether the next one fits into the minutes that a call may use.

A piece is what cannot be divided: one snapshot evaluated, one snapshot probed. (Training is one long piece that may
stop at every report.) RUN/time.json adds up the seconds of each kind over all calls and keeps the longest piece.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from karel_fast.runs.folder import TIME
from karel_fast.support.files import read_json_if_whole, write_json

MARGIN = 0.05
"""Share of the minutes that is left for ending: the state of a large model takes seconds to write."""


class OutOfTime(Exception):
    """The minutes are used up; the message says where the experiment stopped."""


class Pieces:
    """Guards and times the pieces of one call. minutes: how many it may use, counted from `started` (time.monotonic());
    None for no limit. done: how many pieces this call has finished.
    """

    def __init__(self, folder: Path, minutes: float | None = None, started: float | None = None) -> None:
        if minutes is not None and not 0 < minutes < float("inf"):
            raise ValueError(f"minutes={minutes}: use a number above 0")
        self.path = folder / TIME
        self.seconds = None if minutes is None else 60 * minutes
        self.started = time.monotonic() if started is None else started
        self.done = 0

    def fits(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return self.seconds is None or self._left() >= seconds

    @contextmanager
    def piece(self, kind: str, where: str) -> Iterator[None]:
        """Time one piece of work, or raise OutOfTime(where) before it begins, if it may not fit.

        It is taken to last as long as the longest of its kind so far, and half of all the minutes if it is the first.
        The first piece of a call is always begun: otherwise one that is longer than the minutes would never be done.
        """
        if self.seconds is not None and self.done and not self.fits(self._longest(kind) or self.seconds / 2):
            raise OutOfTime(where)
        begun = time.monotonic()
        try:
            yield
        finally:
            self._add(kind, time.monotonic() - begun)
        self.done += 1

    def _left(self) -> float:
        assert self.seconds is not None
        return self.started + (1 - MARGIN) * self.seconds - time.monotonic()

    def _longest(self, kind: str) -> float | None:
        found = self._read().get(kind)
        return None if found is None else float(found["longest"])

    def _add(self, kind: str, seconds: float) -> None:
        times = self._read()
        before = times.get(kind, {"seconds": 0.0, "longest": 0.0})
        times[kind] = {"seconds": before["seconds"] + seconds, "longest": max(before["longest"], seconds)}
        write_json(self.path, times)

    def _read(self) -> dict[str, Any]:
        return read_json_if_whole(self.path) or {}
