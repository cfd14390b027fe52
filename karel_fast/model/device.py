"""Where to train and in which precision, how fast that device can be, and what to do when its memory is full."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from karel_fast.model.compiling import compiles_bf16_rightly
from karel_fast.model.shape import PRECISIONS
from karel_fast.support.checks import InputError, one_of
from karel_fast.support.machine import processor

# Dense bf16 peak, in FLOP/s, from the makers' data sheets.
GPU_PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}


class NotEnoughMemory(ValueError):
    """The device's memory cannot hold the run; the message says which settings to lower."""


def resolve_device(name: str) -> torch.device:
    """ "auto" is CUDA if there is one. Raises ValueError for an unknown name or a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name!r}: use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name!r}: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """bfloat16 or float32; "auto" is bfloat16 where the device multiplies bfloat16 matrices faster.

    Raises ValueError for another name, InputError for bf16 by name, where compiled code computes something else of it.
    """
    one_of("precision", name, PRECISIONS)
    wanted = _multiplies_bf16_faster(device) if name == "auto" else name == "bf16"
    if wanted and device.type == "cpu" and not compiles_bf16_rightly():
        if name == "bf16":
            raise InputError(
                "precision is bf16, of which the C++ compiler here makes wrong code; use fp32 or auto, or name another compiler in CXX"
            )
        wanted = False
    return torch.bfloat16 if wanted else torch.float32


def _multiplies_bf16_faster(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if torch.cpu._is_amx_tile_supported():
        return True
    # A CPU without these instructions emulates bf16, slowly. Intel's, without matrix units, reach 0.57 of the rate of float32
    # (benchmarks/NOTES.md).
    return torch.cpu._is_avx512_bf16_supported() and "Intel" not in processor()["model"]


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """bf16 products over float32 weights; does nothing for float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def peak_flops(device: torch.device, dtype: torch.dtype) -> float | None:
    """The most FLOP/s that the device reaches, for MFU: the data sheet's number on a GPU, one large product timed on
    a CPU.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        return next((peak for key, peak in GPU_PEAKS.items() if key in name), None) if dtype == torch.bfloat16 else None
    size, best = 1024, float("inf")
    a = torch.ones(size, size, dtype=dtype)
    for _ in range(4):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best


@contextmanager
def memory_advice(remedy: str) -> Iterator[None]:
    """Turn torch's out-of-memory errors, GPU's and CPU's, into `NotEnoughMemory` ending in `remedy`."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemory(f"the GPU's memory is full; {remedy}") from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error) and "out of memory" not in str(error):
            raise
        raise NotEnoughMemory(f"the memory is full; {remedy}") from error
    except MemoryError as error:
        raise NotEnoughMemory(f"the memory is full; {remedy}") from error


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a CPU, the same bits from run to run with as many threads: without it, compiled code adds the embedding's
    gradients in whatever order its threads come. CUDA's matrix products would need settings of the process for that.
    """
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(before[0] or device.type == "cpu")
    # Deterministic mode fills new tensors with NaN, to show who reads them too early; only who asked for that pays for it.
    settings.fill_uninitialized_memory = before[0] and before[1]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=warns)
        settings.fill_uninitialized_memory = before[1]
