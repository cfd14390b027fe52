"""The block's MLP: GELU (tanh form) between two matrices with biases.

Shapes: B rows, T tokens, D width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CodeGenConfig


class MLP(nn.Module):
    """(B, T, D) -> (B, T, D), through an inner layer of config.n_inner, or 4 D."""

    def __init__(self, config: CodeGenConfig) -> None:
        super().__init__()
        inner = config.n_inner if config.n_inner is not None else 4 * config.n_embd
        self.fc_in = nn.Linear(config.n_embd, inner)
        self.fc_out = nn.Linear(inner, config.n_embd)

    def forward(self, x_BTD: Tensor) -> Tensor:
        # Biases are added on their own: compiled, they join the GELU and the residual sum, where a product that starts
        # from a bias would have to copy it to every row first.
        inner = add_bias(F.linear(x_BTD, self.fc_in.weight), self.fc_in.bias)
        return add_bias(F.linear(gelu(inner), self.fc_out.weight), self.fc_out.bias)


def gelu(x: Tensor) -> Tensor:
    """The tanh form of GELU. 0.5 (1 + tanh z) is sigmoid(2 z), which makes a compiled training step on a CPU 2 to 10 %
    shorter (benchmarks/NOTES.md); uncompiled it would be five operators in place of one.
    """
    if not torch.compiler.is_compiling():
        return F.gelu(x, approximate="tanh")
    slope = 2 * math.sqrt(2 / math.pi)
    return x * torch.sigmoid(x * (slope + 0.044715 * slope * x * x))


def add_bias(x_BTD: Tensor, bias_D: Tensor) -> Tensor:
    """x + bias."""
    if torch.compiler.is_compiling():
        sum_BTD: Tensor = CompiledBias.apply(x_BTD, bias_D)
        return sum_BTD
    return x_BTD + bias_D


class CompiledBias(torch.autograd.Function):
    """The bias's gradient as a product with ones: the sum over rows that inductor makes of the derived one reads memory against
    the grain, and computes x's gradient twice.
    """

    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, bias_D: Tensor) -> Tensor:
        ctx.dtypes = x_BTD.dtype, bias_D.dtype
        return x_BTD + bias_D

    @staticmethod
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Tensor, Tensor]:
        dtype, bias_dtype = ctx.dtypes
        grad_BTD = grad_BTD.to(dtype)
        grad_ND = grad_BTD.flatten(0, -2)
        sum_1D = grad_ND.new_ones(1, len(grad_ND)) @ grad_ND
        return grad_BTD, sum_1D[0].to(bias_dtype)
