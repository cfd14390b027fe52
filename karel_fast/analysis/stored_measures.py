"""The measures of a run's probes, read from what is stored: also from runs older than a measure, without probing again.

They are defined in `karel_fast.probing.measures`.
"""

from __future__ import annotations

from typing import Any

from karel_fast.analysis.series import Run, number
from karel_fast.probing.differences import differences
from karel_fast.probing.measures import MEASURES as MEASURES
from karel_fast.probing.measures import measure_of as measure_of


def differences_of(run: Run, step: int, measure: str) -> list[dict[str, Any]]:
    """Original minus altered of one measure at a snapshot; of older runs made from the records, without clustered intervals."""
    stored = run.probing[step].get("differences", [])
    if not any("measure" in one for one in stored):
        stored = differences([{**record, "majority": record.get("majority")} for record in run.records(step)])
    return [one for one in stored if one.get("measure") == measure and number(one["mean"]) is not None]


def doubled_of(run: Run, step: int, measure: str) -> list[dict[str, Any]]:
    """The differences in differences of one measure at a snapshot; empty where untrained states lack the altered meanings."""
    stored = run.probing[step].get("differences_in_differences", [])
    return [one for one in stored if one.get("measure") == measure and number(one["mean"]) is not None]
