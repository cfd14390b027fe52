"""The solver as one that writes programs for specifications: a baseline beside a model's greedy decoding, beams and pass@k."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import numpy as np

from karel_fast.data.sampling.samples import Samples
from karel_fast.exact.solution import solve


@dataclass(frozen=True, slots=True)
class Contender:
    """Shares of `specifications` specifications, and seconds of the clock for each.

    solved: that some program satisfies. The solver's programs satisfy every one of these.
    mode_generalises: where the most probable program also satisfies the held-out examples.
    draw_generalises: where a program drawn from the posterior does, on average.
    seconds: per specification, everything that `solve` finds included.
    """

    specifications: int
    solved: float
    mode_generalises: float
    draw_generalises: float
    seconds: float

    def to_json(self) -> dict[str, float]:
        """The fields by name."""
        return asdict(self)


def contend(samples: Samples, *, threads: int | None = None) -> Contender:
    """Solves the samples' specifications. ValueError for none of them, or for a recipe without held-out examples."""
    if not len(samples):
        raise ValueError("there are no samples to solve; give at least one")
    if not samples.recipe.held_out:
        raise ValueError(
            "the samples have no held-out examples to generalise to; use a recipe with held_out of at least 1"
        )
    start = time.perf_counter()
    solution = solve(samples, threads=threads)
    seconds = time.perf_counter() - start
    return Contender(
        specifications=len(samples),
        solved=float((solution.counts > 0).mean()),
        mode_generalises=float(solution.mode_generalises.mean()),
        draw_generalises=float(np.nan_to_num(solution.generalises).mean()),
        seconds=seconds / len(samples),
    )
