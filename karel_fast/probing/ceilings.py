"""The ceilings of probes: how much of the features that they read ideal readers know (`karel_fast.exact.ceiling`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from karel_fast.data.sampling.samples import Samples
from karel_fast.exact.ideal_states import MOST_LABELS, Ceiling, StateCodes, ceiling
from karel_fast.exact.ideal_states import READERS as READERS
from karel_fast.karel.backends.reference import AHEAD
from karel_fast.karel.execution import trace
from karel_fast.karel.language import CompiledPrograms
from karel_fast.karel.language.semantics import Semantics, resolve_semantics
from karel_fast.karel.world import Worlds
from karel_fast.probing.features import MOST_MARKERS, PAPER_FEATURES, Feature, Setting, label_set, resolve_feature
from karel_fast.probing.measures import finite
from karel_fast.probing.table import HiddenTable
from karel_fast.support.checks import InputError

CHUNK = 4_000
"""Specifications that are answered at once: their labels, answers and states' codes take some 100 MB at most."""

COMPARED = 200
"""Specifications whose programs tell whether a feature of one's own depends on the state only."""

POOL_WORLDS = 500
"""Worlds of the train split that the reader of prefixes expects: as many specifications as have them."""


@dataclass(frozen=True, slots=True)
class _States:
    """All states of N worlds as if each world's robot had passed through them: what `label_set` takes."""

    robot: np.ndarray
    markers_here: np.ndarray
    front_clear: np.ndarray
    left_clear: np.ndarray
    right_clear: np.ndarray
    steps: np.ndarray
    walls: np.ndarray
    start: Worlds

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a state alone has no {name}")


