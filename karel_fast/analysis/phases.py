"""Three phases of training, found by a stated rule, and the regression of accuracy on semantic content.

The paper describes babbling (repetitive outputs), syntax acquisition (outputs as diverse as the data, meaning not
yet) and semantics acquisition (accuracy climbs), with boundaries drawn by eye. Here:

* Babbling ends at the first snapshot from which the share of distinct programs stays at or above half of its largest
  value. Where that never reaches two percent, the model says the same few things all along: it is all babbling.
* Syntax acquisition ends at the first snapshot from there on, from which accuracy has made a tenth of its way, for
  good, from its value where babbling ended to its highest later value; a way of less than five points is noise, and
  there is no third phase.

Semantic content is the mean over features of probe accuracy for the state after the predicted action. The published
code holds no regression, so how the paper weighs its features there is not known from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from karel_fast.probing.measures import measure_of

LEAST_RISE = 0.05
LEAST_DIVERSITY = 0.02
RULE = (
    "Babbling ends where the share of distinct programs has reached half of its maximum for good (a maximum below two "
    "percent is babbling throughout); syntax acquisition "
    "ends where accuracy has made a tenth of its later rise for good (a rise of less than five points does not count)."
)


@dataclass(frozen=True)
class Phases:
    """The first step of syntax and of semantics acquisition; None where the run has not got there. `note` says why."""

    syntax: int | None
    semantics: int | None
    note: str = ""


def _for_good(reached: np.ndarray) -> int | None:
    """The first index from which all hold."""
    missed = np.flatnonzero(~reached)
    first = int(missed[-1]) + 1 if len(missed) else 0
    return first if first < len(reached) else None


def find_phases(steps: Sequence[int], distinct: Sequence[float | None], accuracy: Sequence[float | None]) -> Phases:
    """Apply the rule to snapshots in order of steps; snapshots lacking a number are left out."""
    known = [(s, d, a) for s, d, a in zip(steps, distinct, accuracy, strict=True) if d is not None and a is not None]
    if len(known) < 3:
        return Phases(None, None, f"{len(known)} evaluated snapshots are too few to find phases; at least 3 are needed")
    s, d, a = (np.array(column) for column in zip(*known, strict=True))
    if d.max() <= 0:
        return Phases(None, None, "no snapshot wrote distinct programs")
    if d.max() < LEAST_DIVERSITY:
        return Phases(None, None, "no snapshot wrote two percent of distinct programs: babbling throughout")
    first = _for_good(d >= d.max() / 2)
    if first is None:
        return Phases(None, None, "the share of distinct programs fell back below half of its maximum at the end")
    rise = a[first:].max() - a[first]
    if rise < LEAST_RISE:
        return Phases(int(s[first]), None, "accuracy rose by less than five points after babbling")
    second = _for_good(a[first:] >= a[first] + rise / 10)
    if second is None:
        return Phases(int(s[first]), None, "accuracy fell back at the end")
    return Phases(int(s[first]), int(s[first + second]))


@dataclass(frozen=True)
class Regression:
    """Least squares of generative accuracy on semantic content over snapshots; None where it is not defined."""

    n: int
    lag: int
    slope: float | None
    intercept: float | None
    r2: float | None
    p: float | None
    note: str = ""


def regress(content: Sequence[float | None], accuracy: Sequence[float | None], lag: int = 0) -> Regression:
    """Regress accuracy at snapshot i + lag on content at snapshot i (lag > 0: does meaning come first?).

    R2 and p as the paper reports them: simple linear regression, two-sided test of a slope of zero.
    """
    if lag < 0 or lag >= max(1, len(content)):
        return Regression(0, lag, None, None, None, None, f"no two snapshots are {lag} apart")
    pairs = [
        (c, a)
        for c, a in zip(content[: len(content) - lag], accuracy[lag:], strict=True)
        if c is not None and a is not None
    ]
    if len(pairs) < 3:
        return Regression(
            len(pairs), lag, None, None, None, None, f"{len(pairs)} snapshots are too few for a regression"
        )
    x, y = (np.array(column, float) for column in zip(*pairs, strict=True))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return Regression(len(pairs), lag, None, None, None, None, "one side does not vary over snapshots")
    fit = stats.linregress(x, y)
    return Regression(len(pairs), lag, float(fit.slope), float(fit.intercept), float(fit.rvalue**2), float(fit.pvalue))


def semantic_content(
    probing: Mapping[str, Any], depth: str, feature: str | None = None, offset: int = 0, measure: str = "accuracy"
) -> float | None:
    """A snapshot's mean of one of `probing.measures.MEASURES`, on test rows, over true-label probes at an offset under the
    original semantics.

    Over seeds, layers and, without `feature`, features. None when there is none.
    """
    values = [
        value
        for r in probing.get("records", [])
        if (value := measure_of(r, measure)) is not None
        and r["depth"] == depth
        and r["offset"] == offset
        and r["semantics"] == "original"
        and r["labels"] == "true"
        and r["states"] == "trained"
        and (feature is None or r["feature"] == feature)
    ]
    return float(np.mean(values)) if values else None
