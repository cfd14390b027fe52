"""The sampler in Numba: threads over ranges of samples, compiled when first used and cached on disk.

Arguments and results as in `sampling.reference`, which says in which order each stream is spent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from karel_fast.data.sampling import numba_kernels as kernels
from karel_fast.data.sampling.numba_plan import plan_array, plan_tables, plan_words
from karel_fast.data.sampling.plan import Plan

GRAIN = 64  # samples that are worth a thread of their own


def _with_threads(threads: int, count: int, function: Callable[..., None], *arguments: object) -> None:
    """Calls function(begin, end, *arguments) for ranges that cover `count` samples.

    The threads are Python's, which the compiled code lets run: Numba's own pools may not be used from several threads
    at once, as writing shards does.
    """
    pieces = max(1, min(threads, count // GRAIN))
    if pieces == 1:
        function(0, count, *arguments)
        return
    ends = [count * k // pieces for k in range(pieces + 1)]
    with ThreadPoolExecutor(pieces, "sampler") as pool:
        for done in [pool.submit(function, *span, *arguments) for span in pairwise(ends)]:
            done.result()


def _arrays(*kinds: tuple[type, tuple[int, ...]]) -> list[np.ndarray]:
    """Arrays in one allocation, which is kept by malloc between batches where many smaller ones are not."""
    sizes = [-(-np.dtype(kind).itemsize * math.prod(shape) // 64) * 64 for kind, shape in kinds]
    memory = np.empty(sum(sizes), np.uint8)
    ends = np.cumsum(sizes).tolist()
    return [
        memory[end - size : end].view(kind)[: math.prod(shape)].reshape(shape)
        for (kind, shape), size, end in zip(kinds, sizes, ends, strict=True)
    ]


def straight(plan: Plan, start: int, count: int, threads: int) -> tuple[np.ndarray, ...]:
    n, cells = count * plan.worlds, plan.height * plan.width
    rows, lengths, walls, markers, robot, out_markers, out_robot = _arrays(
        (np.uint8, (count, plan.symbol_width)), (np.int32, (count,)), (np.uint8, (n * cells,)),
        (np.uint8, (n * cells,)), (np.uint8, (n * 3,)), (np.uint8, (n * cells,)), (np.uint8, (n * 3,)),
    )  # fmt: skip
    _with_threads(
        threads, count, kernels.straight, plan_array(plan), plan_words(plan), plan_tables(plan), start,
        rows, lengths, walls, markers, robot, out_markers, out_robot,
    )  # fmt: skip
    shape = (n, plan.height, plan.width)
    return (
        rows, lengths, walls.view(np.bool_).reshape(shape), markers.reshape(shape), robot.reshape(n, 3),
        out_markers.reshape(shape), out_robot.reshape(n, 3),
    )  # fmt: skip


def worlds(plan: Plan, start: int, count: int, threads: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, cells = count * plan.worlds, plan.height * plan.width
    walls, markers, robot = _arrays((np.uint8, (n * cells,)), (np.uint8, (n * cells,)), (np.uint8, (n * 3,)))
    _with_threads(threads, count, kernels.worlds, plan_array(plan), plan_tables(plan), start, walls, markers, robot)
    shape = (n, plan.height, plan.width)
    return walls.view(np.bool_).reshape(shape), markers.reshape(shape), robot.reshape(n, 3)


def programs(plan: Plan, indices: np.ndarray, attempts: np.ndarray, threads: int) -> tuple[np.ndarray, ...]:
    rows = np.empty((len(indices), plan.symbol_width), np.uint8)
    lengths, used = np.empty(len(indices), np.int32), np.empty(len(indices), np.int64)
    _with_threads(
        threads,
        len(indices),
        kernels.programs,
        plan_array(plan),
        plan_words(plan),
        indices,
        attempts,
        rows,
        lengths,
        used,
    )
    return rows, lengths, used
