"""A group of probes as one network: standardised rows, batched matrices, the written-out backward pass, scores.

Shape suffixes: R rows, B rows of a minibatch, D state width, P probes of a group (seed-major), S seeds, M tasks, H
heads x worlds, C classes, I and O a layer's inputs and outputs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from karel_fast.probing.probes.normalization import Normalization
from karel_fast.probing.probes.types import Task
from karel_fast.probing.settings import ProbeConfig

MASK_32 = 0xFFFFFFFF
TEMPERATURES = tuple(2 ** (power / 2) for power in range(-2, 13))
"""From twice as sure of itself to 64 times less; between neighbours, the cross entropy hardly changes."""


@dataclass(frozen=True)
class Data:
    inputs: tuple[Tensor, Tensor, Tensor]  # each (R, D) in the products' precision
    rows: Sequence[Tensor]
    mean: Tensor
    std: Tensor
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def build(cls, states: Tensor, rows: Sequence[Tensor], config: ProbeConfig, device: torch.device) -> Data:
        dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        train = states[rows[0]].to(device, torch.float32)
        if not bool(torch.isfinite(train).all()):
            raise ValueError("the hidden states hold values that are not finite; the snapshot's training has diverged")
        mean = train.mean(0)
        std = train.std(0, correction=0)
        # A unit that never changes says nothing: it becomes zero rather than a division by zero.
        std = torch.where(std > 1e-6, std, torch.ones_like(std))
        fit, choose, test = (((states[r].to(device, torch.float32) - mean) / std).to(dtype) for r in rows)
        return cls((fit, choose, test), rows, mean.cpu(), std.cpu(), device, dtype)


def initial_weights(sizes: tuple[int, ...], seed: int) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases drawn uniformly from +-1/sqrt(inputs), from the seed alone."""
    generator = torch.Generator().manual_seed((0x9E3779B9 * (seed + 1)) & MASK_32)
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        bound = 1 / math.sqrt(inputs)
        matrix = torch.empty(inputs, outputs).uniform_(-bound, bound, generator=generator)
        layers.append((matrix, torch.empty(1, outputs).uniform_(-bound, bound, generator=generator)))
    return layers


