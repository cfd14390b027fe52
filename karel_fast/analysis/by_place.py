"""Accuracy by the place of an action in its program, from the start and from the end: computed from stored sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from karel_fast.analysis.series import Run, mean, number
from karel_fast.probing.measures import measures_of_sums
from karel_fast.probing.places import SIDES as SIDES
from karel_fast.support.checks import one_of

MISSING = "the probes have no sums by place in the program; they were made before those were kept (probe anew)"


def by_place(
    run: Run,
    side: str,
    feature: str | None = None,
    depth: str | None = None,
    offset: int = 0,
    semantics: str = "original",
) -> list[dict[str, Any]]:
    """Measures at the last probed snapshot by distance from the program's "start" or "end", one row per distance.

    feature, depth: the first and the deepest unless named. distance: 0 for the first or last action. pairs: labelled (state,
    world) pairs of the test rows; majority: accuracy there of the class that is most frequent in all training rows. accuracy,
    lift, normalised and bits are means over seeds and layers; lowest, highest: of the seeds' lifts (layers averaged);
    untrained: the untrained models' lift. bits are against the labels' frequencies over all places, so they count what the place
    alone tells. Empty where nothing was probed or no sums by place are stored. Raises ValueError for another side.
    """
    one_of("side", side, SIDES)
    if not run.probed:
        return []
    step = run.probed[-1]
    places = run.places(step)
    if places is None:
        return []
    wanted = {
        "feature": feature or run.names("feature")[0],
        "depth": depth or run.deepest(),
        "offset": offset,
        "semantics": semantics,
        "labels": "true",
    }
    records = run.probing[step]["records"]
    chosen = [i for i, r in enumerate(records) if all(r.get(key) == value for key, value in wanted.items())]
    distances, sums = places.by_distance(side)
    found = measures_of_sums(sums)
    rows = []
    for column, distance in enumerate(distances):
        value_by_seed: dict[Any, list[float]] = {}
        members = []
        for i in (i for i in chosen if records[i]["states"] == "trained" and sums["known"][i, column] > 0):
            members.append(i)
            value_by_seed.setdefault(records[i]["seed"], []).append(float(found["lift"][i, column]))
        if not members:
            continue
        fresh = [i for i in chosen if records[i]["states"] == "untrained" and sums["known"][i, column] > 0]
        seeds = [float(np.mean(values)) for values in value_by_seed.values()]
        rows.append(
            {
                "step": step,
                "side": side,
                **{key: wanted[key] for key in ("feature", "depth", "offset", "semantics")},
                "distance": int(distance),
                "pairs": int(sums["known"][members[0], column]),
                "majority": float((sums["majority"] / np.maximum(sums["known"], 1))[members, column].mean()),
                **{name: number(values[members, column].mean()) for name, values in found.items()},
                "lowest": min(seeds),
                "highest": max(seeds),
                "seeds": len(seeds),
                "untrained": mean(float(found["lift"][i, column]) for i in fresh),
            }
        )
    return rows


def places_of(run: Run) -> list[dict[str, Any]]:
    """`by_place` of every feature and depth and both sides, at offset 0, of the closest look at the run's last snapshot."""
    run = run.closest
    return [
        row
        for feature in run.names("feature")
        for depth in run.names("depth")
        for side in SIDES
        for row in by_place(run, side, feature, depth)
    ]
