"""Tables of made-up states: noise in one layer, and in the other the robot's direction, for a model that knows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import karel_fast as kf
from karel_fast.karel.language import CompiledPrograms
from karel_fast.probing.experiments import PROBE_SPLITS, Grid, Split
from karel_fast.probing.table import HiddenTable, TableWriter

EXAMPLES = 2
GRID = Grid(
    features=("direction", "facing"),
    depths={"linear": ()},
    offsets=(0, 1),
    semantics=("original", "flip"),
    seeds=(0, 1, 2),
)


def directions(trace: kf.Trace, lengths: np.ndarray, most: int) -> np.ndarray:
    """One-hot direction after each action in every world: what a model that knows would hold."""
    hot = np.eye(4, dtype=np.float32)[trace.robot[:, 1 : most + 1, 2]]
    hot = np.pad(hot, ((0, 0), (0, most - hot.shape[1]), (0, 0)))
    return hot.reshape(len(lengths), EXAMPLES, most, 4).transpose(0, 2, 1, 3).reshape(len(lengths), most, -1)


def make_split(
    path, programs: int, seed: int, *, finished=None, lengths=None, correct=None, knows=True, unfinished=False
) -> Split:
    rng = np.random.default_rng(seed)
    most = 6
    lengths = rng.integers(2, most + 1, programs) if lengths is None else lengths
    actions = rng.choice([0, 1, 2], (programs, most)).astype(np.uint8)
    actions[np.arange(most) >= lengths[:, None]] = 255
    worlds = kf.Worlds.random(programs * EXAMPLES, seed=seed)
    trace = kf.trace(CompiledPrograms.from_actions(actions, lengths), worlds)
    states = directions(trace, lengths, most) if knows else np.zeros((programs, most, 4 * EXAMPLES), np.float32)
    states = states + 0.2 * rng.normal(size=states.shape).astype(np.float32)
    both = np.stack([rng.normal(size=states.shape).astype(np.float32), states], 2)
    writer = TableWriter(
        path, width=states.shape[-1], layers=(0, 1), max_actions=most, identity={}, unfinished=unfinished
    )
    writer.append(
        actions,
        lengths,
        rng.random(programs) < 0.5 if correct is None else correct,
        np.ones(programs, bool) if finished is None else finished,
        both,
    )
    writer.close()
    return Split(HiddenTable(path), worlds)


def make_splits(root: Path) -> dict[str, Split]:
    sizes = zip(PROBE_SPLITS, (300, 80, 80), strict=True)
    return {name: make_split(root / name, count, seed) for seed, (name, count) in enumerate(sizes)}
