"""Attention in decoding, as `Transformer.backbone` takes it: over prompts whose keys and values are kept, and over those.

The prompts' keys and values are never moved: each new token attends to them and to a small static cache of the new ones.

Shapes: B rows, H heads, P prompt tokens, S new tokens, E head width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from karel_fast.model.attention import causal_attention

Cache = list[tuple[Tensor, Tensor]]
"""Keys and values of every block, each (B, H, tokens, E)."""


class ReadingAttention:
    """Causal attention within the prompts; `cache` gets every block's keys and values."""

    def __init__(self) -> None:
        self.cache: Cache = []

    def __call__(self, block: int, q_BHPE: Tensor, k_BHPE: Tensor, v_BHPE: Tensor) -> Tensor:
        self.cache.append((k_BHPE.contiguous(), v_BHPE.contiguous()))
        return causal_attention(q_BHPE, k_BHPE, v_BHPE)


class WritingAttention:
    """Attention of new token `number` (a tensor of one element) to the prompts and to the new tokens up to itself.

    prompt, new: the caches so far; `cache` gets the new tokens' one with this token in it.
    """

    def __init__(self, prompt: Cache, new: Cache, number: Tensor) -> None:
        self.prompt, self.new, self.number = prompt, new, number
        self.cache: Cache = []

    def __call__(self, block: int, q_BH1E: Tensor, k_BH1E: Tensor, v_BH1E: Tensor) -> Tensor:
        new_k_BHSE, new_v_BHSE = self.new[block]
        slots_S = torch.arange(new_k_BHSE.shape[2], device=q_BH1E.device)
        here_S1 = (slots_S == self.number)[:, None]
        k_BHSE = torch.where(here_S1, k_BH1E, new_k_BHSE)
        v_BHSE = torch.where(here_S1, v_BH1E, new_v_BHSE)
        self.cache.append((k_BHSE, v_BHSE))
        return attend_cached(q_BH1E, self.prompt[block], (k_BHSE, v_BHSE), slots_S > self.number)


def attend_cached(
    q_BH1E: Tensor, prompt: tuple[Tensor, Tensor], new: tuple[Tensor, Tensor], unwritten_S: Tensor
) -> Tensor:
    """Attention of one new position to the prompt and to the new tokens up to itself."""
    scale = q_BH1E.shape[3] ** -0.5
    old_BH1P = (q_BH1E @ prompt[0].transpose(2, 3)).float() * scale
    new_BH1S = (q_BH1E @ new[0].transpose(2, 3)).float() * scale
    new_BH1S = new_BH1S.masked_fill(unwritten_S, float("-inf"))
    weights = torch.cat((old_BH1P, new_BH1S), dim=-1).softmax(dim=-1).to(prompt[1].dtype)
    old_part, new_part = weights.split((old_BH1P.shape[-1], new_BH1S.shape[-1]), dim=-1)
    return old_part @ prompt[1] + new_part @ new[1]
