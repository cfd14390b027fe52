"""What one run says of each published claim: its value, that of the control, and the interval within the run if there is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from karel_fast.analysis.intervals import wilson
from karel_fast.analysis.phases import shares_of
from karel_fast.analysis.regression import beside_regression
from karel_fast.analysis.series import Run, mean, number, phases_of, regressions_of
from karel_fast.analysis.stored_measures import differences_of, doubled_of


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


def read_direction(run: Run, depth: str) -> Reading:
    """How often the direction after the current action is read right, beside the majority class."""
    # The published code's probes are of the first world, so what was probed like that comes first.
    own, grids = readings_of(run)[:2], readings_of(run)[2:]
    place = last_reading([*grids, *own], "direction", depth)
    if place is None:
        return Reading()
    reading, step, _ = place
    accuracy, majority = (
        mean(reading.values(step, name, feature="direction", depth=depth)) for name in ("accuracy", "majority")
    )
    first_world = reading.kind in run.paper or reading.probing[step].get("grid", {}).get("worlds") == "first"
    differs = "the first world, as there; other training of the probes" if first_world else ""
    return Reading(accuracy, majority, differs=differs)


def ability_on_content(run: Run) -> Reading:
    """R2 of ability on semantic content over the snapshots, beside that of the step number."""
    depth = run.deepest()
    fits = regressions_of(run).get(depth or "")
    return Reading() if depth is None or not fits else Reading(fits[0].r2, beside_regression(run, depth).step)


def beyond_time(run: Run) -> Reading:
    """By how much semantic content's R2 is above the step number's."""
    fit = ability_on_content(run)
    return Reading(None if fit.value is None or fit.control is None else fit.value - fit.control)


def above_untrained(run: Run, offset: int) -> Reading:
    """By how much the direction's lift, `offset` actions away, is above an untrained model's."""
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


def latent_grid(run: Run, feature: str) -> Reading:
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


def latent_direction(run: Run, kind: str) -> Reading:
    """`beyond_untrained` of direction under adversarial, where programs were read and outputs withheld as `kind` says."""
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


def phase_share(run: Run, index: int) -> Reading:
    """The share of training that a phase took: 0 babbling, 1 syntax, 2 semantics."""
    shares = shares_of(phases_of(run), run.steps[-1]) if run.steps else None
    return Reading() if shares is None else Reading(shares[index])


def shorter(run: Run) -> Reading:
    """By how many actions written programs are shorter than their references, beside the references' length."""
    written, reference = (number(final_evaluation(run).get(name)) for name in ("mean_length", "reference_mean_length"))
    return Reading() if written is None or reference is None else Reading(reference - written, reference)
