"""Tasks that a probe can only learn by heart, and programs kept apart: what a reading must be better than.

shuffled    each split's labels permuted among its rows: there is nothing to learn
control     a label fixed per surface form (Hewitt & Liang, 2019): the last three actions, the predicted one included. It
            can be learnt by knowing those actions and nothing of what they do.

Both have the true labels' frequencies, each under its own meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from karel_fast.data.sampling.symbols import PAD
from karel_fast.probing.probes.types import TRAIN, Task

FORM = 3
"""Actions of a surface form, and of a prefix that `split_by="program"` keeps on one side."""

_SHARES = {"train": (0.0, 0.5), "validation": (0.5, 0.65), "test": (0.65, 1.0)}


def shuffled_tasks(tasks: Sequence[Task], parts: np.ndarray) -> list[Task]:
    """The labels of each split permuted among its labelled rows, of every task at offset 0."""
    out = []
    for task in _present(tasks):
        labels = task.labels.copy()
        for part in np.unique(parts):
            rows = np.flatnonzero((parts == part) & (task.labels >= 0).any((1, 2)))
            labels[rows] = task.labels[np.random.default_rng(int(part)).permutation(rows)]
        out.append(replace(task, key={**task.key, "labels": "shuffled"}, labels=labels))
    return out


def control_tasks(tasks: Sequence[Task], parts: np.ndarray, forms: np.ndarray) -> list[Task]:
    """Every row gets the labels of one training row drawn for its form, of every task at offset 0.

    forms: (R,) whole numbers, equal where the surface forms are. Where the true label is missing, so is this one; all are
    where no training row has every label.
    """
    known, of_row = np.unique(forms, return_inverse=True)
    out = []
    for task in _present(tasks):
        rows = np.flatnonzero((parts == TRAIN) & (task.labels >= 0).all((1, 2)))
        labels = np.full_like(task.labels, -1)
        if len(rows):
            drawn = task.labels[np.random.default_rng(0).choice(rows, len(known))]
            labels = np.where(task.labels >= 0, drawn[of_row], labels)
        out.append(replace(task, key={**task.key, "labels": "control"}, labels=labels))
    return out


def _present(tasks: Sequence[Task]) -> list[Task]:
    return [task for task in tasks if task.key["offset"] == 0]


def forms_of(actions: np.ndarray, sample: np.ndarray, action: np.ndarray) -> np.ndarray:
    """(R,) a number per surface form of the rows (program `sample`, predicted action `action`); actions are (n, L)."""
    padded = np.pad(actions.astype(np.int64), ((0, 0), (FORM - 1, 0)), constant_values=PAD)
    codes = np.zeros(len(sample), np.int64)
    for place in range(FORM):
        codes = codes * 256 + padded[sample, action + place]
    return codes


def on_its_side(actions: np.ndarray, split: str) -> np.ndarray:
    """(n,) whether a program may be used in `split`: all that begin with the same three actions are on one side.

    Half of the beginnings are for training, 15 % for validation, the rest for testing, drawn from the beginning alone, so
    that a program is on the same side in every snapshot. A shorter program is its own beginning.
    """
    first = np.pad(actions[:, :FORM], ((0, 0), (0, max(0, FORM - actions.shape[1]))), constant_values=PAD)
    beginnings, of_program = np.unique(first, axis=0, return_inverse=True)
    drawn = np.array([np.random.default_rng(list(map(int, one))).random() for one in beginnings])
    low, high = _SHARES[split]
    return ((drawn >= low) & (drawn < high))[of_program.reshape(-1)]
