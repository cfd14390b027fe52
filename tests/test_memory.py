"""Freed memory stays with the process inside `freed_memory_kept`, and goes back to the system after it."""

import resource
import sys

import pytest
import torch

from karel_fast import memory
from karel_fast.memory import freed_memory_kept

BLOCK = 64 << 20
FEW = 16  # a fresh block has 16,384 small pages, or 32 huge ones

pytestmark = pytest.mark.skipif(memory._glibc() is None, reason="needs glibc")


def touch() -> None:
    torch.ones(BLOCK, dtype=torch.uint8)


def least_faults() -> int:
    """Of a few turns: malloc may need one or two until a hole fits."""
    counts = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        touch()
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return min(counts)


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_a_block_is_used_again_without_faults():
    assert least_faults() > FEW
    with freed_memory_kept():
        assert least_faults() < FEW


def test_the_last_one_out_gives_memory_back():
    with freed_memory_kept():
        with freed_memory_kept():
            touch()
        assert least_faults() < FEW
        kept = resident()
    assert resident() < kept - BLOCK // 2


def test_an_error_inside_ends_it_too():
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError
    assert memory._users == 0


def test_nothing_happens_without_glibc(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with freed_memory_kept():
        assert memory._users == 0
