"""How sure an interval is, and the test programs drawn anew that intervals over programs are made from."""

from __future__ import annotations

import numpy as np

CONFIDENCE = 0.95
"""Of every interval that is stored or shown."""
TAILS = (0.025, 0.975)
"""The quantiles of draws between which so many of them lie."""
DRAWS = 1000
FEWEST_PROGRAMS = 20
"""So many different programs an interval over programs takes: drawn anew, fewer scatter too little (one not at all)."""


def drawn_weights(programs: int) -> np.ndarray | None:
    """How often each program is in each draw, float64 (DRAWS, programs): drawn with replacement, as many as there are.

    The same for every call with so many programs. None for fewer than `FEWEST_PROGRAMS`.
    """
    if programs < FEWEST_PROGRAMS:
        return None
    weights = np.random.default_rng(0).multinomial(programs, np.full(programs, 1 / programs), DRAWS)
    return weights.astype(np.float64)
