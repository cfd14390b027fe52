"""The learning rate over a run, and whether a run under way can be given more updates. Without torch."""

from __future__ import annotations

import math
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
    cycles: int = 1,
    later: float = 1.0,
) -> float:
    """Factor of the peak learning rate for update number `step` (0-based) of `steps`.

    The first `warmup` updates rise linearly to 1. Then "cosine" and "linear" fall to `final` at the end; "wsd"
    (warm-up, stable, decay) stays at 1 and falls linearly over the last `decay_fraction` of all updates; "constant"
    stays at 1.

    With `cycles` that whole course is run through so many times, each over steps / cycles updates, as in SGDR (Loshchilov & Hutter
    2017) and WSD-S (Wen et al. 2024): every cycle ends in a finished model. Peaks after the first are `later` as high.
    """
    if cycles > 1:
        cycle, step = divmod(step, steps // cycles)
        factor = rate_factor(
            step, steps=steps // cycles, warmup=warmup, schedule=schedule, decay_fraction=decay_fraction, final=final
        )
        return factor if cycle == 0 else later * factor
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


def begins_cycle(step: int, *, steps: int, cycles: int) -> bool:
    """Whether update number `step` (0-based) is the first of a cycle after the first."""
    return step > 0 and step % (steps // cycles) == 0


def first_difference(done: int, one: dict[str, Any], other: dict[str, Any]) -> int | None:
    """The first of the `done` updates whose rate would differ between two settings of `rate_factor`; None if none does."""
    return next((s for s in range(done) if rate_factor(s, **one) != rate_factor(s, **other)), None)
