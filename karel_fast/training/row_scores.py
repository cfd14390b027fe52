"""Numbers that a model gives the tokens of whole rows, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from karel_fast.model import Transformer
from karel_fast.model.batches import row_batches
from karel_fast.model.compiling import compiled
from karel_fast.model.device import autocast


@torch.no_grad()
def row_scores(
    score: Callable[..., Tensor],
    model: Transformer,
    rows_nT: np.ndarray,
    *arguments: Any,
    batch_size: int,
    dtype: torch.dtype,
    compile_model: bool,
) -> np.ndarray:
    """What score(model, tokens (B, T), *arguments) returns for all n rows, (n, ..)."""
    device = model.wte.weight.device
    run = compiled(score) if compile_model else score
    parts = []
    for numbers, keep in row_batches(len(rows_nT), batch_size):
        tokens_BT = torch.from_numpy(rows_nT[numbers.numpy()].astype(np.int64)).to(device)
        with autocast(device, dtype):
            scores = run(model, tokens_BT, *arguments)
        parts.append(scores[:keep].cpu().numpy())
    return np.concatenate(parts)
