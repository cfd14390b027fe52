"""Where training rows come from: functions of the row number, so that any process can ask for any range at any time.

A `RowSource` maps (start, count) to the token rows start .. start + count - 1 of the endless training stream, an
integer array (count, T) with the same T always. Because it keeps no position, a run resumes by asking for the row it
stopped at.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from karel_fast.data import Recipe, Tokenizer
from karel_fast.data.sampling.active_examples import ActiveExamples
from karel_fast.data.sampling.recipe import check_recipe
from karel_fast.data.storage.shards import Shards
from karel_fast.data.stream import SampleStream

RowSource = Callable[[int, int], np.ndarray]


def generated_rows(
    recipe: Recipe,
    tokenizer: Tokenizer,
    split: str = "train",
    limit: int | None = None,
    first: int = 0,
    active: ActiveExamples | None = None,
) -> RowSource:
    """Rows made on the fly: row i is sample first + i of the recipe; with a limit, `limit` samples over and over.

    Unlimited rows are never repeated, so a run sees each sample once. active: which examples tell the truth. Raises ValueError if the
    tokenizer is of another recipe, or the recipe has fewer examples.
    """
    check_recipe(recipe)
    if tokenizer.recipe.hash != recipe.hash:
        raise ValueError(
            f"the tokenizer is of recipe {tokenizer.recipe.hash}, the rows of {recipe.hash}: make Tokenizer(recipe)"
        )
    return SampleStream(
        tokenizer, split, batch_size=1, samples=limit, first=first, active=active, rank=0, world_size=1
    ).rows


def shard_rows(
    shards: Shards,
    tokenizer: Tokenizer,
    limit: int | None = None,
    first: int = 0,
    active: ActiveExamples | None = None,
) -> RowSource:
    """Rows of a data set on disk (`karel_fast.data.open_shards`) from sample `first` on, or `limit` of them, over and over.

    Raises ValueError if the tokenizer is of another recipe.
    """
    if tokenizer.recipe.hash != shards.recipe.hash:
        raise ValueError(f"the shards are of recipe {shards.recipe.hash}, the tokenizer of {tokenizer.recipe.hash}")
    return SampleStream(
        tokenizer,
        shards.split,
        batch_size=1,
        samples=limit,
        first=first,
        shards=shards,
        active=active,
        rank=0,
        world_size=1,
    ).rows


def prefetched(rows: RowSource, ranges: Iterator[tuple[int, int]]) -> Generator[np.ndarray, None, None]:
    """rows(*range) for each range, the next one being made in a thread while the caller works on this one."""
    with ThreadPoolExecutor(1, "rows") as pool:
        waiting: Future[np.ndarray] | None = None
        for start, count in ranges:
            coming = pool.submit(rows, start, count)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
