"""The ceiling of probes: what ideal readers know of the states that a model's programs pass through.

Three readers know all that the recipe says about programs and worlds, and differ in what they are shown:

both            the specification and what was written so far
specification   the specification and how many actions were written
prefix          what was written so far, and no specification

docs/exact.md derives them. What a state is asked for comes in as codes, so this file knows of no feature;
`karel_fast.probing.ceilings` makes them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karel_fast.data.sampling.generation import check_threads
from karel_fast.data.sampling.samples import Samples
from karel_fast.exact.problem import Prior, Problem
from karel_fast.exact.solution import HIGHEST_MAX_STATES, MAX_STATES, program_rows, solver_backend
from karel_fast.karel.language.semantics import Semantics
from karel_fast.support.checks import whole

READERS = ("both", "specification", "prefix")
"""By what they are shown."""

FARTHEST = 10_000
"""Offset, in actions."""

MOST_LABELS = 2**15
"""Of one feature: codes are 16 bits wide."""


@dataclass(frozen=True, slots=True, eq=False)
class StateCodes:
    """What F features say of every state that a robot can be in.

    codes: int16 (n * E, F, H * W * 4, levels), for each world the code of the robot's state: cell * 4 + direction, then the markers
        under it, of which the last level stands for more; 1 level if no feature looks at them. A feature's heads are digits of its
        code, the first the lowest. Negative: no label.
    heads: int32 (F,), how many numbers describe the feature; classes: int32 (F,), of each of them.
    """

    codes: NDArray[np.int16]
    heads: NDArray[np.int32]
    classes: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is asked about one written program for each of n specifications; the fields as in `ceiling`.

    performed: uint8 (M, 5), for each meaning the action performed per action written. rest: fewest actions that follow a state with a
    label. labels: int16 (n, K, M, J, F, E).
    """

    actions: NDArray[np.uint8]
    lengths: NDArray[np.int32]
    performed: NDArray[np.uint8]
    offsets: NDArray[np.int32]
    rest: int
    doubt: float
    labels: NDArray[np.int16]


