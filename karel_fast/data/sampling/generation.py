"""`generate`: samples of a recipe by index, the same bits from every backend and any number of threads."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np

from karel_fast.data.sampling.philox import INDEX_BITS
from karel_fast.data.sampling.plan import MAX_ATTEMPTS, Plan, make_plan
from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.samples import Samples
from karel_fast.data.sampling.symbols import PAD, from_symbols
from karel_fast.karel.backends import resolve_backend
from karel_fast.karel.execution import MAX_THREADS, available_threads, run
from karel_fast.karel.language import compile
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import whole

MAX_COUNT = 2**31 - 1
MOST_FILES = 10**6
"""Of a folder of shards: more is a slip, and would fill the memory before the first is written."""

MOST_RUNS = 2000
"""Programs with control flow that are run for one sample: a recipe under which none of so many ends would be drawn from for ever."""


def generate(
    recipe: Recipe,
    split: str = "train",
    start: int = 0,
    count: int = 1,
    *,
    backend: str | None = None,
    threads: int | None = None,
) -> Samples:
    """Samples start .. start+count-1 of a split ("train", "val", "test").

    Sample i is a pure function of (recipe, split, i): neither `backend`, `threads` (default: one per core) nor the
    range it is asked in changes it. Memory is about 2 kB a sample for the paper's recipe; for data sets larger than
    memory see `write_shards` and `SampleStream`.

    Raises ValueError for an index outside 0 .. 2**56-1, an unknown split, or a recipe whose split has no program.
    """
    start, count = check_range(start, count)
    plan = make_plan(recipe, split)
    name = resolve_backend(backend)
    sampler = sampler_of(name)
    n_threads = check_threads(threads)
    if recipe.straight_line:
        symbols, lengths, walls, markers, robot, out_markers, out_robot = sampler.straight(
            plan, start, count, n_threads
        )
        check_found(lengths, start, recipe, split)
        inputs = Worlds._trusted(walls, markers, robot)
        outputs = Worlds._trusted(walls, out_markers, out_robot)
    else:
        inputs = Worlds._trusted(*sampler.worlds(plan, start, count, n_threads))
        symbols, lengths, outputs = _control_flow(recipe, split, plan, sampler, name, start, inputs, n_threads)
    return Samples(recipe, split, start, symbols, lengths, inputs, outputs)


def _control_flow(
    recipe: Recipe, split: str, plan: Plan, sampler: ModuleType, backend: str, start: int, inputs: Worlds, threads: int
) -> tuple[np.ndarray, np.ndarray, Worlds]:
    """Draw programs, run them, and draw again those that hit a limit in any of their worlds, until none does."""
    assert recipe.control is not None
    count = len(inputs) // plan.worlds
    symbols = np.full((count, plan.symbol_width), PAD, np.uint8)
    lengths = np.zeros(count, np.int32)
    attempts = np.zeros(count, np.int64)
    out_markers, out_robot = inputs.markers.copy(), inputs.robot.copy()
    todo = np.arange(count)
    for _ in range(MOST_RUNS):
        if not len(todo):
            break
        symbols[todo], lengths[todo], attempts[todo] = sampler.programs(plan, todo + start, attempts[todo], threads)
        check_found(lengths[todo], start, recipe, split, todo)
        programs = compile([from_symbols(symbols[i, : lengths[i]]) for i in todo])
        rows = (todo[:, None] * plan.worlds + np.arange(plan.worlds)).ravel()
        result = run(
            programs, inputs[rows], semantics=recipe.semantics, max_steps=recipe.control.max_steps, backend=backend,
            threads=threads,
        )  # fmt: skip
        out_markers[rows], out_robot[rows] = result.worlds.markers, result.worlds.robot
        failed = (result.status.reshape(-1, plan.worlds) != 0).any(axis=1)
        todo = todo[failed]
        attempts[todo] += 1
    if len(todo):
        raise ValueError(
            f"sample {start + int(todo[0])} of {split!r}: none of {MOST_RUNS} programs drawn ends within control.max_steps = "
            f"{recipe.control.max_steps} in all its worlds: raise it, or give fewer loops"
        )
    return symbols, lengths, Worlds._trusted(inputs.walls, out_markers, out_robot)


def sampler_of(backend: str) -> ModuleType:
    """The module with a backend's `straight`, `worlds` and `programs`."""
    return importlib.import_module(f"karel_fast.data.sampling.{backend}")


def check_threads(threads: int | None) -> int:
    """The number of threads to use; None means one per processor that this process may use."""
    return available_threads() if threads is None else whole("threads", threads, 1, MAX_THREADS)


def check_range(start: int, count: int) -> tuple[int, int]:
    """Both as plain ints. ValueError unless they name samples that exist."""
    count = whole("count", count, 0, MAX_COUNT)
    return whole("start", start, 0, 2**INDEX_BITS - count), count


def check_set(count: int, shard_size: int, start: int = 0) -> tuple[int, int, int]:
    """All as plain ints. ValueError unless they name samples that exist, in no more files than a folder can be asked to hold."""
    count, shard_size = whole("count", count, 1, 2**INDEX_BITS), whole("shard_size", shard_size, 1)
    files = -(-count // shard_size)
    if files > MOST_FILES:
        raise ValueError(
            f"count is {count} and shard_size {shard_size}, which makes {files} files; at most {MOST_FILES} can be written: give a "
            "larger shard_size, or fewer samples"
        )
    return count, shard_size, whole("start", start, 0, 2**INDEX_BITS - count)


def check_found(
    lengths: np.ndarray, start: int, recipe: Recipe, split: str, positions: np.ndarray | None = None
) -> None:
    """ValueError if no program was found for a sample: lengths[i] is that of sample i, or of sample positions[i]."""
    missing = np.flatnonzero(lengths < 0)
    if len(missing):
        at = int(missing[0]) if positions is None else int(positions[missing[0]])
        raise ValueError(
            f"sample {start + at} of {split!r}: none of {MAX_ATTEMPTS} programs drawn fits the recipe's shares and "
            f"step limit: widen these, or lengths {recipe.lengths[0]}..{recipe.lengths[1]}"
        )
