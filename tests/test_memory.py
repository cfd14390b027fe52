"""Freed memory stays with the process inside `freed_memory_kept`, and goes back to the system after it."""

import resource
import sys

import pytest
import torch
from tiny_model import tiny_model, tiny_tokens

from karel_fast.model import Capture
from karel_fast.model.scoring import hidden_states
from karel_fast.support import memory
from karel_fast.support.memory import freed_memory_kept

BLOCK = 64 << 20

pytestmark = pytest.mark.skipif(memory._glibc() is None, reason="needs glibc")


@pytest.fixture(autouse=True)
def nothing_to_give_back():
    """What other tests freed must not be mistaken for this block."""
    memory._glibc().malloc_trim(0)


def touch() -> None:
    torch.ones(BLOCK, dtype=torch.uint8)


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def test_a_freed_block_stays_inside_and_goes_back_after():
    before = resident()
    touch()
    assert resident() < before + BLOCK // 2
    with freed_memory_kept():
        touch()
        kept = resident()
    assert kept > before + BLOCK // 2
    assert resident() < kept - BLOCK // 2


def test_the_last_one_out_gives_memory_back():
    with freed_memory_kept():
        with freed_memory_kept():
            touch()
        kept = resident()
    assert resident() < kept - BLOCK // 2


def test_an_error_inside_ends_it_too():
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError
    assert memory._users == 0


def test_scoring_that_is_left_early_ends_it_too():
    states = hidden_states(tiny_model(), tiny_tokens(), Capture("mean", "all"), batch_size=1, compile=False)
    next(states)
    assert memory._users == 1
    states.close()
    assert memory._users == 0


def test_nothing_happens_without_glibc(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with freed_memory_kept():
        assert memory._users == 0
