"""How far what a model expects of the next token is from what an ideal reader of the specification expects.

Shapes: n samples, B rows of a batch, T tokens of a row, V vocabulary, S program tokens: the actions and the end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from karel_fast.data import Samples, Tokenizer
from karel_fast.exact.ideal_loss import Floor
from karel_fast.model import Transformer
from karel_fast.training.row_scores import row_scores


def divergence_metrics(
    model: Transformer,
    tokenizer: Tokenizer,
    samples: Samples,
    least: Floor,
    *,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    compile_model: bool = True,
) -> dict[str, Any]:
    """divergence: KL(ideal || model) in nats per token of the reference programs, on average over actions and ends;
    divergence_by_position: its means by the number of actions before, None where no program is that long.

    least: `kf.exact.floor` of these samples. Both are None for a layout that writes an action as several tokens.
    """
    rows_nT = tokenizer.encode(samples)
    first = tokenizer.prompt_length
    written = (rows_nT[:, first:] != tokenizer.pad_id).sum(axis=1)
    if not np.array_equal(written, samples.lengths + 1):
        return {"divergence": None, "divergence_by_position": None}
    ids = (*tokenizer.action_ids, tokenizer.end_id)
    settings: dict[str, Any] = {"batch_size": batch_size, "dtype": dtype, "compile_model": compile_model}
    scores_nS6 = log_probabilities(model, rows_nT, first, ids, **settings)
    steps = samples.actions.shape[1] + 1
    divergence_nS = least.divergence(scores_nS6[:, :steps])
    there = ~np.isnan(divergence_nS)
    sums, counts = np.where(there, divergence_nS, 0.0).sum(axis=0), there.sum(axis=0)
    return {
        "divergence": float(sums.sum() / counts.sum()),
        "divergence_by_position": [
            float(total / count) if count else None for total, count in zip(sums, counts, strict=True)
        ],
    }


def log_probabilities(
    model: Transformer,
    rows_nT: np.ndarray,
    first: int,
    ids: tuple[int, ...],
    *,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    compile_model: bool = True,
) -> np.ndarray:
    """float32 (n, T - first, len(ids)): natural logarithms of what the model gives the tokens `ids`, among all tokens, at each place
    from `first` on, given the tokens before it."""
    return row_scores(
        _scores, model, rows_nT, first, ids, batch_size=batch_size, dtype=dtype, compile_model=compile_model
    )


def _scores(model: Transformer, tokens_BT: Tensor, first: int, ids: tuple[int, ...]) -> Tensor:
    """float32 (B, T - first, len(ids))."""
    return model(tokens_BT[:, :-1], logits_from=first - 1).float().log_softmax(dim=-1)[:, :, list(ids)]