class Network:
    """P probes of one shape: parameters, gradients and every intermediate of one minibatch, allocated once.

    normalized: with batch normalisation after every hidden layer's ReLU, see `probes.normalization`.
    """

    def __init__(
        self,
        sizes: tuple[int, ...],
        seeds: Sequence[int],
        tasks: int,
        batch: int,
        data: Data,
        normalized: bool = False,
    ) -> None:
        device, dtype = data.device, data.dtype
        initial = [initial_weights(sizes, seed) for seed in seeds]

        def stacked(layer: int, which: int) -> Tensor:
            return torch.stack([one[layer][which] for one in initial for _ in range(tasks)]).to(device)

        depth = len(sizes) - 1
        probes = len(seeds) * tasks
        self.matrices = [stacked(layer, 0) for layer in range(depth)]  # (P, I, O)
        self.biases = [stacked(layer, 1) for layer in range(depth)]  # (P, 1, O)
        self.gradients = [torch.zeros_like(m) for m in self.matrices]
        for parameter, gradient in zip(self.matrices, self.gradients, strict=True):
            parameter.grad = gradient
        for parameter in self.biases:
            parameter.grad = torch.zeros_like(parameter)
        self.normalizations = [Normalization(probes, o, device) for o in sizes[1:-1]] if normalized else []
        self.low = dtype != torch.float32
        # In reduced precision the products read copies of the weights and write gradients that are then widened. A layer
        # that reads a normalised one has the normalisation folded into its copies.
        folded = [normalized and layer > 0 for layer in range(depth)]
        self.copies = [
            torch.empty_like(m, dtype=dtype) if self.low or fold else m
            for m, fold in zip(self.matrices, folded, strict=True)
        ]
        self.added = [torch.empty_like(b) if fold else b for b, fold in zip(self.biases, folded, strict=True)]
        self.products = [
            torch.empty_like(m, dtype=dtype) if self.low else g
            for m, g in zip(self.matrices, self.gradients, strict=True)
        ]
        self.outputs = [torch.empty(probes, batch, o, device=device, dtype=dtype) for o in sizes[1:]]
        self.deltas = [torch.empty_like(out) for out in self.outputs[:-1]]

    @property
    def decayed(self) -> list[Tensor]:
        """The parameters that weight decay pulls to nothing. The published code spares biases and shifts only."""
        return [*self.matrices, *(norm.scale for norm in self.normalizations)]

    @property
    def undecayed(self) -> list[Tensor]:
        return [*self.biases, *(norm.shift for norm in self.normalizations)]

    @property
    def state(self) -> list[Tensor]:
        """Everything that scoring depends on, each (P, ..)."""
        return [*self.matrices, *self.biases, *(t for norm in self.normalizations for t in norm.state)]

    def refresh(self, scoring: bool = False) -> None:
        """Bring the copies up to date. scoring: as a trained probe, with running statistics."""
        if self.low:
            for copy, matrix in zip(self.copies, self.matrices, strict=True):
                copy.copy_(matrix)
        if scoring:
            for layer, (matrix, bias) in enumerate(self.plain_layers()):
                if layer and self.normalizations:
                    self.copies[layer].copy_(matrix)
                    self.added[layer].copy_(bias)

    def plain_layers(self) -> list[tuple[Tensor, Tensor]]:
        """(matrix (P, I, O), bias (P, 1, O)) of every layer, normalisations folded in."""
        layers = list(zip(self.matrices, self.biases, strict=True))
        folded = [norm.of_run(*layer) for norm, layer in zip(self.normalizations, layers[1:], strict=False)]
        return [layers[0], *folded] if folded else layers

    def forward(self, x_PBD: Tensor, outputs: Sequence[Tensor] | None = None) -> Tensor:
        """Logits (P, B, H*C). With `outputs` a step of training, whose hidden activations stay there; without, scoring."""
        out = outputs or [x_PBD.new_empty(*x_PBD.shape[:2], m.shape[-1]) for m in self.matrices]
        h = x_PBD
        for layer in range(len(self.matrices)):
            if outputs is not None and layer and self.normalizations:
                norm = self.normalizations[layer - 1]
                norm.observe(h, self.deltas[layer - 1])
                matrix, bias = norm.of_batch(self.matrices[layer], self.biases[layer])
                self.copies[layer].copy_(matrix)
                self.added[layer].copy_(bias)
            torch.bmm(h, self.copies[layer], out=out[layer])
            h = out[layer].add_(self.added[layer])
            if layer < len(self.matrices) - 1:
                h.relu_()
        return h

    def backward(self, x_PBD: Tensor, g_PBO: Tensor) -> None:
        """Fill the gradients from that of the logits."""
        for layer in reversed(range(len(self.matrices))):
            h = self.outputs[layer - 1] if layer else x_PBD
            torch.bmm(h.transpose(1, 2), g_PBO, out=self.products[layer])
            if self.low:
                self.gradients[layer].copy_(self.products[layer])
            sum_P1O = self.biases[layer].grad
            assert sum_P1O is not None
            torch.sum(g_PBO, 1, keepdim=True, dtype=torch.float32, out=sum_P1O)
            if layer:
                torch.bmm(g_PBO, self.copies[layer].transpose(1, 2), out=self.deltas[layer - 1])
                if self.normalizations:
                    slope, level = self.normalizations[layer - 1].backward(
                        self.gradients[layer], sum_P1O, self.matrices[layer], h.shape[1]
                    )
                    self.deltas[layer - 1].addcmul_(h, slope.to(h.dtype), value=-1).add_(level.to(h.dtype))
                g_PBO = torch.ops.aten.threshold_backward.grad_input(
                    self.deltas[layer - 1], h, 0, grad_input=self.deltas[layer - 1]
                )


def stack_labels(tasks: Sequence[Task], rows: Tensor, device: torch.device) -> Tensor:
    """(R, M, H), as small as the labels come."""
    chosen = rows.numpy()
    return torch.from_numpy(np.stack([t.labels[chosen].reshape(len(chosen), t.labels[0].size) for t in tasks], 1)).to(
        device
    )


def per_probe(x_SBD: Tensor, tasks: int) -> Tensor:
    """(P, B, D): the same rows for all of a seed's tasks; a view when there is one seed."""
    seeds, batch, width = x_SBD.shape
    return x_SBD[:, None].expand(seeds, tasks, batch, width).reshape(seeds * tasks, batch, width)


def loss_gradient(logits_PBO: Tensor, labels_SBMH: Tensor, classes: int) -> Tensor:
    """Gradient of each probe's mean cross entropy over its labelled heads, (P, B, O)."""
    seeds, batch, tasks, heads = labels_SBMH.shape
    target = labels_SBMH.permute(0, 2, 1, 3).reshape(seeds * tasks, batch, heads, 1).long()
    labelled = target >= 0
    g = torch.softmax(logits_PBO.float().view(seeds * tasks, batch, heads, classes), -1)
    g.scatter_add_(-1, target.clamp_(min=0), torch.full((1, 1, 1, 1), -1.0, device=g.device).expand_as(target))
    g *= labelled / labelled.sum((1, 2, 3), keepdim=True).clamp_(min=1)
    return g.view(seeds * tasks, batch, heads * classes).to(logits_PBO.dtype)


