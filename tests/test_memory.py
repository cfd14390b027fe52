"""Freed memory stays with the process inside `freed_memory_kept`, and goes back to the system after it."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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


def test_an_error_inside_ends_it_too():
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError
    before = resident()
    touch()
    assert resident() < before + BLOCK // 2


def test_library_calls_leave_the_allocator_alone(tmp_path):
    """glibc maps a large block on its own until one of its size was freed, and never adjusts again once mallopt was called."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import ctypes
from karel_fast.support import memory
from tiny_model import *
from karel_fast.model import Capture
from karel_fast.model.decode import write_programs
from karel_fast.model.scoring import hidden_states
from karel_fast.training import TrainConfig, train

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

class Information(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]

libc.mallinfo2.restype = Information

def mapped():
    before = libc.mallinfo2().hblks
    block = libc.malloc(31 << 20)
    after = libc.mallinfo2().hblks
    libc.free(block)
    return after > before

def adjusts():
    return mapped() and not mapped()

model = tiny_model()
write_programs(model, tiny_tokens(4, PROMPT), tiny_grammar(), 4, pad_id=PAD, end_id=END, compile=False)
list(hidden_states(model, tiny_tokens(), Capture("mean", "all"), compile=False))
config = TrainConfig(steps=1, batch_size=2, compile=False, device="cpu")
train(config, tiny_config(), tiny_rows, {str(tmp_path)!r}, pad_id=PAD)
after = adjusts()
with memory.freed_memory_kept():
    pass
print(after, adjusts())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split()[-2:] == ["True", "False"], done.stderr


def test_nothing_happens_without_glibc(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory._glibc() is None
    with freed_memory_kept():
        touch()
