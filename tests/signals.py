"""Signals that arrive in the middle of training."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def foreground_signals() -> Iterator[None]:
    """SIGINT and SIGTERM as a command in a terminal gets them, whatever this process inherited: a background job of a
    script ignores SIGINT.
    """
    wanted = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def signal_at(step, number):
    """In place of TrainingBar.__call__: this process gets signal `number` when `step` is reported."""

    def report(self, found):
        if found.step == step:
            os.kill(os.getpid(), number)

    return report
