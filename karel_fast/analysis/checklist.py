"""The published numbers and claims beside those of runs: what was reached, with which interval, beside which control.

A claim is one of three kinds, and its verdict follows from a 95 % interval where there is one, else from the value alone:

at least    a published number: reached when all of the interval is at or above it, missed when all is below
above zero  a difference that the publication says exists: reached when the interval is above 0, against when it is below
about       a published share: reached when it lies within `NEAR` of ours

What the interval leaves open is "undecided"; a difference without an interval always is.

Over several runs intervals are Student's t of their means. Over one run they are of what is drawn there: specifications
(Wilson's interval of a share) or test programs (`probing.differences`); none is given where neither is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from karel_fast.analysis.costs import ORIGINAL_ACCURACY
from karel_fast.analysis.intervals import interval, wilson
from karel_fast.analysis.phases import PAPER_SHARES, shares_of
from karel_fast.analysis.regression import beside_regression
from karel_fast.analysis.series import Run, mean, number, phases_of, regressions_of
from karel_fast.analysis.stored_measures import differences_of, doubled_of

PAPER = "Jin & Rinard, ICML 2024"
SEQUEL = "Jin & Rinard, COLM 2024"
FEATURES = ("direction", "position", "facing")
READ = {"linear": 0.632, "mlp1": 0.791, "mlp2": 0.823}
"""The paper's accuracies for the state after the current action, per depth of the probe."""
R2 = 0.878
"""The paper's R2 of ability on semantic content."""
NEAR = 0.05
NOTE = (
    "Shares in %, differences in points of them, R2 and actions as they are. Reached: the interval is at or above the published "
    "number, or above 0 where a difference is claimed; missed: below it; against: below 0; undecided: neither."
)
VERDICTS = ("reached", "missed", "against", "undecided", "not measured")


@dataclass(frozen=True)
class Reading:
    """What one run says of a claim: its value, that of the control, and the interval within the run if there is one.

    over: what that interval is drawn over. differs: what sets it apart from the publication, where that depends on the run.
    """

    value: float | None = None
    control: float | None = None
    low: float | None = None
    high: float | None = None
    over: str = ""
    differs: str = ""


@dataclass(frozen=True)
class Claim:
    """One published number or statement. unit: "%", "points" or "" (as it is); `control`: what stands beside it. `measure`: how it is
    asked of a run, and `command`: what measures it where a run cannot say.
    """

    name: str
    source: str
    kind: str
    unit: str
    control: str
    differs: str
    measure: Callable[[Run], Reading]
    command: str
    published: float | None = None


@dataclass(frozen=True)
class Row:
    """A claim answered: shares and R2 between 0 and 1, differences likewise; None where it was not measured."""

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
    runs: int

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def checklist(runs: Sequence[Run]) -> list[Row]:
    """Every claim, answered by the last snapshots of some runs of one experiment with other seeds.

    Raises ValueError for no run at all.
    """
    if not runs:
        raise ValueError("no run was given; name at least one run folder")
    return [_answer(claim, runs) for claim in _claims(runs)]


def _answer(claim: Claim, runs: Sequence[Run]) -> Row:
    readings = [claim.measure(run) for run in runs]
    known = [reading for reading in readings if reading.value is not None]
    value = mean(reading.value for reading in known if reading.value is not None)
    low = high = None
    over = ""
    if len(known) > 1:
        spread = interval([reading.value for reading in known])
        low, high, over = number(spread["low"]), number(spread["high"]), f"{len(known)} runs"
    elif known and known[0].low is not None:
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
        mean(reading.control for reading in known if reading.control is not None),
        claim.control,
        next((reading.differs for reading in known if reading.differs), claim.differs),
        _verdict(claim, value, low, high),
        "" if known else claim.command,
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


