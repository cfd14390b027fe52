"""Causal attention, exact, in the form that is fastest on each device.

Shapes: B rows, H heads, T tokens, Q the last of them as queries, E head width; q queries of one block, t tokens that they see.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# Queries are taken in blocks of this many rows on the CPU; a block never meets the keys after it, so about a third of
# the products of a 400 token row is never computed.
QUERY_BLOCK = 128


def causal_attention(q_BHQE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
    """Softmax attention of the last Q of T positions over themselves and those before them; (B, H, Q, E)."""
    if q_BHQE.device.type == "cuda" and q_BHQE.shape[2] == k_BHTE.shape[2]:
        return F.scaled_dot_product_attention(q_BHQE, k_BHTE, v_BHTE, is_causal=True)
    if torch.compiler.is_compiling():
        mixed_BHQE: Tensor = CompiledAttention.apply(q_BHQE, k_BHTE, v_BHTE)
        return mixed_BHQE
    return plain_attention(q_BHQE, k_BHTE, v_BHTE)


def plain_attention(q_BHQE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
    """The same in torch's own operators, block by block; differentiable in every way that torch knows."""
    mixed = []
    for queries, keys in _blocks(q_BHQE.shape[2], k_BHTE.shape[2]):
        weights_BHqt = attention_weights(q_BHQE[:, :, queries], k_BHTE[:, :, keys])
        mixed.append(weights_BHqt.to(v_BHTE.dtype) @ v_BHTE[:, :, keys])
    return torch.cat(mixed, dim=2)


def attention_weights(q_BHqE: Tensor, k_BHtE: Tensor) -> Tensor:
    """How much each of the last q of t positions takes from each: float32 (B, H, q, t), summing to one over t."""
    return _scores(q_BHqE, k_BHtE).softmax(dim=-1)


class CompiledAttention(torch.autograd.Function):
    """The same for compiled graphs: inductor fuses what is between the products.

    Weights stay exponentials until after the product with the values, where there is less to divide by their sums. The
    gradient is written out, since on a CPU the derived one keeps the weights in float32, passes over them once more
    (here their sums with their gradients come from the result, as in FlashAttention, Dao et al. 2022, section 3.1) and
    gives the keys' gradient transposed.
    """

    @staticmethod
    def forward(ctx: Any, q_BHQE: Tensor, k_BHTE: Tensor, v_BHTE: Tensor) -> Tensor:
        mixed, kept = [], []
        for queries, keys in _blocks(q_BHQE.shape[2], k_BHTE.shape[2]):
            scores_BHqt = _scores(q_BHQE[:, :, queries], k_BHTE[:, :, keys])
            exp_BHqt = (scores_BHqt - scores_BHqt.amax(dim=-1, keepdim=True)).exp()
            sum_BHq1 = exp_BHqt.sum(dim=-1, keepdim=True)
            exp_BHqt = exp_BHqt.to(v_BHTE.dtype)
            mixed.append(((exp_BHqt @ v_BHTE[:, :, keys]) / sum_BHq1).to(v_BHTE.dtype))
            kept += [exp_BHqt, sum_BHq1]
        mixed_BHQE = torch.cat(mixed, dim=2)
        ctx.save_for_backward(q_BHQE, k_BHTE, v_BHTE, mixed_BHQE, *kept)
        return mixed_BHQE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BHQE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q_BHQE, k_BHTE, v_BHTE, mixed_BHQE, *kept = ctx.saved_tensors
        dtype, length = q_BHQE.dtype, k_BHTE.shape[2]
        grad_BHQE = grad_BHQE.float()
        mean_BHQ1 = (grad_BHQE * mixed_BHQE).sum(dim=-1, keepdim=True)
        q_grads, k_grads, v_grads = [], [], []
        for (queries, keys), exp_BHqt, sum_BHq1 in zip(
            _blocks(q_BHQE.shape[2], length), kept[::2], kept[1::2], strict=True
        ):
            part_BHqE = (grad_BHQE[:, :, queries] / sum_BHq1).to(dtype)
            weights_BHqt = part_BHqE @ v_BHTE[:, :, keys].mT - mean_BHQ1[:, :, queries] / sum_BHq1
            scores_BHqt = (exp_BHqt * weights_BHqt * q_BHQE.shape[3] ** -0.5).to(dtype)
            q_grads.append(scores_BHqt @ k_BHTE[:, :, keys])
            later = (0, 0, 0, length - keys.stop)
            k_grads.append(F.pad((scores_BHqt.mT @ q_BHQE[:, :, queries]).float(), later))
            v_grads.append(F.pad((exp_BHqt.mT @ part_BHqE).float(), later))
        return torch.cat(q_grads, dim=2), reduce(torch.add, k_grads).to(dtype), reduce(torch.add, v_grads).to(dtype)


def _blocks(queries: int, keys: int) -> Iterator[tuple[slice, slice]]:
    """The queries of each block, and the keys that the last of them sees."""
    for start in range(0, queries, QUERY_BLOCK):
        stop = min(start + QUERY_BLOCK, queries)
        yield slice(start, stop), slice(0, keys - queries + stop)


def _scores(q_BHqE: Tensor, k_BHtE: Tensor) -> Tensor:
    """What the softmax is taken of, for the last q of t positions: float32, minus infinity where a key comes later."""
    queries, keys = q_BHqE.shape[2], k_BHtE.shape[2]
    scores_BHqt = (q_BHqE @ k_BHtE.mT).float() * q_BHqE.shape[3] ** -0.5
    row = torch.arange(keys - queries, keys, dtype=torch.int32, device=q_BHqE.device)[:, None]
    later_qt = torch.arange(keys, dtype=torch.int32, device=q_BHqE.device)[None, :] > row
    return scores_BHqt.masked_fill(later_qt, float("-inf"))
