"""Batch normalisation of a hidden layer's activations, folded into the matrix that reads them.

The published code normalises after the ReLU (probe/model.py: Linear, ReLU, BatchNorm1d, Linear). Normalising is affine, and
so is the layer that follows. With the batch's mean m and inverse deviation r, a scale a and a shift c,

    ((h - m) r a + c) W + b  =  h (r a W) + (c - m r a) W + b,

so the batch itself is never written again: training multiplies with a folded matrix of the batch's statistics, scoring with
one of the running statistics, and a trained probe is a plain one.

Shape suffixes: P probes, B rows of a minibatch, I units of the normalised layer, O those of the layer that reads it.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-5
MOMENTUM = 0.1
"""Both as in torch.nn.BatchNorm1d."""


class Normalization:
    """The scales, shifts and statistics of one hidden layer of P probes, each (P, 1, I)."""

    def __init__(self, probes: int, units: int, device: torch.device) -> None:
        self.scale = torch.ones(probes, 1, units, device=device)
        self.shift = torch.zeros_like(self.scale)
        self.running_mean = torch.zeros_like(self.scale)
        self.running_variance = torch.ones_like(self.scale)
        for parameter in (self.scale, self.shift):
            parameter.grad = torch.zeros_like(parameter)
        self.mean = self.running_mean.clone()  # of the last minibatch
        self.inverse = torch.ones_like(self.scale)  # one over its standard deviation

    @property
    def state(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Everything that training changes and scoring needs."""
        return self.scale, self.shift, self.running_mean, self.running_variance

    def observe(self, h_PBI: Tensor, scratch_PBI: Tensor) -> None:
        """Take the statistics of a minibatch, and let the running ones follow it."""
        rows = h_PBI.shape[1]
        torch.sum(h_PBI, 1, keepdim=True, dtype=torch.float32, out=self.mean)
        self.mean /= rows
        torch.sub(h_PBI, self.mean.to(h_PBI.dtype), out=scratch_PBI)
        variance = torch.sum(scratch_PBI.mul_(scratch_PBI), 1, keepdim=True, dtype=torch.float32) / rows
        torch.rsqrt(variance + EPSILON, out=self.inverse)
        self.running_mean.lerp_(self.mean, MOMENTUM)
        self.running_variance.lerp_(variance * (rows / max(1, rows - 1)), MOMENTUM)

    def of_batch(self, matrix_PIO: Tensor, bias_P1O: Tensor) -> tuple[Tensor, Tensor]:
        """The reading layer, folded with the last minibatch's statistics."""
        return self._folded(matrix_PIO, bias_P1O, self.mean, self.inverse)

    def of_run(self, matrix_PIO: Tensor, bias_P1O: Tensor) -> tuple[Tensor, Tensor]:
        """The reading layer, folded with the running statistics."""
        return self._folded(matrix_PIO, bias_P1O, self.running_mean, torch.rsqrt(self.running_variance + EPSILON))

    def _folded(
        self, matrix_PIO: Tensor, bias_P1O: Tensor, mean_P1I: Tensor, inverse_P1I: Tensor
    ) -> tuple[Tensor, Tensor]:
        gain_P1I = self.scale * inverse_P1I
        return gain_P1I.mT * matrix_PIO, torch.baddbmm(bias_P1O, self.shift - mean_P1I * gain_P1I, matrix_PIO)

    def backward(self, gradient_PIO: Tensor, sum_P1O: Tensor, matrix_PIO: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        """Turn h^T g, in place, into the gradient of the reading layer's own matrix; fill those of scale and shift.

        sum_P1O: g summed over the minibatch. Returns (slope, level), both (P, 1, I): the gradient of h is g V^T - h slope + level,
        with V the folded matrix.
        """
        inner_PIO = gradient_PIO.sub_(self.mean.mT * sum_P1O).mul_(self.inverse.mT)  # normalised h^T g
        of_scale, of_shift = self.scale.grad, self.shift.grad
        assert of_scale is not None
        assert of_shift is not None
        torch.sum(matrix_PIO * inner_PIO, -1, out=of_scale[:, 0])
        torch.sum(matrix_PIO * sum_P1O, -1, out=of_shift[:, 0])
        inner_PIO.mul_(self.scale.mT).add_(self.shift.mT * sum_P1O)
        gain_P1I = self.scale * self.inverse / rows
        slope_P1I = gain_P1I * self.inverse * of_scale
        return slope_P1I, self.mean * slope_P1I - gain_P1I * of_shift
