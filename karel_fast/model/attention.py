"""Causal attention, exact, in the form that is fastest on each device.

Shapes: B rows, H heads, T tokens, Q the last of them, E head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Queries are taken in blocks of this many rows on the CPU; a block never meets the keys after it, so about a third of
# the products of a 400 token row is never computed.
QUERY_BLOCK = 128


def causal_attention(q_BHQE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
    """Softmax attention of the last Q of T positions over themselves and those before them; (B, H, Q, E)."""
    queries, keys = q_BHQE.shape[2], k_BHTE.shape[2]
    if q_BHQE.device.type == "cuda" and queries == keys:
        return F.scaled_dot_product_attention(q_BHQE, k_BHTE, v_BHTE, is_causal=True)
    blocks = []
    for start in range(0, queries, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, queries)
        seen = keys - queries + stop
        blocks.append(_attend(q_BHQE[:, :, start:stop], k_BHTE[:, :, :seen], v_BHTE[:, :, :seen]))
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=2)


def _attend(q_BHQE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
    """The last Q of T positions as queries; plain products, which inductor fuses around."""
    queries, keys = q_BHQE.shape[2], k_BHTE.shape[2]
    scores_BHQT = (q_BHQE @ k_BHTE.transpose(2, 3)) * (q_BHQE.shape[3] ** -0.5)
    row = torch.arange(keys - queries, keys, device=q_BHQE.device)[:, None]
    later_QT = torch.arange(keys, device=q_BHQE.device)[None, :] > row
    weights_BHQT = scores_BHQT.float().masked_fill(later_QT, float("-inf")).softmax(dim=-1)
    return weights_BHQT.to(v_BHTE.dtype) @ v_BHTE
