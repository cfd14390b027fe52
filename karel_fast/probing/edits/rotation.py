"""Learned rotations: the subspace whose exchange best makes the model write the other side's program (distributed alignment
search, Geiger et al., 2023, arXiv:2303.02536).

One orthonormal frame is learned; its first R rows are the subspace of rank R, for each rank that is asked for, and a step
trains one of these in turn. What it finds at a rank is therefore a lower bound of what that rank can carry.

Shapes: n pairs, B of a batch, T tokens before the program, S of it, D width, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from karel_fast.data.sampling.symbols import PAD
from karel_fast.model import Capture
from karel_fast.model.scoring import hidden_states
from karel_fast.probing.edits.exchange import Exchange


def learn_rotation(
    exchange: Exchange,
    layer: int,
    mask: np.ndarray,
    start: Tensor,
    ranks: Sequence[int],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """The frame, (R, D) orthonormal rows, R the largest rank; start: one of that shape to begin with.

    Learned on the exchange's pairs, by the cross entropy of the other side's program, as the model writes it unedited, after
    the base side's row with the states under `mask` (n, T) exchanged in the subspace. `progress` is called after each step.
    Raises ValueError for a rank outside 1..R.
    """
    wrong = [rank for rank in ranks if not 1 <= rank <= len(start)]
    if wrong:
        raise ValueError(f"rank {wrong[0]}: the frame has ranks 1..{len(start)}")
    model, length = exchange.model, exchange.tokens.shape[1]
    targets = other_programs(exchange)
    rows = np.concatenate([exchange.tokens, np.where(targets < 0, exchange.tokenizer.pad_id, targets)], axis=1)
    capture = Capture([layer], torch.arange(rows.shape[1]))
    x_nTD = torch.cat(list(hidden_states(model, rows, capture, compile=False)))[:, :, 0]
    change_nTD = (exchange.states("other", layer) - x_nTD[:, :length]) * torch.from_numpy(mask)[:, :, None]
    wanted_nS = torch.from_numpy(targets)
    frame = nn.Linear(start.shape[1], len(start), bias=False).to(exchange.device)
    orthogonal(frame)
    frame.weight = start.to(exchange.device)
    optimizer = torch.optim.Adam(frame.parameters(), lr=learning_rate)
    rng = np.random.default_rng(seed)
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        for step in range(steps):
            batch = torch.from_numpy(rng.choice(len(rows), min(batch_size, len(rows)), replace=False))
            basis = frame.weight[: ranks[step % len(ranks)]]
            x_BTD, change_BTD, wanted_BS = (part[batch].to(exchange.device) for part in (x_nTD, change_nTD, wanted_nS))
            moved_BTD = F.pad((change_BTD @ basis.mT) @ basis, (0, 0, 0, wanted_BS.shape[1]))
            logits_BSV = model.lm_head(model.blocks_from(layer, x_BTD + moved_BTD, first=length - 1))[:, :-1]
            loss = F.cross_entropy(logits_BSV.flatten(0, 1), wanted_BS.flatten(), ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (1 - (step + 1) / steps)
            if progress:
                progress(step + 1)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
    return frame.weight.detach().cpu().clone()


def other_programs(exchange: Exchange) -> np.ndarray:
    """int64 (n, S): the tokens of the programs that the model writes for the other side, their end included, then -1."""
    tokenizer, side = exchange.tokenizer, exchange.pairs.other
    actions = np.concatenate([side.given, exchange.other_actions], axis=1)
    actions = actions[:, : tokenizer.recipe.symbol_width]  # a program that did not end is cut
    lengths = (actions != PAD).sum(1).astype(np.int32)
    rows = tokenizer.encode(replace(side.samples, symbols=actions, lengths=lengths))[:, exchange.tokens.shape[1] :]
    return np.where(rows == tokenizer.pad_id, -1, rows.astype(np.int64))
