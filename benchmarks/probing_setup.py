"""What the probing suite compares: made-up hidden states, and one probe trained the usual way."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from karel_fast.model.device import autocast
from karel_fast.probing.probes.training import TEST, TRAIN, VALIDATION

CLASSES = {"direction": 4, "position": 11, "facing": 2}
HEADS = {"direction": 1, "position": 2, "facing": 1}
WORLDS = 5


@dataclass(frozen=True)
class Size:
    """Labels of `programs`; probes on `rows` states of `width`. Of the 15 tasks of a feature (3 semantics x 5 offsets) and 5 seeds, the
    probes trained together are `tasks` x `seeds`. epoch_rows: rows of a timed epoch. cap: most epochs of a plain loop."""

    programs: int
    rows: int
    width: int
    tasks: int
    seeds: int
    epoch_rows: int
    cap: int
    rounds: int


PROBING_SIZES = {
    "quick": Size(200, 1_000, 16, 2, 1, 1_000, 1, 1),
    "small": Size(100_000, 100_000, 256, 5, 1, 20_000, 20, 3),
    "paper": Size(100_000, 100_000, 1024, 15, 5, 100_000, 20, 3),
}


def synthetic(rows: int, width: int, noise: float = 0.7) -> tuple[Tensor, dict[str, np.ndarray]]:
    """States that encode the three features of 5 worlds nonlinearly, under noise, and the labels (rows, worlds, heads)."""
    rng = np.random.default_rng(0)
    labels = {f: rng.integers(0, c, (rows, WORLDS, HEADS[f])).astype(np.int8) for f, c in CLASSES.items()}
    hot = np.concatenate([np.eye(CLASSES[f], dtype=np.float32)[v].reshape(rows, -1) for f, v in labels.items()], 1)
    hidden = np.tanh(0.4 * (hot - hot.mean(0)) @ rng.normal(size=(hot.shape[1], 512)).astype(np.float32))
    states = hidden @ rng.normal(size=(512, width)).astype(np.float32)
    states /= states.std()
    return torch.from_numpy(states + noise * rng.normal(size=states.shape).astype(np.float32)), labels


def split(rows: int) -> np.ndarray:
    """Of ten rows eight to train on, one to validate and one to test."""
    return np.array([TRAIN] * 8 + [VALIDATION, TEST])[np.arange(rows) % 10]


class PlainProbe:
    """One probe, the usual way: nn.Sequential, cross entropy and AdamW at a constant rate."""

    def __init__(
        self, hidden: tuple[int, ...], feature: str, states: Tensor, labels: np.ndarray, device: torch.device,
        dtype: torch.dtype, batch: int,
    ) -> None:  # fmt: skip
        torch.manual_seed(0)
        self.device, self.dtype, self.batch = device, dtype, batch
        self.classes, self.heads = CLASSES[feature], HEADS[feature]
        sizes = (states.shape[1], *hidden, WORLDS * self.heads * self.classes)
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            layers += ([nn.ReLU()] if i else []) + [nn.Linear(inputs, outputs)]
        self.net = nn.Sequential(*layers).to(device)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3, weight_decay=0.01)
        parts = split(len(states))
        y = torch.from_numpy(labels.reshape(len(labels), -1)).long()
        mean, std = states[parts == TRAIN].mean(0), states[parts == TRAIN].std(0)
        x = (states - mean) / std
        self.host = TensorDataset(x[parts == TRAIN], y[parts == TRAIN])
        self.rows = {part: (x[parts == part].to(device), y[parts == part].to(device)) for part in (0, 1, 2)}

    def step(self, x: Tensor, y: Tensor) -> None:
        with autocast(self.device, self.dtype):
            scores = self.net(x).view(-1, self.classes)
        loss = nn.functional.cross_entropy(scores.float(), y.reshape(-1), ignore_index=-1)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def epoch_sliced(self) -> None:
        """Rows taken out of tensors, as one writes it after profiling."""
        x, y = self.rows[TRAIN]
        order = torch.randperm(len(x), device=self.device)
        for start in range(0, len(x) - self.batch + 1, self.batch):
            some = order[start : start + self.batch]
            self.step(x[some], y[some])
        self.accuracy(VALIDATION)

    def epoch_loader(self) -> None:
        """Rows from a shuffling DataLoader, as one writes it first."""
        for x, y in DataLoader(self.host, batch_size=self.batch, shuffle=True, drop_last=True):
            self.step(x.to(self.device), y.to(self.device))
        self.accuracy(VALIDATION)

    @torch.no_grad()
    def accuracy(self, part: int) -> float:
        """Share of (row, world) right."""
        x, y = self.rows[part]
        with autocast(self.device, self.dtype):
            right = self.net(x).view(len(x), -1, self.classes).argmax(-1) == y
        return float(right.view(len(x), -1, self.heads).all(-1).float().mean())


class PublishedProbe(PlainProbe):
    """One probe of the first world as the published code trains it: BatchNorm1d after the ReLU, AdamW at 0.02 with a decay of 0.2,
    a rate that falls 150 times by 5 %, batches of 1,024, the epoch that is best on test rows. 20 evaluations in a run.
    """

    def __init__(
        self, hidden: tuple[int, ...], feature: str, states: Tensor, labels: np.ndarray, device: torch.device, epochs: int
    ) -> None:  # fmt: skip
        super().__init__(hidden, feature, states, labels[:, :1], device, torch.float32, 1024)
        self.batch = min(self.batch, len(self.rows[TRAIN][0]))
        self.epochs = epochs
        sizes = (states.shape[1], *hidden, self.heads * self.classes)
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            layers += ([nn.ReLU(), nn.BatchNorm1d(inputs)] if i else []) + [nn.Linear(inputs, outputs)]
        self.net = nn.Sequential(*layers).to(device)
        named = list(self.net.named_parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for name, p in named if "bias" not in name], "weight_decay": 0.2},
                {"params": [p for name, p in named if "bias" in name], "weight_decay": 0.0},
            ],
            lr=0.02,
        )
        self.scheduler = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.95)

    def train(self) -> float:
        """All epochs; the best accuracy on test rows."""
        loader = DataLoader(self.host, batch_size=self.batch, shuffle=True, drop_last=True)
        total = len(loader) * self.epochs
        best, step = 0.0, 0
        for _ in range(self.epochs):
            for x, y in loader:
                self.net.train()
                self.step(x.to(self.device), y.to(self.device))
                step += 1
                if step % max(1, total // 150) == 0:
                    self.scheduler.step()
                if step % max(1, total // 20) == 0:
                    self.net.eval()
                    best = max(best, self.accuracy(TEST))
        return best
