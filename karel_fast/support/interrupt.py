"""Ctrl-C and SIGTERM, a batch system's notice, as a wish to stop: training ends at the next report with its state saved."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any


class StopSignals:
    """Within it the first SIGINT or SIGTERM only sets `asked`; the next one does what it did before.

    A signal that the process ignores stays ignored. Only the main thread may receive signals; elsewhere this does nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._ask) or signal.SIG_DFL
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._restore()
        # Not print: the signal may have come in the middle of one.
        os.write(2, b"\nstopping at the next report, with the state saved; a second signal stops at once\n")
