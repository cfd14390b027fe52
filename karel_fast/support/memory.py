"""Keep freed memory in the process while a loop runs: what one turn frees, the next one needs again.

glibc gives large blocks back to the system as soon as they are freed, and every page of a new one costs a fault, which
took 6 to 17 % of a training step on a CPU (benchmarks/NOTES.md).
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt(3), from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
KEEP = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1}
# glibc's own: its thresholds rise up to these as large blocks are freed. Which values they had cannot be asked.
GIVE_BACK = {M_MMAP_MAX: 65_536, M_TRIM_THRESHOLD: 64 << 20, M_MMAP_THRESHOLD: 32 << 20}

_lock = threading.Lock()
_users = 0


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While any thread is inside, free() keeps memory for the next malloc(); the last one out returns it to the system.

    Does nothing without glibc. The peak of memory in use rises a little, since large blocks then share one heap.
    """
    global _users
    libc = _glibc()
    if libc is None:
        yield
        return
    with _lock:
        _users += 1
        if _users == 1:
            _set(libc, KEEP)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _set(libc, GIVE_BACK)
                libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(parameter, value)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
