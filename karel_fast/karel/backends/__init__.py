"""Picks the code that executes programs.

Three backends give the same bits: `cpp` (the compiled core), `numba` (compiled at first use, for installations without
a C++ compiler) and `reference` (plain Python, the specification). A backend is a module with two functions,

    run_batch(programs, worlds, performed, max_steps, crash, threads) -> markers, robot, steps, status
    trace_batch(programs, worlds, performed, max_steps, crash, threads)
        -> actions, robot, markers_here, front_clear, left_clear, right_clear, steps, status

where `programs` is a CompiledPrograms of P programs, `worlds` a Worlds of N = P*E worlds, `performed` the semantics as
uint8 (actions,), and the results are the arrays that `karel_fast.run` and `karel_fast.trace` describe.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

BACKENDS = ("cpp", "numba", "reference")


class Backend(Protocol):
    """What a backend module offers; see the package's docstring."""

    run_batch: Callable[..., tuple[Any, ...]]
    trace_batch: Callable[..., tuple[Any, ...]]


class BackendUnavailableError(RuntimeError):
    """The backend that was asked for by name is not installed here."""


@cache
def unavailable() -> dict[str, str]:
    """Why each backend that cannot be used here cannot."""
    reasons = {}
    try:
        importlib.import_module("karel_fast._core")
    except ImportError as error:
        reasons["cpp"] = f"the C++ core cannot be loaded ({error}); {_core_remedy()}"
    if importlib.util.find_spec("numba") is None:
        reasons["numba"] = "numba is not installed; pip install numba"
    elif "cpp" in reasons:
        # Importing numba takes most of a second, so it is tried only where it would be used.
        try:
            importlib.import_module("numba")
        except ImportError as error:
            reasons["numba"] = f"numba cannot be imported ({error}); reinstall it"
    return reasons


def _core_remedy() -> str:
    """What to do about a core that is not there. A source tree on the path hides an installed package, which may have one."""
    here = Path(__file__).parents[3]
    if (here / "csrc").is_dir():
        for place in map(Path, sys.path):
            if place.is_absolute() and place != here and any((place / "karel_fast").glob("_core*")):
                return (
                    f"the source tree {here} hides the installed package in {place}: start Python in another folder, or "
                    f"build the core in the tree (python setup.py build_ext --inplace)"
                )
        return "build it (python setup.py build_ext --inplace), which needs a C++20 compiler"
    return "reinstall karel_fast with a C++20 compiler at hand"


def available_backends() -> tuple[str, ...]:
    """Names of the backends that work here, the preferred one first."""
    return tuple(name for name in BACKENDS if name not in unavailable())


@cache
def _default() -> str:
    name = available_backends()[0]
    if name != "cpp":
        why = "; ".join(unavailable().values())
        slow = " It is hundreds of times slower." if name == "reference" else ""
        warnings.warn(f"karel_fast runs on its {name} backend: {why}.{slow}", RuntimeWarning, stacklevel=4)
    return name


def resolve_backend(name: str | None = None) -> str:
    """The name of the backend to use: the one named, else the one named by KAREL_FAST_BACKEND, else the best there is.

    Raises ValueError for an unknown name and BackendUnavailableError for a known one that cannot be used here. Falling
    back from `cpp` warns once per process.
    """
    source = ""
    if name is None and os.environ.get("KAREL_FAST_BACKEND"):
        name = os.environ["KAREL_FAST_BACKEND"]
        source = " (from KAREL_FAST_BACKEND)"
    if name is None:
        name = _default()
    elif name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}{source}; choose from {', '.join(BACKENDS)}")
    elif name in unavailable():
        raise BackendUnavailableError(f"backend {name!r}{source} cannot be used: {unavailable()[name]}")
    return name


def load_backend(name: str) -> Backend:
    """The module of a backend that `resolve_backend` named."""
    try:
        return importlib.import_module(f"karel_fast.karel.backends.{name}")
    except ImportError as error:
        raise BackendUnavailableError(f"backend {name!r} cannot be used: {error}") from error
