"""What an accuracy cost to reach: training time and arithmetic, beside the original's budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from karel_fast.analysis.series import Run, number

TARGETS = (0.25, 0.5, 0.75, 0.9)
RULE = (
    "Between the first evaluated snapshot that reached an accuracy and the one before it, everything is interpolated in "
    "proportion to the accuracy. Time is that of training alone, without compiling and writing snapshots; arithmetic is "
    "that of the matrix products of forward and backward passes."
)

ORIGINAL_ACCURACY = 0.924
ORIGINAL_TOKENS = 80_000 * 16 * 2_048  # updates, blocks in each, tokens in a block: the authors' command
_LAYERS, _WIDTH, _VOCABULARY, _BLOCK = 20, 1_024, 50_345, 2_048  # CodeGen 350M; its vocabulary and the words added
ORIGINAL_FLOPS = ORIGINAL_TOKENS * (
    6 * (12 * _LAYERS * _WIDTH**2 + _WIDTH * _VOCABULARY) + 12 * _LAYERS * _WIDTH * _BLOCK
)
"""As `Transformer.flops_per_token` counts (a test compares them): 2.3 GFLOP a token, 6.1e18 in all."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What it took to satisfy that share of the specifications; all None if it was not reached, and single numbers None
    if the training log lacks them. share: of the original's arithmetic, all of it.
    """

    accuracy: float
    step: float | None = None
    seconds: float | None = None
    tokens: float | None = None
    flops: float | None = None
    share: float | None = None


def costs_of(run: Run) -> list[Cost]:
    """The cost of every target, by the rule; empty if no snapshot was evaluated."""
    known = [
        (step, accuracy)
        for step, accuracy in zip(run.steps, run.evaluated("generative_accuracy"), strict=True)
        if accuracy is not None
    ]
    log = {line["step"]: line for line in run.log}
    return [_cost(target, known, log) for target in TARGETS] if known else []


def spent(run: Run) -> dict[str, float | None]:
    """Seconds, tokens and FLOPs of the whole training so far."""
    last = run.log[-1] if run.log else {}
    return {name: number(last.get(name)) for name in ("seconds", "tokens", "flops")}


def _cost(target: float, known: list[tuple[int, float]], log: Mapping[int, Mapping[str, Any]]) -> Cost:
    first = next((i for i, (_, accuracy) in enumerate(known) if accuracy >= target), None)
    if first is None:
        return Cost(target)
    step, accuracy = known[first]
    before, lower = known[max(0, first - 1)]
    weight = (target - lower) / (accuracy - lower) if first else 1.0

    def between(name: str) -> float | None:
        low, high = _at(log, before, name), _at(log, step, name)
        return None if low is None or high is None else low + weight * (high - low)

    flops = between("flops")
    return Cost(
        target,
        before + weight * (step - before),
        between("seconds"),
        between("tokens"),
        flops,
        None if flops is None else flops / ORIGINAL_FLOPS,
    )


def _at(log: Mapping[int, Mapping[str, Any]], step: int, name: str) -> float | None:
    return 0.0 if step == 0 else number(log.get(step, {}).get(name))


COLUMNS = ("satisfied", "step", "training time", "tokens", "FLOP", "of the original's")


def cost_rows(run: Run) -> list[tuple[str, ...]]:
    """The costs as text, a row per target and one for the original, under `COLUMNS`."""
    rows = []
    for cost in costs_of(run):
        name = f"{100 * cost.accuracy:g} %"
        if cost.step is None:
            rows.append((name, "not reached", *("" for _ in COLUMNS[2:])))
        else:
            seconds = "-" if cost.seconds is None else f"{cost.seconds:,.0f} s"
            share = "-" if cost.share is None else f"{100 * cost.share:.2g} %"
            rows.append((name, f"{cost.step:,.0f}", seconds, _power(cost.tokens), _power(cost.flops), share))
    if rows:
        original = (_power(ORIGINAL_TOKENS), _power(ORIGINAL_FLOPS), "100 %")
        rows.append((f"{100 * ORIGINAL_ACCURACY:g} %, original", "80,000", "-", *original))
    return rows


def _power(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"
