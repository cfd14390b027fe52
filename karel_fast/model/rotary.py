"""Rotary position embedding (RoFormer, Su et al. 2021) of the first dimensions of each head, stored halves apart.

Shapes: B rows, H heads, T tokens, E head width, R half the rotated dimensions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def rotary_table(positions: int, rotary_dim: int) -> tuple[Tensor, Tensor]:
    """sin and cos of every angle, each (positions, rotary_dim / 2), float32; base 10,000."""
    inverse = 1.0 / (10000 ** (torch.arange(0, rotary_dim, 2, dtype=torch.int64) / rotary_dim))
    angles = torch.arange(positions, dtype=torch.int64).float()[:, None] * inverse
    return angles.sin(), angles.cos()


def rotate(x_BHTE: Tensor, sin_TR: Tensor, cos_TR: Tensor) -> Tensor:
    """Rotate the first dimensions of each head by its position's angles; the result has x's dtype."""
    if torch.compiler.is_compiling():
        turned_BHTE: Tensor = CompiledRotation.apply(x_BHTE, sin_TR, cos_TR)
        return turned_BHTE
    return _rotate(x_BHTE, sin_TR, cos_TR)


class CompiledRotation(torch.autograd.Function):
    """A rotation's gradient is turned back by the same angle; the derived one is assembled from padded slices, slowly."""

    @staticmethod
    def forward(ctx: Any, x_BHTE: Tensor, sin_TR: Tensor, cos_TR: Tensor) -> Tensor:
        ctx.save_for_backward(sin_TR, cos_TR)
        return _rotate(x_BHTE, sin_TR, cos_TR)

    @staticmethod
    def backward(ctx: Any, grad_BHTE: Tensor) -> tuple[Tensor, None, None]:
        sin_TR, cos_TR = ctx.saved_tensors
        return _rotate(grad_BHTE, -sin_TR, cos_TR), None, None


def _rotate(x_BHTE: Tensor, sin_TR: Tensor, cos_TR: Tensor) -> Tensor:
    half = sin_TR.shape[-1]
    a, b, rest = x_BHTE[..., :half], x_BHTE[..., half : 2 * half], x_BHTE[..., 2 * half :]
    parts = a * cos_TR - b * sin_TR, b * cos_TR + a * sin_TR, rest
    # Each part is cast, and not the result: casting that to the dtype it has gives a second name for it, and compiled by torch
    # 2.11 an autograd.Function whose result has two names has a gradient of zero (pytorch issue 180642).
    return torch.cat([part.to(x_BHTE.dtype) for part in parts], dim=-1)
