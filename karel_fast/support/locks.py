"""Locks between processes, which the system gives up when a process dies however it dies."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from karel_fast.support.files import remove_temporaries


@contextmanager
def locked(path: Path, message: str | None = None, *, wait: float = 0) -> Iterator[None]:
    """Holds an exclusive lock on a file.

    With a message, BlockingIOError if another process holds it for more than `wait` seconds; without one, waits as long as
    that takes. On a file system without locks it warns and holds none.
    """
    lock = FileLock(path, timeout=wait if message else -1)
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(message) from None
    except PermissionError as error:
        # Of the folder, which the reader knows, in place of a file that is none of theirs.
        raise PermissionError(error.errno, error.strerror, str(path.parent)) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        warnings.warn(
            f"{path.parent}: its file system has no locks ({error}), so nothing keeps two processes from writing the same "
            "files there: let only one do so at a time",
            RuntimeWarning,
            stacklevel=3,
        )
    try:
        yield
    finally:
        lock.release()


@contextmanager
def alone(target: Path, *, wait: float = 0) -> Iterator[None]:
    """Keeps other processes from making the same results, by a lock beside their file, and removes what a killed one left
    half-written of it. BlockingIOError if one is still at it after `wait` seconds.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    message = f"{target}: another process is making these results: wait for it"
    with locked(target.parent / f".{target.stem}.lock", message, wait=wait):
        for suffix in (".json", ".npz", target.suffix):
            remove_temporaries(target.with_suffix(suffix))
        yield


NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What file systems answer that have no locks (NFS and Lustre without a lock service)."""
