"""The learning rate over a run, and whether a run under way can be given more updates. Without torch."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Literal, get_args

Schedule = Literal["wsd", "cosine", "linear", "constant"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)


def rate_factor(
    step: int,
    *,
    steps: int,
    warmup: int,
    schedule: Schedule,
    decay_fraction: float = 0.2,
    final: float = 0.0,
    restarts: Sequence[int] = (),
    later: float = 1.0,
) -> float:
    """Factor of the peak learning rate for update number `step` (0-based) of `steps`.

    The first `warmup` updates rise linearly to 1. Then "cosine" and "linear" fall to `final` at the end; "wsd"
    (warm-up, stable, decay) stays at 1 and falls linearly over the last `decay_fraction` of all updates; "constant"
    stays at 1.

    At every update of `restarts` that course begins anew, warm-up and all, and lasts to the next restart or the end, as in SGDR
    (Loshchilov & Hutter 2017) and WSD-S (Wen et al. 2024): before each, there is a finished model. Peaks after the first are `later`
    as high.
    """
    begun = [0, *restarts]
    cycle = bisect_right(begun, step) - 1
    end = begun[cycle + 1] if cycle + 1 < len(begun) else steps
    step, steps = step - begun[cycle], end - begun[cycle]
    peak = 1.0 if cycle == 0 else later
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    if schedule == "constant":
        return peak
    start = warmup if schedule != "wsd" else max(warmup, round(steps * (1 - decay_fraction)))
    if step < start:
        return peak
    # The first update of the decay is still at 1, the one after the last would be at `final`.
    passed = min(1.0, (step - start) / max(1, steps - start))
    left = 0.5 * (1 + math.cos(math.pi * passed)) if schedule == "cosine" else 1 - passed
    return peak * (final + (1 - final) * left)


def first_difference(done: int, one: dict[str, Any], other: dict[str, Any]) -> int | None:
    """The first of the `done` updates whose rate would differ between two settings of `rate_factor`; None if none does."""
    return next((s for s in range(done) if rate_factor(s, **one) != rate_factor(s, **other)), None)
