"""Muon: momentum whose update is orthogonalised, for the matrices inside the blocks.

Algorithm: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), quintic Newton-Schulz
iteration; the update is scaled as in "Muon is Scalable for LLM Training" (Liu et al. 2025), so one learning rate
serves AdamW and Muon.

torch.optim.Muon (2.13) does the same one matrix at a time. Here all matrices of one shape are orthogonalised as one batch
(a model of equal blocks has two shapes), which is faster (benchmarks/NOTES.md), and the fused query/key/value matrix counts
as the three matrices that it is.

Shapes: N matrices of one shape, R <= C their sides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalise(matrices_NRC: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: every singular value is brought near 1 (within about 0.7 to
    1.2).
    """
    a, b, c = COEFFICIENTS
    x_NRC = matrices_NRC / matrices_NRC.float().norm(dim=(1, 2), keepdim=True).clamp_min(1e-7).to(matrices_NRC.dtype)
    for _ in range(ITERATIONS):
        gram_NRR = x_NRC @ x_NRC.mT
        step_NRR = torch.baddbmm(gram_NRR, gram_NRR, gram_NRR, beta=b, alpha=c)
        x_NRC = torch.baddbmm(x_NRC, step_NRR, x_NRC, beta=a)
    return x_NRC


class Muon(torch.optim.Optimizer):
    """Muon over 2-D parameters given as (parameter, parts): a matrix with parts > 1 is that many matrices on top of
    each other.

    dtype: of the iteration (bfloat16 is enough for it).
    """

    def __init__(
        self,
        parameters: Iterable[tuple[Tensor, int]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        pairs = list(parameters)
        for parameter, parts in pairs:
            if parameter.ndim != 2 or parameter.shape[0] % parts:
                raise ValueError(f"Muon takes matrices; got shape {tuple(parameter.shape)} in {parts} parts")
        super().__init__([p for p, _ in pairs], {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.parts = [parts for _, parts in pairs]
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter; all must have a gradient."""
        group = self.param_groups[0]
        lr, momentum = group["lr"], group["momentum"]
        parameters: list[Tensor] = group["params"]
        gradients = [p.grad for p in parameters if p.grad is not None]
        for p in parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        updates = torch._foreach_lerp(gradients, buffers, momentum)  # Nesterov

        # One batch per shape, wide way round, so that the Gram matrices are the small ones.
        batches: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        targets: dict[tuple[int, int], list[tuple[Tensor, bool]]] = defaultdict(list)
        for parameter, update, parts in zip(parameters, updates, self.parts, strict=True):
            for matrix, target in zip(update.chunk(parts), parameter.chunk(parts), strict=True):
                tall = matrix.shape[0] > matrix.shape[1]
                matrix = matrix.mT if tall else matrix
                shape = (matrix.shape[0], matrix.shape[1])
                batches[shape].append(matrix)
                targets[shape].append((target, tall))
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        for shape, matrices in batches.items():
            scale = -lr * 0.2 * max(shape) ** 0.5
            for (target, tall), flat in zip(
                targets[shape], orthogonalise(torch.stack(matrices).to(self.dtype)), strict=True
            ):
                target.add_(flat.mT if tall else flat, alpha=scale)
