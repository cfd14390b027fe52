"""Several runs by the place of an action in its program, with intervals over runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from karel_fast.analysis.by_place import MISSING, by_place
from karel_fast.analysis.compare import interval
from karel_fast.analysis.series import Run, mean


def compare_places(
    runs: Sequence[Run],
    side: str,
    feature: str | None = None,
    depth: str | None = None,
    offset: int = 0,
    comparable: bool = True,
) -> list[dict[str, Any]]:
    """Per distance from the program's "start" or "end": runs, pairs, means of accuracy, majority, lift and untrained lift over
    the runs' last snapshots, and low and high, the 95 % Student t interval of lift over runs (None unless these are `comparable`).

    The closest look at each run counts; feature and depth are the first run's first and deepest unless named. Raises ValueError
    where a run has no sums by place for these probes.
    """
    closest = [run.closest for run in runs]
    probed = next((run for run in closest if run.probed), None)
    if probed is not None:
        feature, depth = feature or probed.names("feature")[0], depth or probed.deepest()
    rows_by_run = []
    for run in closest:
        rows = by_place(run, side, feature, depth, offset)
        if not rows:
            place = f"{feature}, {depth}, offset {offset}"
            why = MISSING if run.probed and run.places(run.probed[-1]) is None else f"it was not probed for {place}"
            raise ValueError(f"{run.name}: {why}")
        rows_by_run.append({row["distance"]: row for row in rows})
    out = []
    for distance in sorted(set().union(*rows_by_run)):
        here = [rows[distance] for rows in rows_by_run if distance in rows]
        lift = interval([row["lift"] for row in here], bounds=comparable)
        out.append(
            {
                "feature": feature,
                "depth": depth,
                "offset": offset,
                "side": side,
                "distance": distance,
                "runs": len(here),
                "pairs": sum(row["pairs"] for row in here),
                **{name: mean(r[name] for r in here if r[name] is not None) for name in ("accuracy", "majority")},
                "lift": lift["mean"],
                "low": lift["low"],
                "high": lift["high"],
                "untrained": mean(row["untrained"] for row in here if row["untrained"] is not None),
            }
        )
    return out
