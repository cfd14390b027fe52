"""Slices of a piece of work, for job arrays."""

from __future__ import annotations


def slice_of(count: int, part: tuple[int, int]) -> range:
    """Which of `count` things are in the k-th (from 1) of n slices, part = (k, n). ValueError for a slice that does not exist."""
    k, n = part
    if not 1 <= k <= n:
        raise ValueError(f"part {k}/{n} does not exist: use 1/{n} .. {n}/{n}")
    return range((k - 1) * count // n, k * count // n)
