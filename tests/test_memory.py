"""Freed memory stays with the process inside `freed_memory_kept`, and goes back to the system after it."""

import resource
import sys

import numpy as np
import pytest

from karel_fast import memory
from karel_fast.memory import freed_memory_kept

BLOCK = 64 << 20

pytestmark = pytest.mark.skipif(memory._glibc() is None, reason="needs glibc")


def touch() -> None:
    np.ones(BLOCK, np.uint8)


def faults(action) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    action()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_a_block_is_used_again_without_faults():
    with freed_memory_kept():
        touch()
        assert faults(touch) < 100  # of 16,384 small pages, or 32 huge ones


def test_the_last_one_out_gives_memory_back():
    with freed_memory_kept():
        with freed_memory_kept():
            touch()
        kept = resident()
        assert faults(touch) < 100
    assert resident() < kept - BLOCK // 2


def test_an_error_inside_ends_it_too():
    with pytest.raises(ZeroDivisionError), freed_memory_kept():
        1 / 0  # noqa: B018
    assert memory._users == 0


def test_nothing_happens_without_glibc(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with freed_memory_kept():
        assert memory._users == 0
