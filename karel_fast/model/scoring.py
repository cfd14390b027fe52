"""Hidden states of given rows (teacher-forced), in batches of one shape.

Shapes: n rows, B rows of a batch, T tokens, K positions, D width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from karel_fast.model.batches import check_tokens, row_batches
from karel_fast.model.capture import Capture
from karel_fast.model.compiling import compiled
from karel_fast.model.device import autocast
from karel_fast.model.intervention import Intervention, check_finite
from karel_fast.model.transformer import Transformer


def hidden_states(
    model: Transformer,
    tokens: np.ndarray | Tensor,
    capture: Capture,
    *,
    intervention: Intervention | None = None,
    batch_size: int = 256,
    dtype: torch.dtype = torch.float32,
    compile: bool = True,
) -> Iterator[Tensor]:
    """The captured states of token rows (n, T), one CPU tensor (B, K, ...) per batch, in order; see `Capture`.

    Each batch is computed when it is asked for and not kept. The head is left out: nobody reads the logits. dtype:
    float32, or bfloat16 for products in bfloat16. A capture's or an intervention's own positions, or values, of each row
    are those of the n rows.

    Raises ValueError for rows, a capture or an intervention that do not fit the model, NotFiniteError for an intervention that
    makes a number that is not finite.
    """
    tokens = np.asarray(tokens.cpu() if isinstance(tokens, Tensor) else tokens)
    check_tokens("tokens", tokens, "(n, T)", model.tokens)
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}: use at least 1")
    rows, length = tokens.shape
    model.check_length(length)
    capture.check(rows, length, model.states)
    if intervention is not None:
        intervention.check(rows, length, model.states, model.config.n_embd, model.prompt_length)
    device = model.wte.weight.device
    run = compiled(_states) if compile else _states
    for numbers, keep in row_batches(rows, batch_size):
        edits = None if intervention is None else intervention.rows(numbers, device)
        batch = torch.from_numpy(tokens[numbers.numpy()].astype(np.int64)).to(device)
        with torch.no_grad(), autocast(device, dtype):
            hidden = run(model, batch, capture.rows(numbers, device), edits)
        if intervention is not None:
            check_finite(hidden)
        yield hidden[:keep].cpu()


def _states(model: Transformer, tokens_BT: Tensor, capture: Capture, intervention: Intervention | None) -> Tensor:
    length = tokens_BT.shape[1]
    recorder = model.recorder(capture, length)
    editor = None if intervention is None else model.editor(intervention, length)
    model.backbone(tokens_BT, recorder, editor, first=recorder.start)
    return recorder.result()
