"""Intervals of 95 %: of a mean over a few runs or seeds, and of a share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def interval(
    values: Sequence[float | None], confidence: float = 0.95, bounds: bool = True
) -> dict[str, float | int | None]:
    """Mean and Student t interval of the numbers that are there, and how many they are; bounds: else no interval."""
    known = np.array([v for v in values if v is not None], float)
    if not len(known):
        return {"mean": None, "low": None, "high": None, "runs": 0}
    middle, low, high = float(known.mean()), None, None
    if bounds and len(known) > 1 and np.ptp(known) > 0:
        half = float(stats.t.ppf((1 + confidence) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
        low, high = middle - half, middle + half
    return {"mean": middle, "low": low, "high": high, "runs": len(known)}


def wilson(share: float, samples: float | None) -> tuple[float | None, float | None]:
    """The 95 % interval of a share of so many; (None, None) where that number is not known."""
    if not samples:
        return None, None
    right = min(int(samples), max(0, round(share * samples)))
    found = stats.binomtest(right, int(samples)).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)
