"""The published numbers and claims beside those of runs: what was reached, with which interval, beside which control.

A claim is one of three kinds, and its verdict follows from a 95 % interval where there is one, else from the value alone:

at least    a published number: reached when all of the interval is at or above it, missed when all is below
above zero  a difference that the publication says exists: reached when the interval is above 0, against when it is below
about       a published share: reached when it lies within `NEAR` of ours

What the interval leaves open is "undecided"; a difference without an interval always is, and what is said of several runs that do not
belong together.

Over several runs intervals are Student's t of their means, where they differ in their seeds alone and were measured at one snapshot by
one kind of probe. Over one run they are of what is drawn there: specifications
(Wilson's interval of a share) or test programs (`probing.differences`); none is given where neither is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from karel_fast.analysis.claims import Claim, claims_of
from karel_fast.analysis.compare import unlike
from karel_fast.analysis.intervals import interval
from karel_fast.analysis.series import Run, mean, number

NEAR = 0.05
NOTE = (
    "Shares in %, differences in points of them, R2 and actions as they are. Reached: the interval is at or above the published "
    "number, or above 0 where a difference is claimed; missed: below it; against: below 0; undecided: neither. Every interval is of 95 % "
    "by itself: of forty claims about which nothing is so, one would be reached by chance and one against."
)
COLUMNS = ("claim", "published", "here", "95 %", "over", "beside it", "verdict")


@dataclass(frozen=True)
class Row:
    """A claim answered: shares and R2 between 0 and 1, differences likewise; None where it was not measured. `command` then measures it,
    unless there is none, and `missing` says why.
    """

    name: str
    source: str
    unit: str
    published: float | None
    value: float | None
    low: float | None
    high: float | None
    over: str
    control: float | None
    control_name: str
    differs: str
    verdict: str
    command: str
    missing: str
    runs: int

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def checklist(runs: Sequence[Run]) -> list[Row]:
    """Every claim, answered by the last snapshots of some runs of one experiment with other seeds; without an interval or a verdict over
    runs that are not that (`compare.unlike` says why), or whose numbers are of other snapshots or probes.

    Raises ValueError for no run at all.
    """
    if not runs:
        raise ValueError("no run was given; name at least one run folder")
    alike = not unlike(runs)
    return [_answer(claim, runs, alike) for claim in claims_of(runs)]


def _answer(claim: Claim, runs: Sequence[Run], alike: bool) -> Row:
    answers = [claim.measure(run) for run in runs]
    known = [answer for answer in answers if answer.value is not None]
    missing = next((answer.missing for answer in answers if answer.missing), "")
    value = mean(answer.value for answer in known if answer.value is not None)
    low = high = None
    over = ""
    together = len(known) < 2 or (alike and len({answer.at for answer in known}) == 1)
    if len(known) > 1 and together:
        spread = interval([answer.value for answer in known])
        low, high, over = number(spread["low"]), number(spread["high"]), f"{len(known)} runs"
    elif len(known) == 1 and known[0].low is not None:
        low, high, over = known[0].low, known[0].high, known[0].over
    return Row(
        claim.name,
        claim.source,
        claim.unit,
        claim.published,
        value,
        low,
        high,
        over if low is not None else "",
        mean(answer.control for answer in known if answer.control is not None),
        claim.control,
        next((answer.differs for answer in known if answer.differs), claim.differs),
        "undecided" if not together else _verdict(claim, value, low, high),
        "" if known or missing else claim.command,
        "" if known else missing,
        len(known),
    )


def _verdict(claim: Claim, value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "not measured"
    if claim.kind == "about":
        assert claim.published is not None
        return "reached" if abs(value - claim.published) <= NEAR else "missed"
    if claim.kind == "above zero":
        if low is None or high is None:
            return "undecided"
        return "reached" if low > 0 else "against" if high < 0 else "undecided"
    assert claim.published is not None
    least, most = (value, value) if low is None or high is None else (low, high)
    return "reached" if least >= claim.published else "missed" if most < claim.published else "undecided"


def checklist_cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The rows as text, under `COLUMNS`."""
    return [
        (
            row.name,
            _number(row.published, row.unit),
            _number(row.value, row.unit),
            "-" if row.low is None else f"{_number(row.low, row.unit)} to {_number(row.high, row.unit)}",
            row.over or "-",
            f"{_number(row.control, row.unit)} {row.control_name}" if row.control is not None else "-",
            row.verdict,
        )
        for row in rows
    ]


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if unit in ("%", "points") else f"{value:.2f}"