@dataclass(frozen=True, slots=True, eq=False)
class Ceiling:
    """What the readers know about the states of n programs: after each of K actions, under M meanings, at J offsets, of F features.

    known: int64 (n, K, M, J, F), worlds that have a label there.
    right, loss: for each reader float64 (n, K, M, J, F), sums over these worlds: its chance to name the label, and its surprise at the
        label in bits, heads summed; infinite where it holds the label to be impossible.
    """

    known: NDArray[np.int64]
    right: Mapping[str, NDArray[np.float64]]
    loss: Mapping[str, NDArray[np.float64]]

    @property
    def readers(self) -> tuple[str, ...]:
        """Those that were asked."""
        return tuple(self.right)

    def accuracy(self, reader: str) -> NDArray[np.float64]:
        """float64 (M, J, F), share of labels that the reader names; NaN where there are none."""
        return self._mean(self.right[reader])

    def cross_entropy(self, reader: str) -> NDArray[np.float64]:
        """float64 (M, J, F), bits of a (row, world) pair; NaN where there are none."""
        return self._mean(self.loss[reader])

    def _mean(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return np.asarray(values.sum(axis=(0, 1)) / self.known.sum(axis=(0, 1)))


def ceiling(
    samples: Samples,
    actions: ArrayLike,
    lengths: ArrayLike,
    labels: ArrayLike,
    states: StateCodes,
    *,
    offsets: Sequence[int] = (0,),
    meanings: Sequence[str | Semantics] = ("original",),
    last_state: bool = False,
    doubt: float = 0.0,
    pool: tuple[Samples, StateCodes] | None = None,
    max_states: int = MAX_STATES,
    backend: str | None = None,
    threads: int | None = None,
) -> Ceiling:
    """How well ideal readers know the states that n written programs pass through.

    samples: n specifications, of which the readers see the shown examples, E of each.
    actions, lengths: the program written for each: codes (n, K), padded with anything, and (n,).
    labels: integers (n, K, M, J, F, E), codes of what is actually so at state k + 1 + offset, for action k from 0; negative: nothing is
        asked.
    states: the codes of the shown inputs' states, n * E worlds.
    offsets: J, in actions. meanings: M, what written actions perform in the labels; what is *known* about programs comes from the
        recipe's own. The name "original" is the recipe's own meaning.
    last_state: whether the state after the last action may have a label. A reader knows what has a label, so that at least so many
        actions follow.
    doubt: the chance that a program was drawn without regard to its specification, 0..1. With none, a reader that is proved wrong
        holds what it sees to be impossible.
    pool: specifications, and codes of their shown inputs, that stand for the worlds that the reader of prefixes expects; without
        them it is not asked.
    max_states, backend, threads: as in `solve`.

    Raises TypeError or ValueError for arguments that do not fit together, recipes with control flow and programs longer than the
    recipe's. Ctrl-C stops it within a second.
    """
    problem = _shown(samples)
    rows, sizes = program_rows(actions, lengths, len(problem))
    longest = problem.prior.longest
    if (sizes > longest).any():
        i = int((sizes > longest).argmax())
        raise ValueError(f"lengths[{i}] is {sizes[i]}, but the recipe's programs have at most {longest} actions")
    for name, asked_for in (("offsets", offsets), ("meanings", meanings)):
        if not len(asked_for):
            raise ValueError(f"{name} is empty: name at least one")
    asked = [whole("an offset", offset, -FARTHEST, FARTHEST) for offset in offsets]
    chosen = [samples.recipe.meaning(name) for name in meanings]
    if not 0 <= doubt <= 1:
        raise ValueError(f"doubt is {doubt!r}; it is a probability, from 0 to 1")
    _check_states("states", states, problem)
    question = Question(
        actions=rows,
        lengths=sizes,
        performed=np.array([semantics.table for semantics in chosen], np.uint8),
        offsets=np.array(asked, np.int32),
        rest=0 if last_state else 1,
        doubt=float(doubt),
        labels=_labels(labels, rows, sizes, len(chosen), asked, states, problem.shown, last_state),
    )
    limit = whole("max_states", max_states, 1, HIGHEST_MAX_STATES)
    module = "karel_fast._core" if solver_backend(backend) == "cpp" else "karel_fast.exact.ideal_states_reference"
    readers = importlib.import_module(module)
    n_threads = check_threads(threads)
    answers = readers.read_specifications(problem, states, question, limit, n_threads)
    right, loss = {"both": answers[0], "specification": answers[2]}, {"both": answers[1], "specification": answers[3]}
    if pool is not None:
        expected = _shown(pool[0])
        _check_pool(expected, pool[1], problem, states)
        right["prefix"], loss["prefix"] = readers.read_prefixes(expected, pool[1], question, limit, n_threads)
    return Ceiling((question.labels >= 0).sum(axis=-1), right, loss)


def _shown(samples: Samples) -> Problem:
    """The samples' specifications without their held-out examples. ValueError for control flow."""
    prior = Prior.of(samples.recipe)
    inputs, outputs = samples.shown()
    return Problem(inputs, outputs, samples.recipe.examples, samples.recipe.examples, prior)


def _check_states(name: str, states: StateCodes, problem: Problem) -> None:
    worlds, codes = problem.inputs, states.codes
    features = len(states.heads)
    wanted = (len(worlds), features, worlds.height * worlds.width * 4)
    if codes.ndim != 4 or codes.shape[:3] != wanted or not codes.shape[3] or states.classes.shape != (features,):
        raise ValueError(
            f"{name}.codes has shape {codes.shape}; these worlds and {features} features need {wanted} and levels of markers"
        )
    sizes = [int(c) ** int(h) for c, h in zip(states.classes, states.heads, strict=True)]
    if any(size > MOST_LABELS for size in sizes):
        raise ValueError(
            f"a feature has {max(sizes)} labels, its heads together; at most {MOST_LABELS} can be told apart"
        )
    if any(codes[:, f].max(initial=0) >= size for f, size in enumerate(sizes)):
        raise ValueError(f"{name}.codes holds codes that are no labels: a feature has classes ** heads of them")


def _check_pool(pool: Problem, codes: StateCodes, problem: Problem, states: StateCodes) -> None:
    if not len(pool):
        raise ValueError("the pool has no specifications; give at least one, or none at all (pool=None)")
    _check_states("pool states", codes, pool)
    same = (pool.prior, codes.codes.shape[3], codes.heads.tolist(), codes.classes.tolist())
    if same != (problem.prior, states.codes.shape[3], states.heads.tolist(), states.classes.tolist()):
        raise ValueError("the pool must have the samples' prior over programs, and codes of the same features")


def _labels(
    labels: ArrayLike,
    rows: NDArray[np.uint8],
    sizes: NDArray[np.int32],
    meanings: int,
    offsets: list[int],
    states: StateCodes,
    examples: int,
    last_state: bool,
) -> NDArray[np.int16]:
    """Labels as the solver takes them, checked."""
    given = np.asarray(labels)
    wanted = (*rows.shape, meanings, len(offsets), len(states.heads), examples)
    if given.shape != wanted or given.dtype.kind not in "iu":
        raise ValueError(f"labels has shape {given.shape} and type {given.dtype}; give integers of shape {wanted}")
    k = np.arange(rows.shape[1])[:, None]
    at = k + 1 + np.array(offsets)
    there = (k < sizes[:, None, None]) & (at >= 0) & (at <= sizes[:, None, None] - (0 if last_state else 1))
    if ((given >= 0) & ~there[:, :, None, :, None, None]).any():
        i, action, _, j, _, _ = np.argwhere((given >= 0) & ~there[:, :, None, :, None, None])[0]
        raise ValueError(
            f"labels[{i}, {action}] has a label at offset {offsets[j]}, where a program of {sizes[i]} actions has no state"
            + ("" if last_state else ", or only its last (see last_state)")
        )
    for f, (heads, classes) in enumerate(zip(states.heads.tolist(), states.classes.tolist(), strict=True)):
        if given[..., f, :].max(initial=0) >= classes**heads:
            raise ValueError(
                f"labels of feature {f} go up to {given[..., f, :].max()}; it has {classes**heads} (classes ** heads)"
            )
    return np.ascontiguousarray(np.where(given < 0, -1, given), np.int16)
