"""Erasing a label from states: what the model still does when the robots' directions cannot be read.

LEACE (Belrose et al., 2023, arXiv:2306.03819, theorem 4.3): of all affine maps after which no linear probe reads a label
better than a constant, the one that moves the states least. In closed form: x - W+ P W (x - mean), W the whitening of x and P
the orthogonal projection onto the columns of W cov(x, z). Here each token of the prompt has one of its own.

Shapes: n specifications, T tokens of the prompt, D width, Z labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_SMALLEST = 1e-5
"""Of the largest variance: directions with less are taken as empty. Also the smallest covariance that counts of whitened states, whose
variance is 1 in every direction, with labels of 0 and 1."""


@dataclass(frozen=True)
class Eraser:
    """x -> x - (x - mean) @ removed, at every token. mean: (T, D). removed: (T, D, D). rank: (T,) dimensions removed."""

    mean: Tensor
    removed: Tensor
    rank: Tensor

    def __call__(self, x_nTD: Tensor) -> Tensor:
        """The states, erased."""
        return x_nTD - torch.einsum("ntd,tde->nte", x_nTD - self.mean, self.removed)


def fit_eraser(x_nTD: Tensor, z_nZ: Tensor, random: torch.Generator | None = None) -> Eraser:
    """The eraser of labels z from states x; with `random`, one that removes as many directions drawn at random.

    Random directions are drawn among those in which the whitened states vary, so that either kind removes an equal share of
    the variance on average.
    """
    x, z = x_nTD.double(), z_nZ.double()
    mean = x.mean(0)
    centred = (x - mean).transpose(0, 1)  # (T, n, D)
    covariance = centred.mT @ centred / len(x)
    crossed = centred.mT @ (z - z.mean(0)) / len(x)  # (T, D, Z)
    values, vectors = torch.linalg.eigh(covariance)
    full = values > _SMALLEST * values.amax(1, keepdim=True)
    root = values.clamp(min=0).sqrt()
    inverse = torch.where(full, 1 / root, 0.0)
    whitened = inverse[:, :, None] * (vectors.mT @ crossed)  # in the basis of the eigenvectors
    columns, sizes, _ = torch.linalg.svd(whitened, full_matrices=False)
    found = sizes > _SMALLEST
    rank = found.sum(1)
    if random is not None:
        noise = torch.randn(columns.shape, generator=random, dtype=x.dtype) * full[:, :, None]
        columns = torch.linalg.qr(noise).Q
        found = torch.arange(columns.shape[2]) < rank[:, None]
    columns = columns * found[:, None, :]
    inside = columns @ columns.mT
    matrix = (vectors * torch.where(full, root, 0.0)[:, None, :]) @ inside @ (inverse[:, :, None] * vectors.mT)
    return Eraser(mean.float(), matrix.mT.contiguous().float(), rank)


def readable(x_train: Tensor, z_train: Tensor, x_test: Tensor, z_test: Tensor, classes: int) -> Tensor:
    """(T,): the share of test labels that a linear reading by least squares, fit on the training rows, gets right at each token.

    x: (n, T, D). z: one-hot (n, Z), Z / classes numbers of `classes` classes each, which are counted together.
    """
    mean, z_mean = x_train.mean(0), z_train.mean(0)
    centred = (x_train - mean).transpose(0, 1).double()
    inverse = torch.linalg.pinv(centred.mT @ centred / len(x_train), hermitian=True, rtol=_SMALLEST)
    weights = inverse @ (centred.mT @ (z_train - z_mean).double() / len(x_train))
    scores = torch.einsum("ntd,tdz->ntz", (x_test - mean).double(), weights) + z_mean
    chosen = scores.unflatten(2, (-1, classes)).argmax(3)
    true = z_test.unflatten(1, (-1, classes)).argmax(2)
    return (chosen == true[:, None]).double().mean((0, 2))
