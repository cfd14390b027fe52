"""Intervals of 95 %: of a mean over a few runs or seeds, and of a share."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from karel_fast.probing.bootstrap import CONFIDENCE
from karel_fast.probing.differences import paired


def interval(values: Sequence[float | None], bounds: bool = True) -> dict[str, float | int | None]:
    """Mean and Student t interval of the numbers that are there, and how many they are; bounds: else no interval."""
    known = [v for v in values if v is not None]
    if not known:
        return {"mean": None, "low": None, "high": None, "runs": 0}
    found = paired(known)
    low, high = (found["low"], found["high"]) if bounds else (None, None)
    return {"mean": found["mean"], "low": low, "high": high, "runs": len(known)}


def wilson(share: float, samples: float | None) -> tuple[float | None, float | None]:
    """The 95 % interval of a share of so many; (None, None) where that number is not known."""
    if not samples:
        return None, None
    right = min(int(samples), max(0, round(share * samples)))
    found = stats.binomtest(right, int(samples)).proportion_ci(CONFIDENCE, "wilson")
    return float(found.low), float(found.high)
