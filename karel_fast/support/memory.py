"""Keep freed memory in the process while a command runs: what one turn of its loop frees, the next one needs again.

glibc gives large blocks back to the system as soon as they are freed, and every page of a new one costs a fault, which
took 6 to 34 % of a training step on a CPU (benchmarks/NOTES.md).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt(3), from malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
KEEP = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1}
# The values up to which glibc lets its thresholds rise as large blocks are freed.
GIVE_BACK = {M_MMAP_MAX: 65_536, M_TRIM_THRESHOLD: 64 << 20, M_MMAP_THRESHOLD: 32 << 20}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While inside, free() keeps memory for the next malloc(); at the end it goes back to the system.

    For commands, whose process is theirs, and never for a library call: any mallopt() ends for good glibc's adjusting of its
    thresholds to what the process frees, and neither their values nor that can be asked or put back. Not to be nested. Does
    nothing without glibc. The peak of memory in use rises a little, since large blocks then share one heap.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _set(libc, KEEP)
    try:
        yield
    finally:
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
