"""Files that are whole or absent: the only writer of them, the only reader of JSON, and locks between processes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

# -- writing ----------------------------------------------------------------------------------------------------------


def write_whole(path: str | Path, write: Callable[[Path], object], tag: str | None = None) -> None:
    """Calls write(temporary path), then puts the file in place: after a crash `path` is the old file or the new one.

    The folder is made. `tag` keeps the temporary names of different writers apart; by default each process has its own.
    If writing fails the temporary file is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path, tag)
    try:
        write(temporary)
        _flush(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush_folder(path.parent)


def write_bytes(path: str | Path, content: bytes, tag: str | None = None) -> None:
    """`write_whole` for content in memory."""
    write_whole(path, lambda temporary: temporary.write_bytes(content), tag)


def write_text(path: str | Path, text: str, tag: str | None = None) -> None:
    """`write_whole` for text, in UTF-8 with line ends as they are."""
    write_bytes(path, text.encode("utf-8"), tag)


def write_json(path: str | Path, value: object, *, indent: int | None = None, tag: str | None = None) -> None:
    """`write_whole` for a JSON value. ValueError for NaN and infinity, which JSON does not have."""
    try:
        text = json.dumps(value, allow_nan=False, indent=indent)
    except ValueError as error:
        raise ValueError(f"{path}: cannot be written as JSON ({error})") from error
    write_text(path, text + "\n", tag)


def write_folder(path: str | Path, write: Callable[[Path], object]) -> None:
    """Calls write(temporary folder), then puts the folder in place, which replaces one that is there.

    After a crash `path` is the old folder, the new one or none, and never a part of either. One process at a time may
    write a folder; what a killed one left behind is removed.
    """
    path = Path(path)
    temporary, replaced = _temporary(path, "new"), _temporary(path, "old")
    for leftover in (temporary, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        write(temporary)
        for file in temporary.rglob("*"):
            if file.is_file():
                _flush(file)
        _flush_folder(temporary)
        if path.exists():
            os.replace(path, replaced)
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _flush_folder(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove_leftovers(directory: Path, tag: str) -> None:
    """Removes what a killed writer of that tag left behind; its lock must be held."""
    for path in directory.glob(f".*.{tag}.tmp"):
        path.unlink(missing_ok=True)


def _temporary(path: Path, tag: str | None) -> Path:
    return path.with_name(f".{path.name}.{tag or os.getpid()}.tmp")


def _flush(file: Path) -> None:
    with open(file, "rb+") as opened:
        os.fsync(opened.fileno())


def _flush_folder(directory: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# -- reading ----------------------------------------------------------------------------------------------------------


def read_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in a file. FileNotFoundError, or ValueError naming the file where it holds anything else."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds a JSON {type(value).__name__}, not an object")
    return value


def read_json_if_whole(path: str | Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no file, or one that is half written or something else."""
    try:
        return read_json(path)
    except (FileNotFoundError, ValueError):
        return None


# -- locking ----------------------------------------------------------------------------------------------------------


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