def _claims(runs: Sequence[Run]) -> list[Claim]:
    smaller = "smaller model, worlds and programs than the paper's, unless the run is `paper`"
    claims = [
        Claim(
            "specifications satisfied",
            PAPER,
            "at least",
            "%",
            "untrained model",
            smaller,
            satisfied,
            "karel-fast evaluate",
            ORIGINAL_ACCURACY,
        ),
        *(
            Claim(
                f"direction after the action, {depth}",
                PAPER,
                "at least",
                "%",
                "majority class",
                "all worlds from one state; the paper's probes read the first",
                partial(_read, depth=depth),
                "karel-fast probe",
                published,
            )
            for depth, published in READ.items()
        ),
        Claim(
            "ability on semantic content, R2",
            PAPER,
            "at least",
            "",
            "R2 of the step number",
            smaller,
            _regression,
            "karel-fast probe, at every snapshot",
            R2,
        ),
        Claim(
            "the same, beyond the step number's R2",
            PAPER,
            "above zero",
            "",
            "",
            "not asked there",
            _beyond_time,
            "karel-fast probe, at every snapshot",
        ),
    ]
    for offset in (1, 2, -1, -2):
        where = f"direction {abs(offset)} action{'s' * (abs(offset) > 1)} {'later' if offset > 0 else 'earlier'}"
        claims.append(
            Claim(
                f"{where}: lift above an untrained model",
                PAPER,
                "above zero",
                "points",
                "untrained model's lift",
                "there without untrained models",
                partial(_above_untrained, offset=offset),
                f"karel-fast probe --offsets {offset}",
            )
        )
    altered = [name for name in dict.fromkeys(n for run in runs for n in _meanings(run)) if name != "original"]
    for feature in FEATURES:
        for name in altered or ["adversarial"]:
            claims.append(
                Claim(
                    f"{feature}: lift less under {name}",
                    PAPER,
                    "above zero",
                    "points",
                    "the same, untrained",
                    "difference in differences; there accuracy",
                    partial(beyond_untrained, feature=feature, meaning=name),
                    f"karel-fast probe --features {feature}",
                )
            )
    for index, phase in enumerate(("babbling", "syntax", "semantics")):
        claims.append(
            Claim(
                f"share of training: {phase}",
                PAPER,
                "about",
                "%",
                "",
                "by a rule; there by eye",
                partial(_phase, index=index),
                "karel-fast evaluate, at every snapshot",
                PAPER_SHARES[index],
            )
        )
    claims.append(
        Claim(
            "programs shorter than the references",
            PAPER,
            "above zero",
            "",
            "references' actions",
            "actions, on average",
            _shorter,
            "karel-fast evaluate",
        )
    )
    for feature in FEATURES:
        claims.append(
            Claim(
                f"{feature} of programs read, outputs withheld, where not learnt",
                SEQUEL,
                "above zero",
                "points",
                "the same, untrained",
                "difference in differences, mean of the altered meanings",
                partial(_latent_grid, feature=feature),
                "karel-fast latent --initialisations 1",
            )
        )
    for withheld in ("space", "input"):
        claims.append(
            Claim(
                f"direction read, outputs withheld ({withheld})",
                SEQUEL,
                "above zero",
                "points",
                "the same, untrained",
                "difference in differences, adversarial",
                partial(_latent, kind=withheld),
                f"karel-fast probe --programs-from reference --withhold {withheld}",
            )
        )
    return claims


def _meanings(run: Run) -> Iterable[str]:
    return [name for reading in readings_of(run) for name in reading.names("semantics")]


def satisfied(run: Run) -> Reading:
    """Specifications satisfied at the last evaluated snapshot, beside the untrained model's (step 0)."""
    final = final_evaluation(run)
    share, samples = number(final.get("generative_accuracy")), number(final.get("samples"))
    if share is None:
        return Reading()
    untrained = number(run.evaluation.get(0, {}).get("generative_accuracy"))
    return Reading(share, untrained, *wilson(share, samples), "specifications" if samples else "")


def final_evaluation(run: Run) -> Mapping[str, Any]:
    """The evaluation of the last snapshot that has one."""
    evaluated = [e for e in run.evaluation.values() if number(e.get("generative_accuracy")) is not None]
    return evaluated[-1] if evaluated else {}


def readings_of(run: Run) -> list[Run]:
    """All that the run's snapshots were probed for: the closer look first, the published code's grids last."""
    return [run.closest, run, *(run.reading(kind) for kind in run.paper)]


def last_reading(
    readings: Sequence[Run], feature: str, depth: str | None = None, offset: int = 0, meaning: str = "original"
) -> tuple[Run, int, str] | None:
    """The first reading with these probes, its last snapshot that has them, and their depth (the deepest unless named)."""
    for reading in readings:
        depths = [depth] if depth else list(reversed(reading.names("depth")))
        for step in reversed(reading.probed):
            for name in depths:
                if reading.values(step, feature=feature, depth=name, offset=offset, semantics=meaning):
                    return reading, step, name
    return None


