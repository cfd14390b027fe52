"""The learning rate over a run, and whether a run under way can be given more updates. Without torch."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

Schedule = Literal["wsd", "cosine", "linear", "constant"]
SCHEDULES: tuple[str, ...] = get_args(Schedule)


def rate_factor(
    step: int, *, steps: int, warmup: int, schedule: Schedule, decay_fraction: float = 0.2, final: float = 0.0
) -> float:
    """Factor of the peak learning rate for update number `step` (0-based) of `steps`.

    The first `warmup` updates rise linearly to 1. Then "cosine" and "linear" fall to `final` at the end; "wsd"
    (warm-up, stable, decay) stays at 1 and falls linearly over the last `decay_fraction` of all updates; "constant"
    stays at 1.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule == "constant":
        return 1.0
    start = warmup if schedule != "wsd" else max(warmup, round(steps * (1 - decay_fraction)))
    if step < start:
        return 1.0
    # The first update of the decay is still at 1, the one after the last would be at `final`.
    passed = min(1.0, (step - start) / max(1, steps - start))
    left = 0.5 * (1 + math.cos(math.pi * passed)) if schedule == "cosine" else 1 - passed
    return final + (1 - final) * left


def first_difference(done: int, one: int, other: int, **settings: Any) -> int | None:
    """The first of the `done` updates whose rate would differ between runs of `one` and of `other` updates in all; None if none does.
    settings: of `rate_factor`.
    """
    return next(
        (s for s in range(done) if rate_factor(s, steps=one, **settings) != rate_factor(s, steps=other, **settings)),
        None,
    )
