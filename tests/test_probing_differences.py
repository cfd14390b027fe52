"""Intervals over test programs and probe seeds: they hold as often as they say, and few programs have none."""

from __future__ import annotations

import numpy as np
import pytest

from karel_fast.probing.bootstrap import FEWEST_PROGRAMS
from karel_fast.probing.differences import Clusters, differences, interval_of_draws
from karel_fast.probing.measures import SUMS


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("scatter", [0.0, 1.0, 3.0])
def test_intervals_hold_as_often_as_they_say(seeds, scatter):
    """Means of programs (standard error 1) and of seeds (standard deviation `scatter`) about 0: 95 % of intervals have it inside. With
    one seed only the programs' scatter can be known; two that happen to lie close hide how far seeds scatter.
    """
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(1000):
        of_programs, of_seeds = rng.normal(), scatter * rng.normal(size=(seeds, 1))
        values = of_programs + of_seeds
        by_seed = values + rng.normal(size=200)  # the same drawn programs for every seed
        low, high = interval_of_draws(by_seed, float(values.mean()), 200)
        inside.append(low <= (0 if seeds > 1 else of_seeds[0, 0]) <= high)
    assert np.mean(inside) > (0.87 if seeds == 2 and scatter == 3 else 0.925)
    assert np.mean(inside) < (0.97 if scatter == 0 or seeds == 1 else 0.99)


@pytest.mark.parametrize(
    ("programs", "known"), [(0, False), (1, False), (FEWEST_PROGRAMS - 1, False), (FEWEST_PROGRAMS, True)]
)
def test_few_programs_have_no_interval(programs, known):
    cell = {
        "feature": "direction",
        "offset": 0,
        "layer": "mean",
        "depth": "linear",
        "labels": "true",
        "states": "trained",
    }
    records = [
        {**cell, "semantics": name, "seed": 0, "accuracy": 0.6, "majority": 0.2, "entropy": 1.0, "cross_entropy": 1.0}
        for name in ("original", "flip")
    ]
    sums = {name: np.full((2, programs), 5.0) for name in SUMS}
    sums["known"] *= 2
    made = differences(records, Clusters(np.zeros((programs, 2), np.uint8), sums))
    assert {d["cluster_low"] is not None for d in made if d["measure"] == "accuracy"} == {known}
