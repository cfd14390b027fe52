"""Many probes trained together on the same hidden states.

A probe is a small classifier from a hidden state to one feature's labels: linear, or with hidden layers (ReLU, and
batch normalisation if asked). It has one softmax per head and world. Probes of equal shape are trained as one batch of
matrices (`torch.bmm`), with the backward pass written out so that every intermediate lives in a preallocated buffer.
Nothing is shared between probes but the rows: a probe's initial weights and its order of rows come from its seed
alone, and its loss, gradient and optimiser state are its own.

The mean and standard deviation of the inputs come from training rows; after every epoch each probe is scored on
validation rows and its best epoch is kept (the earliest of equals); only then is it scored on test rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from karel_fast.probing.measures import finite
from karel_fast.probing.probes.network import (
    MASK_32,
    Data,
    Network,
    accuracy_of,
    answers_of,
    choose_temperatures,
    loss_gradient,
    per_probe,
    stack_labels,
)
from karel_fast.probing.probes.types import TEST as TEST
from karel_fast.probing.probes.types import TRAIN as TRAIN
from karel_fast.probing.probes.types import UNUSED as UNUSED
from karel_fast.probing.probes.types import VALIDATION as VALIDATION
from karel_fast.probing.probes.types import ProbeResult as ProbeResult
from karel_fast.probing.probes.types import ProbeWeights as ProbeWeights
from karel_fast.probing.probes.types import Tally as Tally
from karel_fast.probing.probes.types import Task as Task
from karel_fast.probing.settings import DEPTHS as DEPTHS
from karel_fast.probing.settings import ProbeConfig as ProbeConfig


def train_probes(
    states: np.ndarray | Tensor,
    tasks: Sequence[Task],
    parts: np.ndarray,
    *,
    depths: Mapping[str, tuple[int, ...]] | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    config: ProbeConfig | None = None,
    device: str | torch.device = "cpu",
    keep_weights: bool = False,
    keep_tallies: bool = False,
    seeds_together: bool = False,
    progress: Callable[[int], None] | None = None,
) -> list[ProbeResult]:
    """Train one probe per (task, depth, seed) on the same rows; results in that order.

    states: (R, D) float array. parts: (R,) codes TRAIN, VALIDATION, TEST or UNUSED. `progress` is called with the
    number of probes just finished. `seeds_together`: on a CPU too, put a task's seeds into one group, which is faster for few
    tasks; it changes the last bits. `keep_tallies` gives every result its sums per test row. A probe that cannot be
    trained or scored has None there and says why in `.note`.
    Raises ValueError for arrays that do not fit together and for states that are not finite.
    """
    config = config or ProbeConfig()
    depths = DEPTHS if depths is None else depths
    device = torch.device(device)
    parts = np.asarray(parts)
    states = torch.as_tensor(np.asarray(states) if not isinstance(states, Tensor) else states)
    if states.ndim != 2 or parts.shape != (len(states),):
        raise ValueError(f"states must be (rows, width) and parts (rows,); got {tuple(states.shape)} and {parts.shape}")
    for task in tasks:
        if len(task.labels) != len(states):
            raise ValueError(
                f"{dict(task.key)} labels {len(task.labels)} rows, but there are {len(states)} hidden states"
            )
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds must differ, got {list(seeds)}")

    rows = [torch.from_numpy(np.flatnonzero(parts == code)) for code in (TRAIN, VALIDATION, TEST)]
    data = Data.build(states, rows, config, device) if len(rows[0]) else None
    checks = [_check(task, rows) for task in tasks]
    results: dict[tuple[int, str, int], ProbeResult] = {}

    groups: dict[tuple[int, int], list[int]] = {}
    for index, (task, check) in enumerate(zip(tasks, checks, strict=True)):
        if check.trainable and data is not None:
            groups.setdefault((task.labels.shape[1] * task.labels.shape[2], task.classes), []).append(index)
            continue
        for depth in depths:
            for seed in seeds:
                results[index, depth, seed] = ProbeResult(
                    task.key, depth, seed, None, None, None, check.majority, None, check.rows, check.note, check.entropy
                )
        if progress:
            progress(len(depths) * len(seeds))
    for depth, hidden in depths.items():
        for (heads, classes), members in groups.items():
            sizes = (states.shape[1], *hidden, heads * classes)
            for chosen_seeds, chosen_tasks in _chunks(members, list(seeds), sizes, config, device, seeds_together):
                chosen = [tasks[i] for i in chosen_tasks]
                scored = _train_group(chosen, data, sizes, classes, chosen_seeds, config, keep_weights)  # type: ignore[arg-type]
                for (seed, index), score in zip(
                    ((s, i) for s in chosen_seeds for i in chosen_tasks), scored, strict=True
                ):
                    task, check = tasks[index], checks[index]
                    results[index, depth, seed] = ProbeResult(
                        key=task.key,
                        depth=depth,
                        seed=seed,
                        accuracy=score.accuracy,
                        joint=score.joint,
                        validation=score.validation,
                        majority=check.majority,
                        epoch=score.epoch,
                        rows=check.rows,
                        note=check.note,
                        entropy=check.entropy,
                        cross_entropy=score.cross_entropy,
                        temperature=score.temperature,
                        best_on_test=score.best_on_test,
                        tally=Tally(**check.sums, right=score.right, loss=score.loss) if keep_tallies else None,
                        weights=score.weights,
                    )
                if progress:
                    progress(len(scored))
    return [results[index, depth, seed] for index in range(len(tasks)) for depth in depths for seed in seeds]


# What is said of a task before any training.


@dataclass(frozen=True)
class _Check:
    trainable: bool
    majority: float | None
    rows: tuple[int, int, int]
    note: str
    entropy: float | None = None
    sums: Mapping[str, np.ndarray] = field(default_factory=dict)  # per test row, see `Tally`


def _check(task: Task, rows: Sequence[Tensor]) -> _Check:
    train, validation, test = (task.labels[r.numpy()] for r in rows)
    counts = tuple(int((part >= 0).all(-1).any(-1).sum()) for part in (train, validation, test))
    notes = []
    flat = train.reshape(len(train), int(np.prod(train.shape[1:])))
    if counts[0] == 0:
        return _Check(False, None, counts, "no training row has a label")  # type: ignore[arg-type]
    frequency = np.stack(
        [np.bincount(column[column >= 0], minlength=task.classes) for column in flat.T.astype(np.int64)]
    )
    if counts[0] < task.classes:
        notes.append(f"only {counts[0]} training rows for {task.classes} classes")
    seen = frequency.sum(0) > 0
    present = np.unique(test[test >= 0])
    absent = present[~seen[present]]
    if len(absent):
        notes.append(f"classes {', '.join(map(str, absent))} of the test rows are absent from the training rows")
    if counts[1] == 0:
        notes.append("no validation row has a label, so the last epoch was taken")
    if counts[2] == 0:
        notes.append("no test row has a label")
    guess = _most_frequent(train)
    valid = (test >= 0).all(-1)
    sums = {
        "known": valid.sum(-1),
        "majority": ((test == guess).all(-1) & valid).sum(-1),
        "surprisal": (_surprisal(test, valid, task.classes) * valid).sum(-1),
    }
    majority = float(sums["majority"].sum() / valid.sum()) if valid.any() else None
    entropy = float(sums["surprisal"].sum() / valid.sum()) if valid.any() else None
    return _Check(True, majority, counts, "; ".join(notes), entropy, sums)  # type: ignore[arg-type]


def _most_frequent(labels: np.ndarray) -> np.ndarray:
    """Of (R, worlds, heads) labels the most frequent answer of each world, all its heads together; the smallest of equals."""
    out = np.zeros(labels.shape[1:], labels.dtype)
    for world in range(labels.shape[1]):
        known = labels[(labels[:, world] >= 0).all(-1), world]
        if len(known):
            answers, counts = np.unique(known, axis=0, return_counts=True)
            out[world] = answers[counts.argmax()]
    return out


def _surprisal(labels: np.ndarray, valid: np.ndarray, classes: int) -> np.ndarray:
    """Bits of each (row, world) under the frequencies of its world's and heads' labels, heads summed."""
    out = np.zeros(valid.shape)
    for world in range(labels.shape[1]):
        rows = np.flatnonzero(valid[:, world])
        for head in range(labels.shape[2]):
            values = labels[rows, world, head].astype(np.int64)
            out[rows, world] -= np.log2(np.bincount(values, minlength=classes)[values] / len(rows))
    return out


def _chunks(
    members: list[int],
    seeds: list[int],
    sizes: tuple[int, ...],
    config: ProbeConfig,
    device: torch.device,
    seeds_together: bool,
) -> Iterator[tuple[list[int], list[int]]]:
    """Groups of (seeds, tasks) small enough for the memory that is fastest: a few per group on a CPU's caches, all on
    a GPU.
    """
    weights = sum(i * o for i, o in itertools.pairwise(sizes))
    per_probe = 4 * (4 * weights + 2 * config.batch_size * sum(sizes[1:]))
    budget = config.group_bytes or (16 << 30 if device.type == "cuda" else 64 << 20)
    fit = max(1, budget // per_probe)
    together = seeds_together or device.type == "cuda"
    seeds_at_once = max(1, min(len(seeds), fit // len(members))) if together else 1
    for s in range(0, len(seeds), seeds_at_once):
        for m in range(0, len(members), fit):
            yield seeds[s : s + seeds_at_once], members[m : m + fit]


# One group.


def _linear(step: int, total: int) -> float:
    warmup = max(1, total // 20)
    return min(1.0, (step + 1) / warmup, (total - step) / max(1, total - warmup))


def _exponential(step: int, total: int) -> float:
    """The published code's: from the full rate, 150 times 5 % less (probe/train.py)."""
    return 0.95 ** (step // max(1, total // 150))


SCHEDULES = {"linear": _linear, "exponential": _exponential}
"""The learning rate of a step out of so many, as a share of its peak."""


@dataclass(frozen=True)
class _Score:
    accuracy: float | None
    joint: float | None
    validation: float | None
    epoch: int
    cross_entropy: float | None
    temperature: float
    best_on_test: float | None
    right: np.ndarray  # worlds right per test row
    loss: np.ndarray  # bits lost per test row
    weights: ProbeWeights | None


class _Best:
    """Each probe's best epoch so far, by validation rows: its number, its accuracy, and the weights.

    Without validation rows there is nothing to choose by, and the last epoch is kept.
    """

    def __init__(self, network: Network, probes: int) -> None:
        self.network = network
        self.state = [tensor.clone() for tensor in network.state]
        self.validation = np.full(probes, -1.0)
        self.epoch = np.zeros(probes, np.int64)
        self.on_test = np.full(probes, np.nan)  # of any epoch, where it is asked for

    def look(self, epoch: int, validation: np.ndarray) -> None:
        """Keep the present weights of the probes that `validation`, an accuracy per probe, calls better than before."""
        improved = np.isnan(validation) | (validation > self.validation)
        which = torch.from_numpy(np.flatnonzero(improved)).to(self.state[0].device)
        for kept, now in zip(self.state, self.network.state, strict=True):
            kept[which] = now[which]
        self.validation[improved] = validation[improved]
        self.epoch[improved] = epoch

    def restore(self) -> None:
        """Give every probe the weights of its best epoch."""
        for kept, now in zip(self.state, self.network.state, strict=True):
            now.copy_(kept)


def _train_group(
    tasks: Sequence[Task],
    data: Data,
    sizes: tuple[int, ...],
    classes: int,
    seeds: Sequence[int],
    config: ProbeConfig,
    keep_weights: bool,
) -> list[_Score]:
    batch = min(config.batch_size, len(data.inputs[0]))
    labels = [stack_labels(tasks, rows, data.device) for rows in data.rows]
    network = Network(sizes, seeds, len(tasks), batch, data, config.normalization == "batch")
    best = _fit(network, tasks, data, labels, classes, seeds, config, batch)
    best.restore()
    network.refresh(scoring=True)
    return _scores(best, tasks, data, labels, classes, seeds, keep_weights)


def _fit(
    network: Network,
    tasks: Sequence[Task],
    data: Data,
    labels: Sequence[Tensor],
    classes: int,
    seeds: Sequence[int],
    config: ProbeConfig,
    batch: int,
) -> _Best:
    """Train all probes of the group; returns each one's best epoch."""
    inputs_RD = data.inputs[0]
    steps = len(inputs_RD) // batch
    epochs = max(config.epochs, -(-config.least_steps // steps))
    every = max(1, epochs // max(config.epochs, 20))
    optimizer = torch.optim.AdamW(
        [
            {"params": network.decayed, "weight_decay": config.weight_decay},
            {"params": network.undecayed, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        fused=True,
    )
    orders = [torch.Generator().manual_seed((0x85EBCA6B * (seed + 1)) & MASK_32) for seed in seeds]
    rate = SCHEDULES[config.schedule]
    best = _Best(network, len(tasks) * len(seeds))

    step = 0
    for epoch in range(1, epochs + 1):
        order_SR = torch.stack([torch.randperm(len(inputs_RD), generator=g) for g in orders]).to(data.device)
        for start in range(0, steps * batch, batch):
            rows_SB = order_SR[:, start : start + batch]
            x_PBD = per_probe(inputs_RD[rows_SB], len(tasks))
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * rate(step, steps * epochs)
            network.refresh()
            logits_PBO = network.forward(x_PBD, network.outputs)
            network.backward(x_PBD, loss_gradient(logits_PBO, labels[0][rows_SB], classes))
            optimizer.step()
            step += 1
        if epoch % every and epoch < epochs:
            continue
        network.refresh(scoring=True)
        best.look(epoch, accuracy_of(network, data.inputs[1], labels[1], tasks, classes, len(seeds)))
        if config.best_on_test:
            on_test = accuracy_of(network, data.inputs[2], labels[2], tasks, classes, len(seeds))
            best.on_test = np.fmax(best.on_test, on_test)
    return best


def _scores(
    best: _Best,
    tasks: Sequence[Task],
    data: Data,
    labels: Sequence[Tensor],
    classes: int,
    seeds: Sequence[int],
    keep_weights: bool,
) -> list[_Score]:
    """What test rows say of the probes at their best, seed by seed and in each the tasks."""
    network = best.network
    temperatures = choose_temperatures(network, data.inputs[1], labels[1], tasks, classes, len(seeds))
    right, loss = answers_of(network, data.inputs[2], labels[2], tasks, classes, len(seeds), temperatures)
    known = np.stack([(task.labels[data.rows[2].numpy()] >= 0).all(-1).sum(-1) for task in tasks])
    known = np.tile(known, (len(seeds), 1))
    plain = network.plain_layers()
    scores = []
    for p in range(len(tasks) * len(seeds)):
        weights = None
        if keep_weights:
            shape = tasks[p % len(tasks)].labels.shape
            layers = tuple((m[p].cpu().clone(), b[p, 0].cpu().clone()) for m, b in plain)
            weights = ProbeWeights(layers, data.mean, data.std, shape[1], shape[2], classes)
        scores.append(
            _Score(
                accuracy=_share(right[p].sum(), known[p].sum()),
                joint=_share(((right[p] == known[p]) & (known[p] > 0)).sum(), (known[p] > 0).sum()),
                validation=finite(best.validation[p]),
                epoch=int(best.epoch[p]),
                cross_entropy=_share(loss[p].sum(dtype=np.float64), known[p].sum()),
                temperature=float(temperatures[p]),
                best_on_test=finite(best.on_test[p]),
                right=right[p],
                loss=loss[p],
                weights=weights,
            )
        )
    return scores


def _share(part: float, whole: int) -> float | None:
    return float(part / whole) if whole else None
