"""Rows in batches of one shape, so that one compiled graph serves them all."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def row_batches(rows: int, batch_size: int) -> Iterator[tuple[Tensor, int]]:
    """The row numbers of each batch, int64 (B,), and how many of them count, which stand first.

    B is `batch_size`, or `rows` where there are fewer; a last batch that is short is filled up with the last row.
    """
    batch_size = min(batch_size, rows)
    for start in range(0, rows, batch_size):
        yield torch.arange(start, start + batch_size).clamp(max=rows - 1), min(batch_size, rows - start)
