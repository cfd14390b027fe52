"""torch.compile as this package uses it: one whole graph per static shape, and plain PyTorch where nothing can be compiled."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from karel_fast.support.checks import InputError, one_line

# torch gives up on a function after 8 graphs. Ours are deliberately static, so a process that evaluates with several
# batch sizes, models or captures makes more, each meant.
GRAPHS = 64

_fault: str | None = None
"""Why this process cannot compile, once that is known."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as one graph without breaks; another shape or capture makes another graph, weights and values never
    do.

    Where torch cannot compile (no C++ compiler, no place for what it makes), the function itself is called, after one
    warning: the same values up to rounding, more slowly.
    """
    graph: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal graph
        if _fault is None:
            try:
                if graph is None:
                    graph = _graph(function)
                return graph(*args, **kwargs)
            except Exception as error:
                # A graph is compiled before any of it runs, so nothing has happened yet.
                fault = _machine_fault(error)
                if fault is None:
                    raise
                _give_up(fault)
        return function(*args, **kwargs)

    return call


@functools.cache
def compiles_bf16_rightly() -> bool:
    """Whether compiled code computes the right thing of bfloat16 on this processor; True where nothing can be compiled.

    Two transpositions in one kernel are tried (torch's `transpose_mxn`), of which g++ can make wrong code: gradients of attention
    that are wrong or not finite. See `_name_a_known_processor`.
    """
    first, second = torch.arange(2 * 64 * 64).remainder(251).bfloat16().view(2, 64, 64)
    try:
        found = _graph(_transposed)(first, second)
    except Exception as error:
        if _machine_fault(error) is None:
            raise
        return True
    return all(torch.equal(*pair) for pair in zip(found, _transposed(first, second), strict=True))


def _transposed(*matrices: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(matrix.mT.contiguous() for matrix in matrices)


def require_compiling() -> None:
    """Raises InputError, saying why, if this machine cannot compile: for those who have asked for it by name."""
    try:
        _graph(lambda x: x.sin() + 1)(torch.ones(8))
    except Exception as error:
        fault = _machine_fault(error)
        if fault is None:
            raise
        raise InputError(f"compile is true, but nothing can be compiled here: {fault}; {REMEDY}") from error


REMEDY = "install a C++ compiler (g++) and Python's headers, or leave out compile"


def _graph(function: Callable[..., Any]) -> Callable[..., Any]:
    if os.environ.get("TORCH_COMPILE_DISABLE") == "1":
        raise CompilingDisabled("TORCH_COMPILE_DISABLE is set")
    # torch._dynamo is loaded here, which fails where torch has no place for its caches.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, GRAPHS)
    _name_a_known_processor()
    return torch.compile(function, fullgraph=True, dynamic=False)


KNOWN_PROCESSOR = "skylake-avx512"
"""Its instructions all processors with AVX512 have but Xeon Phi, which g++ knows."""


@functools.cache
def _name_a_known_processor() -> None:
    """Have torch compile for an older processor where g++ does not know the one at hand.

    g++ 12 tunes for "generic" there, and then makes wrong code of bfloat16 (benchmarks/NOTES.md). Before 2.13, torch cannot be
    told; and where somebody has told it (TORCHINDUCTOR_CPP_MARCH), that stays.
    """
    settings = torch._inductor.config.cpp
    if getattr(settings, "march", "") is not None or not torch.cpu._is_avx512_supported():
        return
    command = [os.environ.get("CXX", "g++"), "-march=native", "-Q", "--help=target"]
    try:
        target = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return  # whoever compiles is told
    if re.search(r"^\s*-mtune=\s+generic$", target, re.MULTILINE):
        settings.march = KNOWN_PROCESSOR


class CompilingDisabled(RuntimeError):
    """The user has switched torch.compile off for the whole process."""


def _machine_fault(error: BaseException) -> str | None:
    """What of this machine keeps torch from compiling, in one line; None if the error is another."""
    for cause in _causes(error):
        if isinstance(cause, CompilingDisabled):
            return str(cause)
        # By name: their module may be what cannot be loaded.
        kind = type(cause).__name__
        if kind == "InvalidCxxCompiler":
            return "no working C++ compiler is found"
        if kind == "CppCompileError" or isinstance(cause, subprocess.CalledProcessError):
            lines = [line for line in str(cause).splitlines() if "error" in line.lower()]
            return "the C++ compiler fails" + (f" ({lines[-1].strip()[:200]})" if lines else "")
        if isinstance(cause, OSError | ImportError):
            return one_line(cause)[:300]
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, as far as torch says it."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        cause = todo.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        todo += [cause.__context__, cause.__cause__, getattr(cause, "inner_exception", None)]


def _give_up(fault: str) -> None:
    global _fault
    _fault = fault
    warnings.warn(
        f"torch.compile cannot be used here: {fault}. karel_fast goes on without it: the same results up to rounding, more "
        f"slowly. To compile, {REMEDY.split(', or')[0]}; to be rid of this line, set compile and compile_decoding to false",
        RuntimeWarning,
        stacklevel=3,
    )