@torch.no_grad()
def accuracy_of(
    network: Network, inputs_RD: Tensor, labels_RMH: Tensor, tasks: Sequence[Task], classes: int, seeds: int
) -> np.ndarray:
    """Per probe the share of (row, world) right; NaN (not for callers) without labels."""
    probes = seeds * len(tasks)
    sums = torch.zeros(2, probes, dtype=torch.int64, device=inputs_RD.device)
    for logits, truth in _batches(network, inputs_RD, labels_RMH, tasks, classes, seeds):
        known = (truth >= 0).all(-1)
        right = (logits.argmax(-1) == truth).all(-1) & known
        for slot, value in enumerate((right, known)):
            sums[slot] += value.flatten(2).sum(-1).expand(seeds, -1).flatten()
    counts = sums.cpu().numpy().astype(np.float64)
    with np.errstate(invalid="ignore"):
        return counts[0] / counts[1]


@torch.no_grad()
def choose_temperatures(
    network: Network, inputs_RD: Tensor, labels_RMH: Tensor, tasks: Sequence[Task], classes: int, seeds: int
) -> Tensor:
    """Per probe the temperature out of TEMPERATURES with the smallest cross entropy; 1 without labels."""
    probes = seeds * len(tasks)
    losses = torch.zeros(len(TEMPERATURES), probes, dtype=torch.float64, device=inputs_RD.device)
    for logits, truth in _batches(network, inputs_RD, labels_RMH, tasks, classes, seeds):
        for slot, temperature in enumerate(TEMPERATURES):
            losses[slot] += _lost(logits / temperature, truth).sum(-1, dtype=torch.float64).flatten()
    chosen = torch.tensor(TEMPERATURES, device=losses.device)[losses.argmin(0)]
    return torch.where((losses > 0).any(0), chosen, torch.ones_like(chosen))


@torch.no_grad()
def answers_of(
    network: Network,
    inputs_RD: Tensor,
    labels_RMH: Tensor,
    tasks: Sequence[Task],
    classes: int,
    seeds: int,
    temperatures_P: Tensor,
) -> tuple[np.ndarray, np.ndarray]:
    """Per probe and row the worlds right and the bits lost on worlds with labels at the probe's temperature, (P, R)."""
    right_all, lost_all = [], []
    scale = temperatures_P.view(seeds, len(tasks), 1, 1, 1, 1)
    for logits, truth in _batches(network, inputs_RD, labels_RMH, tasks, classes, seeds):
        right = (logits.argmax(-1) == truth).all(-1) & (truth >= 0).all(-1)
        right_all.append(right.sum(-1).flatten(0, 1).to(torch.int16).cpu())
        lost_all.append(_lost(logits / scale, truth).flatten(0, 1).cpu() / math.log(2))
    if not right_all:
        return np.zeros((seeds * len(tasks), 0), np.int16), np.zeros((seeds * len(tasks), 0), np.float32)
    return torch.cat(right_all, 1).numpy(), torch.cat(lost_all, 1).numpy()


def _batches(
    network: Network, inputs_RD: Tensor, labels_RMH: Tensor, tasks: Sequence[Task], classes: int, seeds: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores (S, M, B, worlds, heads, C) and labels (1, M, B, worlds, heads) of all rows, a minibatch at a time."""
    worlds, heads = tasks[0].labels.shape[1:]
    probes = seeds * len(tasks)
    batch = network.outputs[0].shape[1]
    for start in range(0, len(inputs_RD), batch):
        x_PBD = inputs_RD[None, start : start + batch].expand(probes, -1, -1)
        logits = network.forward(x_PBD).view(seeds, len(tasks), -1, worlds, heads, classes)
        truth = labels_RMH[start : start + batch].permute(1, 0, 2).reshape(1, len(tasks), -1, worlds, heads)
        yield logits, truth


def _lost(logits: Tensor, truth: Tensor) -> Tensor:
    """Nats lost on each row's worlds that have every label, (S, M, B)."""
    of_label = torch.log_softmax(logits.float(), -1).gather(
        -1, truth.clamp(min=0).long().unsqueeze(-1).expand(*logits.shape[:-1], 1)
    )
    return -(of_label.squeeze(-1).sum(-1) * (truth >= 0).all(-1)).sum(-1)
