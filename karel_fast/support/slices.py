"""Slices of a piece of work, for job arrays."""

from __future__ import annotations

from karel_fast.support.checks import whole


def slice_of(count: int, part: tuple[int, int]) -> range:
    """Which of `count` things are in the k-th (from 1) of n slices, part = (k, n). TypeError for another part, ValueError for a
    slice that does not exist.
    """
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise TypeError(f"part is {part!r}; give a pair (k, n) such as (1, 2), the first of two parts")
    k, n = whole("the part", part[0], 0), whole("the number of parts", part[1], 1)
    if not 1 <= k <= n:
        raise ValueError(f"part {k}/{n} does not exist: use 1/{n} .. {n}/{n}")
    return range((k - 1) * count // n, k * count // n)
