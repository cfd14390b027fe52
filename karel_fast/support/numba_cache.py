"""Numba's compiled code is kept on disk where there is a place for it, and made anew by every process where there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` with these options, cached on disk if that can be done.

    Numba keeps its cache beside the source file, else in the user's own folder. In a container with a read-only package and
    no home there is neither, which it takes for an error.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            if "cannot cache function" not in str(error):
                raise
        return numba.njit(**options)(function)

    return decorate
