"""What a probe is told, and what comes back: tasks, weights and scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

TRAIN, VALIDATION, TEST, UNUSED = 0, 1, 2, 3
"""Codes of a row's part in `train_probes(parts=)`."""


@dataclass(frozen=True)
class Task:
    """What a probe reads: labels (rows, worlds, heads), -1 where there is none, of `classes` classes.

    `key` says what it is (feature, offset, semantics, ...) and is copied to its results.
    """

    key: Mapping[str, object]
    labels: np.ndarray
    classes: int

    def __post_init__(self) -> None:
        if self.labels.ndim != 3:
            raise ValueError(
                f"labels of {dict(self.key)} must have 3 axes (rows, worlds, heads), got {self.labels.shape}"
            )
        if self.classes < 1:
            raise ValueError(f"{dict(self.key)} has {self.classes} classes; a probe needs at least one")
        if self.labels.size and not -1 <= int(self.labels.min()) <= int(self.labels.max()) < self.classes:
            raise ValueError(
                f"labels of {dict(self.key)} run from {self.labels.min()} to {self.labels.max()}, "
                f"outside -1..{self.classes - 1}"
            )


@dataclass(frozen=True)
class ProbeWeights:
    """A trained probe: `layers` of (matrix (I, O), bias (O,)) for inputs standardised with `mean` and `std` (D,).

    Batch normalisation, where it was trained with, is folded into the layers.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    mean: Tensor
    std: Tensor
    worlds: int
    heads: int
    classes: int

    @torch.no_grad()
    def logits(self, states: np.ndarray | Tensor) -> Tensor:
        """(R, D) hidden states -> (R, worlds, heads, classes) scores."""
        x = (torch.as_tensor(np.asarray(states)).float() - self.mean) / self.std
        for index, (matrix, bias) in enumerate(self.layers):
            x = (x.relu() if index else x) @ matrix + bias
        return x.view(len(x), self.worlds, self.heads, self.classes)

    def predict(self, states: np.ndarray | Tensor) -> np.ndarray:
        """(R, D) hidden states -> (R, worlds, heads) classes."""
        return self.logits(states).argmax(-1).numpy()


@dataclass(frozen=True)
class Tally:
    """What a probe's measures are sums of, one number per test row, in order of rows: see `probing.measures.SUMS`."""

    known: np.ndarray
    majority: np.ndarray
    surprisal: np.ndarray
    right: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True)
class ProbeResult:
    """One probe's scores. A world counts as right when all its heads are; None where there was nothing to score.

    accuracy: share of (row, world) right on test rows, as the paper's published code counts. joint: share of test rows
    with every world right. majority: the accuracy of always giving a world's most frequent training answer, of all heads.
    entropy and cross_entropy: bits per (row, world), see `karel_fast.probing.measures`; temperature: what the scores
    were divided by for the cross entropy, chosen on validation rows. best_on_test: the best accuracy on test rows after any
    epoch, if asked for: what the published code reports, biased upwards. epoch counts from 1. rows: how many rows with a
    label train, validation and test have.
    """

    key: Mapping[str, object]
    depth: str
    seed: int
    accuracy: float | None
    joint: float | None
    validation: float | None
    majority: float | None
    epoch: int | None
    rows: tuple[int, int, int]
    note: str = ""
    entropy: float | None = None
    cross_entropy: float | None = None
    temperature: float | None = None
    best_on_test: float | None = None
    tally: Tally | None = field(default=None, repr=False, compare=False)
    weights: ProbeWeights | None = field(default=None, repr=False, compare=False)
