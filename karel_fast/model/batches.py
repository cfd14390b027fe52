"""Rows of tokens, checked, and in batches of one shape, so that one compiled graph serves them all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def check_tokens(name: str, tokens: np.ndarray, shape: str, vocabulary: int) -> None:
    """Raise ValueError, calling the tokens `name`, unless they are integers of two dimensions, neither 0, as `shape` says in
    words, and from 0 to vocabulary - 1.
    """
    if tokens.ndim != 2 or 0 in tokens.shape or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"{name} is {tokens.dtype} of shape {tokens.shape}: need integers {shape}, neither 0")
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        row, place = (int(number) for number in np.argwhere((tokens < 0) | (tokens >= vocabulary))[0])
        raise ValueError(
            f"{name} has token {tokens[row, place]} in row {row} at position {place}: the vocabulary is 0..{vocabulary - 1}; "
            "use the tokenizer that the model was made for"
        )


def row_batches(rows: int, batch_size: int) -> Iterator[tuple[Tensor, int]]:
    """The row numbers of each batch, int64 (B,), and how many of them count, which stand first.

    B is `batch_size`, or `rows` where there are fewer; a last batch that is short is filled up with the last row.
    """
    batch_size = min(batch_size, rows)
    for start in range(0, rows, batch_size):
        yield torch.arange(start, start + batch_size).clamp(max=rows - 1), min(batch_size, rows - start)
