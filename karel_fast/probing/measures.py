"""What is said of a probe's answers, defined once: accuracy with its base rate, and usable information.

Every measure is of (row, world) pairs of the test rows, for the labels of one meaning; a pair is right when all heads are.

accuracy    share of pairs that are right
majority    accuracy of always giving a world's most frequent training answer (of several heads, all together): the base rate
lift        accuracy - majority
normalised  lift / (1 - majority): the share of what the base rate leaves that is read
entropy     H(Y) in bits of a pair: of each world and head the entropy of its test labels, heads summed, worlds averaged by
            their labelled rows. A probe's heads are separate softmaxes, so this is the smallest cross entropy that a probe
            told nothing could have.
bits        H(Y) - cross entropy: usable information (V-information). Below zero where a probe is worse than knowing only the
            frequencies.
bits_share  bits / H(Y)

What ideal readers know of the same labels (`karel_fast.probing.ceilings`) is in records with the setting `ideal`, for the reader of
both, specification and prefix, for that of the specification alone and for that of the prefix alone:

ceiling_both_accuracy, ceiling_specification_accuracy, ceiling_prefix_accuracy     and their bits, as ceiling_both_bits
lift_share   lift / (ceiling_both_accuracy - majority): of what could be known above the base rate, the share that is read
bits_share_of_ceiling   bits / ceiling_both_bits

The cross entropy is that of the probe's scores divided by one temperature, chosen on validation rows: probes are trained
for accuracy and can be too sure of themselves, which would be counted as ignorance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

MEASURES = ("accuracy", "lift", "normalised", "bits")
"""The measures that differences, regressions and figures are made for."""

SUMS = ("known", "majority", "surprisal", "right", "loss")
"""What `measures_of_sums` takes, each a sum over pairs: pairs with a label, pairs that the majority class gets right, bits of
the labels under their own frequencies, pairs that the probe gets right, bits that the probe loses."""


def stored_kinds(exact: bool = False) -> dict[str, type]:
    """How each of `SUMS` is stored: counts as whole numbers, bits as float32, or exactly."""
    bits = np.float64 if exact else np.float32
    return {name: bits if name in ("surprisal", "loss") else np.int32 for name in SUMS}


def measures(
    accuracy: float | None,
    majority: float | None,
    entropy: float | None = None,
    cross_entropy: float | None = None,
) -> dict[str, float | None]:
    """lift, normalised, bits and bits_share from what a record holds; None where something is missing or undefined."""
    lift = None if accuracy is None or majority is None else accuracy - majority
    bits = None if entropy is None or cross_entropy is None else entropy - cross_entropy
    return {
        "lift": lift,
        "normalised": None if lift is None or majority is None or majority >= 1 else lift / (1 - majority),
        "bits": bits,
        "bits_share": None if bits is None or not entropy else bits / entropy,
    }


def ceiling_measures(
    record: Mapping[str, Any], known: Mapping[str, tuple[float | None, float | None]]
) -> dict[str, float | None]:
    """What ideal readers know beside what a record's probe reads; None where something is missing or undefined.

    known: for each reader, "both" among them, its accuracy and its cross entropy in bits on the record's labels.
    """
    found: dict[str, float | None] = {}
    entropy = record.get("entropy")
    for reader, (accuracy, cross_entropy) in known.items():
        found[f"ceiling_{reader}_accuracy"] = accuracy
        found[f"ceiling_{reader}_bits"] = None if entropy is None or cross_entropy is None else entropy - cross_entropy
    majority, best = record.get("majority"), found["ceiling_both_accuracy"]
    room = None if best is None or majority is None else best - majority
    return {
        **found,
        "lift_share": _share(record.get("lift"), room),
        "bits_share_of_ceiling": _share(record.get("bits"), found["ceiling_both_bits"]),
    }


def _share(part: float | None, whole: float | None) -> float | None:
    return None if part is None or whole is None or whole <= 0 else part / whole


def measures_of_sums(sums: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each of `MEASURES` from arrays of the sums `SUMS`, of any one shape; NaN where it is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracy, majority = sums["right"] / sums["known"], sums["majority"] / sums["known"]
        lift = accuracy - majority
        return {
            "accuracy": accuracy,
            "lift": lift,
            "normalised": np.where(majority < 1, lift / (1 - majority), np.nan),
            "bits": (sums["surprisal"] - sums["loss"]) / sums["known"],
        }


def measure_of(record: Mapping[str, Any], name: str) -> float | None:
    """One measure of a probe record, also of records older than the measure: computed from what they hold, else None."""
    value = record.get(name)
    if value is None and name in ("lift", "normalised", "bits", "bits_share"):
        value = measures(*(_number(record.get(key)) for key in ("accuracy", "majority", "entropy", "cross_entropy")))[
            name
        ]
    return _number(value)


def finite(value: float) -> float | None:
    """A number as JSON holds it: None in place of one that is not finite."""
    return float(value) if np.isfinite(value) else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        return None
    return float(value)
