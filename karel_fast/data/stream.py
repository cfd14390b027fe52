"""Batches of token rows for training, made from their indices as they are needed: nothing on disk, nothing to shuffle.

Samples of a recipe are independent draws, so taking them in index order is taking them at random.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from karel_fast.data.sampling.active_examples import ActiveExamples
from karel_fast.data.sampling.generation import generate
from karel_fast.data.storage.shards import Shards
from karel_fast.data.tokens.tokenizer import Tokenizer
from karel_fast.support.checks import whole


class SampleStream(IterableDataset[torch.Tensor]):
    """Endless batches of token rows, (batch_size, T), of the tokenizer's type; int32 for uint16, which torch hardly knows.

    Global batch b holds samples b*batch_size .. (b+1)*batch_size-1, modulo `samples` if that is given (epochs), counted
    from sample `first` of the split: by default "train", or that of the `shards` which they are read from. Process `rank`
    of `world_size` (by default those of torch.distributed if it is in use) gets batches rank, rank + world_size, ..;
    workers of a DataLoader (which needs batch_size=None) share these so that the loader's order stays the same. So the
    batches that a process sees depend on neither workers nor restarts.

    active: which examples tell the truth, and what the others show (by default all do).

    A process resumes with `load_state_dict(state)`. `state_dict()` counts the batches taken where they are taken, which
    is right without DataLoader workers; with workers, count the batches that you have used and keep `state_at(count)`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        split: str | None = None,
        *,
        batch_size: int,
        samples: int | None = None,
        first: int = 0,
        shards: Shards | None = None,
        active: ActiveExamples | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        backend: str | None = None,
        threads: int = 1,
    ) -> None:
        if shards is not None:
            if split not in (None, shards.split):
                raise ValueError(
                    f"split is {split!r}, and the shards are of split {shards.split!r}; leave it out, or them"
                )
            split = shards.split
            whole("first", first, 0, len(shards) - 1)
            left = len(shards) - first
            if samples is not None and samples > left:
                raise ValueError(
                    f"samples is {samples}, but the shards hold {left} from sample {first} on; give at most that many"
                )
            samples = left if samples is None else samples
        for name, value in (("batch_size", batch_size), ("samples", samples)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        rank, world_size = _place(rank, world_size)
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size} does not exist: ranks are 0..{world_size - 1}")
        self.tokenizer, self.split, self.batch_size, self.samples, self.first = (
            tokenizer,
            split or "train",
            batch_size,
            samples,
            first,
        )
        if active is not None:
            active.check(tokenizer.recipe.examples)
        self.shards, self.rank, self.world_size = shards, rank, world_size
        self.active = None if active is None or active.all_active else active
        self.backend, self.threads = backend, threads
        self._taken = 0  # of this process's batches

    def rows(self, start: int, count: int) -> np.ndarray:
        """Token rows start .. start+count-1 of the endless sequence of samples."""
        parts = []
        while count:
            place = start if self.samples is None else start % self.samples
            take = count if self.samples is None else min(count, self.samples - place)
            parts.append(self._rows(self.first + place, take))
            start, count = start + take, count - take
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _rows(self, start: int, count: int) -> np.ndarray:
        execution: dict[str, Any] = {"backend": self.backend, "threads": self.threads}
        if self.shards is None and self.active is None:
            return self.tokenizer.generate(self.split, start, count, **execution)
        samples = (
            generate(self.tokenizer.recipe, self.split, start, count, **execution)
            if self.shards is None
            else self.shards.samples(start, count)
        )
        return self.tokenizer.encode(samples if self.active is None else self.active.shown(samples), **execution)

    def __iter__(self) -> Iterator[torch.Tensor]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        taken = self._taken + worker
        while True:
            batch = self.rank + taken * self.world_size
            rows = self.rows(batch * self.batch_size, self.batch_size)
            taken += workers
            self._taken = taken - worker
            yield torch.from_numpy(rows.astype(np.int32) if rows.dtype == np.uint16 else rows)

    def state_dict(self) -> dict[str, int]:
        """Where this process is: the next iterator goes on from here."""
        return self.state_at(self._taken)

    def state_at(self, taken: int) -> dict[str, int]:
        """The state after this process has used so many batches."""
        return {"taken": taken, "batch_size": self.batch_size, "world_size": self.world_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on from a state. ValueError if batch or world size differ: the batches would not be the same ones."""
        for name in ("batch_size", "world_size"):
            if state[name] != getattr(self, name):
                raise ValueError(
                    f"the state was saved with {name} {state[name]}, and this stream has {getattr(self, name)}"
                )
        self._taken = state["taken"]


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if (rank is None) != (world_size is None):
        raise ValueError("give both rank and world_size, or neither")
    if rank is not None and world_size is not None:
        return rank, world_size
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