def all_states(worlds: Worlds, levels: int) -> _States:
    """The first state, then every pose (cell * 4 + direction) with 0 .. levels - 1 markers under the robot; where that cell is wall,
    the first state's cell."""
    n, height, width = worlds.walls.shape
    walls = standing_on_walls(worlds)
    cells = np.arange(height * width)
    robot = np.empty((n, height * width, 4, 3), np.uint8)
    robot[..., 0], robot[..., 1], robot[..., 2] = (cells // width)[:, None], (cells % width)[:, None], np.arange(4)
    robot[..., :2] = np.where(walls[:, :, None, None], worlds.robot[:, None, None, :2], robot[..., :2])
    at = robot.reshape(n, -1, 3).astype(np.intp)
    world = np.arange(n)[:, None]
    by_cell = walls.reshape(n, height, width)

    def clear(quarters: int) -> np.ndarray:
        step = np.array(AHEAD)[(at[..., 2] + quarters) % 4]
        return with_first(~by_cell[world, at[..., 0] + step[..., 0], at[..., 1] + step[..., 1]])

    def with_first(values: np.ndarray) -> np.ndarray:
        # What is around the first state, no feature of another state looks at.
        return np.concatenate([np.zeros((n, 1), bool), np.repeat(values, levels, axis=1)], axis=1)

    here = np.tile(np.arange(levels, dtype=np.uint8), (n, height * width * 4))
    return _States(
        robot=np.concatenate([worlds.robot[:, None], np.repeat(robot.reshape(n, -1, 3), levels, axis=1)], axis=1),
        markers_here=np.concatenate([np.zeros((n, 1), np.uint8), here], axis=1),
        front_clear=clear(0),
        left_clear=clear(3),
        right_clear=clear(1),
        steps=np.full(n, here.shape[1], np.int32),
        walls=worlds.walls,
        start=worlds,
    )


def standing_on_walls(worlds: Worlds) -> np.ndarray:
    """bool (N, H * W): the cells that no robot stands on. The ring is wall whatever the array says."""
    walls = worlds.walls.copy()
    walls[:, [0, -1]] = walls[:, :, [0, -1]] = True
    return walls.reshape(len(walls), -1)


def state_codes(worlds: Worlds, features: Sequence[str | Feature]) -> StateCodes:
    """What features say of every state of every world. ValueError for one that a state alone does not tell."""
    chosen = [resolve_feature(feature) for feature in features]
    for feature in chosen:
        if not (feature.of_state or feature.source):
            raise ValueError(
                f"{feature.name!r} is about how a program comes to a state or goes on, which the state does not tell; there is no "
                "ceiling for it: leave it out"
            )
    levels = MOST_MARKERS + 1 if any(feature.sees_markers for feature in chosen) else 1
    states = all_states(worlds, levels)
    count = states.robot.shape[1] - 1
    setting = Setting(worlds.height, worlds.width, count)
    lengths = np.full(len(worlds), count, np.int32)
    values = label_set(states, tuple(chosen), lengths=lengths, setting=setting, last_state=True)
    codes = np.empty((len(worlds), len(chosen), count // levels, levels), np.int16)
    for f, feature in enumerate(chosen):
        codes_of_feature = joint_codes(values[feature.name], feature.classes(setting))
        codes[:, f] = codes_of_feature[:, :, 0].reshape(len(worlds), -1, levels)
    codes.transpose(0, 2, 1, 3)[np.repeat(standing_on_walls(worlds), 4, axis=1)] = -1
    return StateCodes(
        codes,
        np.array([len(feature.heads) for feature in chosen], np.int32),
        np.array([feature.classes(setting) for feature in chosen], np.int32),
    )


def why_none(
    feature: Feature, samples: Samples, actions: np.ndarray, lengths: np.ndarray, semantics: Sequence[str | Semantics]
) -> str | None:
    """Why there is no ceiling for a feature, in words; None where there is one.

    The features of karel_fast say it themselves. Of one's own it is found out: it is worked out for every state of every world, as if
    one run passed through all of them, and compared with what it is in the runs of the programs under every meaning. One that looks
    at how the robot came to a state, or at what it leaves behind, fails, or differs.
    """
    if not feature.source:
        return None if feature.of_state else "a state alone does not tell it"
    samples, actions, lengths = samples[:COMPARED], actions[:COMPARED], lengths[:COMPARED]
    inputs, _ = samples.shown()
    setting = Setting(inputs.height, inputs.width, actions.shape[1])
    try:
        codes = state_codes(inputs, [feature]).codes[:, 0]
    except InputError as error:
        return f"it looks at more than a state ({error})"
    programs = CompiledPrograms.from_actions(np.ascontiguousarray(actions, np.uint8), lengths)
    for meaning in semantics:
        performed = samples.recipe.meaning(meaning)
        traced = trace(programs, inputs, semantics=performed)
        row, column, direction = traced.robot.astype(np.intp).transpose(2, 0, 1)
        pose, markers = (row * inputs.width + column) * 4 + direction, np.minimum(traced.markers_here, MOST_MARKERS)
        of_state = codes[np.arange(len(inputs))[:, None], pose, markers]  # (N, S + 1)
        for offset in (-1, 0):
            found = label_set(
                traced, (feature,), offset, lengths=lengths, setting=setting, first_state=True, last_state=True
            )
            labels = joint_codes(found[feature.name], feature.classes(setting)).transpose(0, 2, 1)
            labels = labels.reshape(len(inputs), -1)[:, : of_state.shape[1] - (1 + offset)]
            expected = of_state[:, 1 + offset :][:, : labels.shape[1]]
            if ((labels >= 0) & (labels != expected)).any():
                return "it is not the same in all runs that come to a state"
    return None


def joint_codes(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels (..., heads) as one code each, int16 (...): the heads are its digits, the first the lowest; -1 where one has none."""
    digits = labels.astype(np.int32) * classes ** np.arange(labels.shape[-1])
    return np.where((labels >= 0).all(axis=-1), digits.sum(axis=-1), -1).astype(np.int16)


def ceilings(
    samples: Samples,
    actions: np.ndarray,
    lengths: np.ndarray,
    *,
    features: Sequence[str | Feature] = PAPER_FEATURES,
    offsets: Sequence[int] = (0,),
    semantics: Sequence[str | Semantics] = ("original",),
    first_state: bool = False,
    last_state: bool = False,
    doubt: float = 0.0,
    pool: Samples | None = None,
    backend: str | None = None,
    threads: int | None = None,
) -> Ceiling:
    """How well ideal readers know the features of the states that one written program per specification passes through.

    samples: n specifications. actions: (n, K), lengths: (n,) of the programs. features, offsets, semantics: F, J and M of them, as of
    probes; "original" is the recipe's own meaning. first_state, last_state: also ask for the states before the first and after the
    last action, which the specification shows. pool: specifications whose worlds the reader of prefixes expects; without them it is
    not asked. The rest, and the errors, as for `karel_fast.exact.ceiling`.
    """
    rows = np.asarray(actions)
    sizes = np.asarray(lengths)
    if rows.ndim != 2 or len(rows) != len(samples) or sizes.shape != (len(samples),):
        raise ValueError(
            f"actions has shape {rows.shape} and lengths {sizes.shape}; give one row for each of {len(samples)} specifications"
        )
    chosen = [resolve_feature(feature) for feature in features]
    for feature in chosen if len(samples) else ():
        if feature.source and (reason := why_none(feature, samples, rows, sizes, semantics)):
            raise ValueError(f"{feature.name!r}: {reason}; there is no ceiling for it: leave it out")
    if not len(samples) or not chosen or not rows.shape[1]:
        raise ValueError("there is nothing to ask: give at least one specification, one feature and one action")
    setting = Setting(samples.recipe.height, samples.recipe.width, rows.shape[1])
    inputs, _ = samples.shown()
    labels = np.empty((*rows.shape, len(semantics), len(offsets), len(chosen), samples.recipe.examples), np.int16)
    programs = CompiledPrograms.from_actions(np.ascontiguousarray(rows, np.uint8), sizes)
    for m, meaning in enumerate(semantics):
        performed = samples.recipe.meaning(meaning)
        traced = trace(programs, inputs, semantics=performed)
        for j, offset in enumerate(offsets):
            found = label_set(
                traced,
                tuple(chosen),
                offset,
                lengths=sizes,
                setting=setting,
                first_state=first_state,
                last_state=last_state,
            )
            for f, feature in enumerate(chosen):
                labels[:, :, m, j, f] = joint_codes(found[feature.name], feature.classes(setting))
    return ceilings_of_labels(
        samples, rows, sizes, labels, features=chosen, offsets=offsets, semantics=semantics, last_state=last_state, doubt=doubt,
        pool=pool, backend=backend, threads=threads,
    )  # fmt: skip


def ceilings_of_labels(
    samples: Samples,
    actions: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray,
    *,
    features: Sequence[str | Feature],
    offsets: Sequence[int],
    semantics: Sequence[str | Semantics],
    last_state: bool,
    doubt: float,
    pool: Samples | None,
    backend: str | None = None,
    threads: int | None = None,
) -> Ceiling:
    """`ceilings` of labels that are known already: codes (n, K, M, J, F, E), negative where nothing is asked."""
    if pool is not None and not len(pool):
        raise ValueError("the pool has no specifications; give at least one, or none at all (pool=None)")
    expected = None if pool is None else (pool, state_codes(pool.shown()[0], features))
    parts = []
    for span in _spans(len(samples)):
        try:
            parts.append(
                ceiling(
                    samples[span], actions[span], lengths[span], labels[span], state_codes(samples[span].shown()[0], features),
                    offsets=offsets, meanings=semantics, last_state=last_state, doubt=doubt, pool=expected, backend=backend,
                    threads=threads,
                )
            )  # fmt: skip
        except InputError as error:
            raise InputError(f"of the samples from {span.start} on, counted from 0: {error}") from error

    def joined(values: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {reader: np.concatenate([each[reader] for each in values]) for reader in values[0]}

    return Ceiling(
        np.concatenate([part.known for part in parts]),
        joined([part.right for part in parts]),
        joined([part.loss for part in parts]),
    )


def ceilings_of_rows(
    samples: Samples,
    pool: Samples,
    table: HiddenTable,
    sample: np.ndarray,
    action: np.ndarray,
    labels: Mapping[tuple[str, int, str], np.ndarray],
    *,
    last_state: bool,
    doubt: float,
) -> tuple[dict[tuple[str, int, str], dict[str, tuple[float | None, float | None]]], list[str]]:
    """For each (meaning, offset, feature) what each reader knows of a table's rows, as accuracy and cross entropy in bits (None: it
    holds some label to be impossible, or there is none); and notes on what could not be asked.

    samples: the table's specifications. sample, action, labels: those of the rows, as `Rows` of `karel_fast.probing.experiments` has them.
    """
    setting = Setting(samples.recipe.height, samples.recipe.width, table.max_actions)
    features, notes = [], []
    meanings = list(dict.fromkeys(meaning for meaning, _, _ in labels))
    for name in dict.fromkeys(feature for _, _, feature in labels):
        feature = resolve_feature(name)
        if reason := why_none(feature, samples, table.actions, table.lengths, meanings):
            notes.append(f"{name}: no ceiling, as {reason}")
        elif feature.classes(setting) ** len(feature.heads) > MOST_LABELS:
            notes.append(f"{name}: no ceiling, as it has more than {MOST_LABELS} labels in worlds of this size")
        else:
            features.append(feature)
    if not features or not len(sample):
        return {}, notes
    offsets = list(dict.fromkeys(offset for _, offset, _ in labels))
    codes = np.full(
        (len(samples), table.max_actions, len(meanings), len(offsets), len(features), samples.recipe.examples),
        -1,
        np.int16,
    )
    for m, meaning in enumerate(meanings):
        for j, offset in enumerate(offsets):
            for f, feature in enumerate(features):
                # Probes may answer the first world only; nothing is asked of the others then.
                joint = joint_codes(labels[meaning, offset, feature.name], feature.classes(setting))
                codes[sample, action, m, j, f, : joint.shape[1]] = joint
    lengths = np.where(np.isin(np.arange(len(samples)), sample), table.lengths, 0)  # nothing is asked of other programs
    longest = samples.recipe.lengths[1]
    if (lengths > longest).any():
        notes.append(
            f"test: {int((lengths > longest).sum())} programs longer than the recipe's have no part in the ceilings"
        )
        codes[lengths > longest] = -1
        lengths[lengths > longest] = 0
    answers = ceilings_of_labels(
        samples, table.actions, lengths, codes, features=features, offsets=offsets,
        semantics=[meaning if meaning == "original" else resolve_semantics(meaning) for meaning in meanings],
        last_state=last_state, doubt=doubt, pool=pool,
    )  # fmt: skip
    known = {reader: (answers.accuracy(reader), answers.cross_entropy(reader)) for reader in answers.readers}
    return {
        (meaning, offset, feature.name): {
            reader: (finite(accuracy[m, j, f]), finite(cross_entropy[m, j, f]))
            for reader, (accuracy, cross_entropy) in known.items()
        }
        for m, meaning in enumerate(meanings)
        for j, offset in enumerate(offsets)
        for f, feature in enumerate(features)
    }, notes


def share_of_wrong(table: HiddenTable, outcome: str) -> float:
    """Of a table's finished programs that give rows (`Grid.outcome`), the share that is wrong; each kind counted once more, so never
    0 or 1. It is what a reader doubts a program's specification by."""
    wanted = table.finished & (table.lengths > 0)
    if outcome != "all":
        wanted &= table.correct if outcome == "correct" else ~table.correct
    return (int((wanted & ~table.correct).sum()) + 1) / (int(wanted.sum()) + 2)


def _spans(count: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))