def _read(run: Run, depth: str) -> Reading:
    # The published code's probes are of the first world, so what was probed like that comes first.
    own, grids = readings_of(run)[:2], readings_of(run)[2:]
    place = last_reading([*grids, *own], "direction", depth)
    if place is None:
        return Reading()
    reading, step, _ = place
    accuracy, majority = (
        mean(reading.values(step, name, feature="direction", depth=depth)) for name in ("accuracy", "majority")
    )
    differs = "the first world, as there; other training of the probes" if reading.kind in run.paper else ""
    return Reading(accuracy, majority, differs=differs)


def _regression(run: Run) -> Reading:
    depth = run.deepest()
    fits = regressions_of(run).get(depth or "")
    return Reading() if depth is None or not fits else Reading(fits[0].r2, beside_regression(run, depth).step)


def _beyond_time(run: Run) -> Reading:
    fit = _regression(run)
    return Reading(None if fit.value is None or fit.control is None else fit.value - fit.control)


def _above_untrained(run: Run, offset: int) -> Reading:
    place = last_reading(readings_of(run), "direction", None, offset)
    if place is None:
        return Reading()
    reading, step, depth = place
    trained, untrained = (
        mean(reading.values(step, "lift", feature="direction", depth=depth, offset=offset, states=states))
        for states in ("trained", "untrained")
    )
    if trained is None or untrained is None:
        return Reading()
    return Reading(trained - untrained, untrained)


def beyond_untrained(run: Run, feature: str, meaning: str) -> Reading:
    """How much more lift falls under an altered meaning than an untrained model's: of the first reading that was probed for both."""
    for reading in readings_of(run):
        place = last_reading([reading], feature, meaning=meaning)
        answer = Reading() if place is None else _doubled(*place, feature, meaning)
        if answer.value is not None:
            return answer
    return Reading()


def _latent_grid(run: Run, feature: str) -> Reading:
    """Lift of the original less the mean of the altered meanings, less the same of untrained models: at positions of a program that
    the deepest probe did not learn on, of the state after the action just read.
    """
    stored = list(run.latent_grid.values())[-1]["rows"] if run.latent_grid else []
    rows = [row for row in stored if row["feature"] == feature and row["actions_back"] == 1]
    rows = [row for row in rows if row["depth"] == rows[-1]["depth"]]

    def lift(states: str, original: bool) -> float | None:
        chosen = [r for r in rows if r["states"] == states and (r["semantics"] == "original") == original]
        return mean(value for row in chosen for value in row["unseen"] if value is not None)

    cells = [lift(states, original) for states in ("trained", "untrained") for original in (True, False)]
    known = [cell for cell in cells if cell is not None]
    if len(known) < len(cells):
        return Reading()
    trained, untrained = known[0] - known[1], known[2] - known[3]
    return Reading(trained - untrained, untrained)


def _latent(run: Run, kind: str) -> Reading:
    if kind not in (name.rpartition("/")[2] for name in run.latent):
        return Reading()
    reading = run.reading(f"latent/{kind}")
    place = last_reading([reading], "direction")
    return Reading() if place is None else _doubled(*place, "direction", "adversarial")


def _doubled(reading: Run, step: int, depth: str, feature: str, meaning: str) -> Reading:
    """The difference in differences of lift at offset 0, and beside it how much an untrained model's lift falls."""
    wanted = {"feature": feature, "depth": depth, "offset": 0, "labels": "true", "semantics": meaning}

    def matching(records: Iterable[dict[str, Any]], **more: object) -> list[dict[str, Any]]:
        return [one for one in records if all(one.get(key) == value for key, value in (wanted | more).items())]

    both = matching(doubled_of(reading, step, "lift"))
    untrained = matching(differences_of(reading, step, "lift"), states="untrained")
    if len(both) != 1:
        return Reading()
    one = both[0]
    low, high = number(one.get("cluster_low")), number(one.get("cluster_high"))
    return Reading(
        number(one["mean"]),
        number(untrained[0]["mean"]) if len(untrained) == 1 else None,
        low,
        high,
        "" if low is None else "test programs",
    )


def _phase(run: Run, index: int) -> Reading:
    shares = shares_of(phases_of(run), run.steps[-1]) if run.steps else None
    return Reading() if shares is None else Reading(shares[index])


def _shorter(run: Run) -> Reading:
    written, reference = (number(final_evaluation(run).get(name)) for name in ("mean_length", "reference_mean_length"))
    return Reading() if written is None or reference is None else Reading(reference - written, reference)


COLUMNS = ("claim", "published", "here", "95 %", "over", "beside it", "verdict")


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
