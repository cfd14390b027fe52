"""Files that are whole or absent, and locks between processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def write_whole(path: Path, tag: str, write: Callable[[Path], object]) -> None:
    """Calls write(temporary path), then puts the file in place: after a crash `path` is the old file or the new one.

    `tag` keeps the temporary names of different writers apart. If writing fails the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{tag}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def write_text_whole(path: Path, text: str, tag: str = "new") -> None:
    """`write_whole` for a short text."""
    write_whole(path, tag, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def remove_leftovers(directory: Path, tag: str) -> None:
    """Removes what a killed writer of that tag left behind; its lock must be held."""
    for path in directory.glob(f".*.{tag}.tmp"):
        path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, message: str | None = None) -> Iterator[None]:
    """Holds an exclusive lock on a file, which the system gives up when the process dies however it dies.

    With a message, BlockingIOError at once if another process holds it; without one, waits.
    """
    lock = FileLock(path, timeout=0 if message else -1)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(message) from None
    try:
        yield
    finally:
        lock.release()


def _sync_directory(directory: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
