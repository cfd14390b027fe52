"""Subspaces of states in which a pair's two runs are told apart, found without training the model's own behaviour into them.

means      the differences between the mean states of each value of a label
principal  the largest principal components of the differences between a pair's two states
probe      the span of a linear probe's weights
random     drawn at random

A label is a number of quarters, 0 to 3: `direction`, where each example's robot faces when the model goes on; or `turn`, how far
it has to turn in all until it faces as the output does. All examples of a specification that a program satisfies have the same
turn, since they make the same one.

Shapes: n pairs, T tokens, m states at the edited tokens, D width, R rank, G numbers of a label.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from karel_fast.probing.edits.exchange import Exchange
from karel_fast.probing.probes.training import TEST, TRAIN, VALIDATION, ProbeResult, ProbeWeights, Task, train_probes

QUARTERS = 4
LABELS = ("direction", "turn")
_SMALLEST = 1e-3
"""Of the largest singular value: what is less does not count towards a rank."""


def labels_of(exchange: Exchange, side: str, label: str) -> np.ndarray:
    """int64 (n, G): the label of a side, "base" or "other"; G is the number of examples for `direction`, 1 for `turn`."""
    pair_side = exchange.pairs.base if side == "base" else exchange.pairs.other
    now: np.ndarray = pair_side.robots()[:, :, 2].astype(np.int64)
    if label == "direction":
        return now
    wanted = pair_side.samples.shown()[1].robot[:, 2].reshape(now.shape).astype(np.int64)
    return (wanted - now)[:, :1] % QUARTERS


def one_hot(labels: np.ndarray) -> np.ndarray:
    """float64 (n, 4 G) of labels (n, G)."""
    return np.eye(QUARTERS)[labels].reshape(len(labels), -1)


class Reading:
    """The states of both sides at the edited tokens, less their mean at each token, and a label.

    states: (m, D). labels: (m, G). means: (T, D). rows, tokens: where each is; rows first of the base side and then of the other,
    `pairs` of each, whether or not a pair has edited tokens.
    """

    def __init__(self, exchange: Exchange, layer: int, mask: np.ndarray, label: str) -> None:
        both = torch.cat([exchange.states(side, layer) for side in ("base", "other")])
        labels = np.concatenate([labels_of(exchange, side, label) for side in ("base", "other")])
        self.pairs = len(exchange)
        where = np.nonzero(np.concatenate([mask, mask]))
        self.rows, self.tokens = where
        here = both[where]
        tokens = torch.from_numpy(self.tokens)
        counts = torch.bincount(tokens, minlength=mask.shape[1]).clamp(min=1)
        self.means = torch.zeros(mask.shape[1], both.shape[2]).index_add_(0, tokens, here) / counts[:, None]
        self.states = here - self.means[tokens]
        self.label, self.labels = label, labels[self.rows]

    def weights(self) -> Tensor:
        """float32 (4 G, D): what each value of the label adds to a state, by least squares."""
        labels = torch.from_numpy(one_hot(self.labels)).float()
        return torch.linalg.lstsq(labels, self.states, driver="gelsd").solution


def means_basis(reading: Reading) -> Tensor:
    """(R, D) orthonormal rows, R at most 3 G."""
    labels = torch.from_numpy(one_hot(reading.labels)).float()
    return _span((labels - labels.mean(0)).mT @ reading.states)


def principal_basis(exchange: Exchange, layer: int, mask: np.ndarray, rank: int) -> Tensor:
    """(rank, D) orthonormal rows, the largest component first."""
    difference = (exchange.states("other", layer) - exchange.states("base", layer))[torch.from_numpy(mask)]
    _, vectors = torch.linalg.eigh(difference.mT @ difference)
    return vectors.flip(1)[:, :rank].mT.contiguous()


def random_basis(width: int, rank: int, seed: int) -> Tensor:
    """(rank, width) orthonormal rows."""
    noise = torch.randn(width, rank, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(noise).Q.mT.contiguous()


def label_probe(reading: Reading, seed: int) -> ProbeResult:
    """A linear probe of the label, learnt on four fifths of the pairs; a tenth each chooses and tests."""
    part = np.random.default_rng(seed).choice([TRAIN, VALIDATION, TEST], size=reading.pairs, p=[0.8, 0.1, 0.1])
    task = Task({"feature": reading.label}, reading.labels[:, :, None], QUARTERS)
    return train_probes(
        reading.states,
        [task],
        part[reading.rows % reading.pairs],
        depths={"linear": ()},
        seeds=(seed,),
        keep_weights=True,
    )[0]


def probe_basis(probe: ProbeWeights) -> Tensor:
    """(R, D) orthonormal rows, R at most 3 G: a shift of all classes' scores is no answer, so it does not count."""
    matrix = probe.layers[0][0] / probe.std[:, None]
    scores = matrix.mT.reshape(probe.worlds, probe.classes, -1)
    return _span((scores - scores.mean(1, keepdim=True)).flatten(0, 1))


def probe_turn(probe: ProbeWeights, states: Tensor, wanted: np.ndarray) -> Tensor:
    """The smallest change (m, D) of the states (m, D), in standardised units, that swaps the probe's scores of its present
    answer and of the wanted class (m, G) in every world, and leaves its other scores alone.
    """
    matrix, _ = probe.layers[0]
    scores = probe.logits(states)[:, :, 0]
    target_class = torch.as_tensor(wanted)[..., None]
    present = scores.argmax(-1, keepdim=True)
    target = scores.clone()
    target.scatter_(2, present, scores.gather(2, target_class))
    target.scatter_(2, target_class, scores.gather(2, present))
    return ((target - scores).flatten(1) @ torch.linalg.pinv(matrix)) * probe.std


def _span(vectors: Tensor) -> Tensor:
    """Orthonormal rows that span those of (k, D)."""
    _, values, rows = torch.linalg.svd(vectors, full_matrices=False)
    return rows[values > _SMALLEST * values[0]].contiguous()
