"""Three phases of training, found by a stated rule, and the regression of accuracy on semantic content.

The paper describes babbling (repetitive outputs), syntax acquisition (outputs as diverse as the data, meaning not
yet) and semantics acquisition (accuracy climbs), with boundaries drawn by eye. Here:

* Babbling ends at the first snapshot from which the share of distinct programs stays at or above half of its largest
  value, the share of outputs that are whole programs without the grammar's help at or above half of its largest, and the
  perplexity of reference programs at or below half of its way (in its logarithm) from the untrained model's to its lowest.
  The latter two count where they are stored of every snapshot, perplexity only with a snapshot of step 0: later ones have
  left most of that way behind them. Where diversity never reaches two percent, the model says the same few things all along:
  it is all babbling.
* Syntax acquisition ends at the first snapshot from there on, from which accuracy has made a tenth of its way, for
  good, from its value where babbling ended to its highest later value; a way of less than five points is noise, and
  there is no third phase.

Semantic content is the mean over features of probe accuracy for the state after the predicted action. The published
code holds no regression, so how the paper weighs its features there is not known from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from karel_fast.probing.bootstrap import TAILS

LEAST_RISE = 0.05
LEAST_DIVERSITY = 0.02
LEAST_SNAPSHOTS = 3
"""Evaluated, for phases to be found."""
RULE = (
    "Babbling ends where the share of distinct programs (and of whole ones without the grammar's help, if stored) has reached "
    "half of its maximum for good, and perplexity half of its way down from the untrained model's (a maximum below two "
    "percent of distinct programs is babbling throughout); syntax acquisition "
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


def find_phases(
    steps: Sequence[int],
    distinct: Sequence[float | None],
    accuracy: Sequence[float | None],
    perplexity: Sequence[float | None] | None = None,
    whole: Sequence[float | None] | None = None,
) -> Phases:
    """Apply the rule to snapshots in order of steps; snapshots lacking diversity or accuracy are left out.

    perplexity, whole (share of outputs that are programs without the grammar's help): as far as they are stored.
    """
    absent: list[float | None] = [None] * len(steps)
    columns = zip(steps, distinct, accuracy, perplexity or absent, whole or absent, strict=True)
    known = [(s, d, a, p, w) for s, d, a, p, w in columns if d is not None and a is not None]
    if len(known) < LEAST_SNAPSHOTS:
        return Phases(
            None,
            None,
            f"{len(known)} evaluated snapshots are too few to find phases; at least {LEAST_SNAPSHOTS} are needed",
        )
    s, d, a = (np.array(column) for column in list(zip(*known, strict=True))[:3])
    if d.max() <= 0:
        return Phases(None, None, "no snapshot wrote distinct programs")
    if d.max() < LEAST_DIVERSITY:
        return Phases(None, None, "no snapshot wrote two percent of distinct programs: babbling throughout")
    reached = d >= d.max() / 2
    parsed = [w for *_, w in known if w is not None]
    if len(parsed) == len(known):
        reached &= np.array(parsed) >= max(parsed) / 2
    sure = [p for *_, p, _ in known if p is not None and p > 0]
    if len(sure) == len(known) and s[0] == 0:
        log = np.log(sure)
        reached &= log <= (log[0] + log.min()) / 2
    first = _for_good(reached)
    if first is None and _for_good(d >= d.max() / 2) is not None:
        return Phases(
            None, None, "at the end, perplexity or the share of whole programs was still on the babbling side"
        )
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
class Boundaries:
    """How sure the first steps of the phases are, and how training divides among the phases.

    syntax, semantics: the lowest and highest step of 95 % of the draws that have one, None where none has; syntax_found,
    semantics_found: the share of draws that have one. shares: of training, babbling, syntax and semantics.
    """

    syntax: tuple[int, int] | None
    semantics: tuple[int, int] | None
    syntax_found: float
    semantics_found: float
    shares: tuple[float, float, float] | None


PAPER_SHARES = (0.5, 0.25, 0.25)
"""Babbling, syntax and semantics in the paper, by eye."""


def phase_boundaries(
    steps: Sequence[int],
    distinct: Sequence[float | None],
    accuracy: Sequence[float | None],
    perplexity: Sequence[float | None],
    whole: Sequence[float | None],
    samples: Sequence[int],
    draws: int = 500,
) -> Boundaries:
    """The rule on snapshots whose accuracy and share of whole programs are drawn again, each as of its snapshot's `samples`
    specifications (binomial; 0: stays as it is).

    Perplexity stays, since its scatter over specifications is not stored, and so does the share of distinct programs, which is none of a
    binomial.
    """
    rng = np.random.default_rng(0)

    def again(values: Sequence[float | None]) -> list[float | None]:
        return [
            v if v is None or not n else float(rng.binomial(n, min(1.0, max(0.0, v))) / n)
            for v, n in zip(values, samples, strict=True)
        ]

    resampled = [find_phases(steps, distinct, again(accuracy), perplexity, again(whole)) for _ in range(draws)]
    first, second = ([getattr(one, name) for one in resampled] for name in ("syntax", "semantics"))
    shares = shares_of(find_phases(steps, distinct, accuracy, perplexity, whole), steps[-1])
    return Boundaries(_range(first), _range(second), _known(first), _known(second), shares)


def shares_of(phases: Phases, end: int) -> tuple[float, float, float] | None:
    """How training of `end` steps divides among the phases; None where it has not got to all of them."""
    if phases.syntax is None or phases.semantics is None or end <= 0:
        return None
    return phases.syntax / end, (phases.semantics - phases.syntax) / end, (end - phases.semantics) / end


def _range(steps: Sequence[int | None]) -> tuple[int, int] | None:
    known = [step for step in steps if step is not None]
    if not known:
        return None
    low, high = np.quantile(known, TAILS, method="nearest")
    return int(low), int(high)


def _known(steps: Sequence[int | None]) -> float:
    return sum(step is not None for step in steps) / len(steps)


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
