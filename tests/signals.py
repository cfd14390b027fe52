"""Signals that arrive in the middle of work."""

import os
import signal
import subprocess
import sys
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


@contextmanager
def started(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs `code`, once that has printed "ready". It is killed in the end."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell's background jobs ignore this signal, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
    finally:
        child.kill()


def signal_at(step, number):
    """In place of TrainingBar.__call__: this process gets signal `number` when `step` is reported."""

    def report(self, found):
        if found.step == step:
            os.kill(os.getpid(), number)

    return report
