"""What one run says of each published claim: its value, that of the control, and the interval within the run if there is one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from karel_fast.analysis.intervals import wilson
from karel_fast.analysis.phases import LEAST_SNAPSHOTS, shares_of
from karel_fast.analysis.regression import beside_regression
from karel_fast.analysis.series import Run, mean, number, phases_of, regressions_of
from karel_fast.analysis.stored_measures import differences_of, doubled_of


@dataclass(frozen=True)
class Answer:
    """What one run says of a claim: its value, that of the control, and the interval within the run if there is one.

    over: what that interval is drawn over. differs: what sets it apart from the publication, where that depends on the run. at: whose
    number it is of, reading, depth and snapshot: those of several runs have a mean only where it is the same. missing: why there is no
    value, where more evaluation or probing would not give one.
    """

    value: float | None = None
    control: float | None = None
    low: float | None = None
    high: float | None = None
    over: str = ""
    differs: str = ""
    at: str = ""
    missing: str = ""


def satisfied(run: Run) -> Answer:
    """Specifications satisfied at the last evaluated snapshot, beside the untrained model's (step 0)."""
    final = final_evaluation(run)
    share, samples = number(final.get("generative_accuracy")), number(final.get("samples"))
    if share is None:
        return Answer()
    untrained = number(run.evaluation.get(0, {}).get("generative_accuracy"))
    return Answer(share, untrained, *wilson(share, samples), "specifications" if samples else "", at=_last(run))


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


def read_direction(run: Run, depth: str) -> Answer:
    """How often the direction after the current action is read right, beside the majority class."""
    # The published code's probes are of the first world, so what was probed like that comes first.
    own, grids = readings_of(run)[:2], readings_of(run)[2:]
    place = last_reading([*grids, *own], "direction", depth)
    if place is None:
        return Answer()
    reading, step, _ = place
    accuracy, majority = (
        mean(reading.values(step, name, feature="direction", depth=depth)) for name in ("accuracy", "majority")
    )
    first_world = reading.kind in run.paper or reading.probing[step].get("grid", {}).get("worlds") == "first"
    differs = "the first world, as there; other training of the probes" if first_world else ""
    return Answer(accuracy, majority, differs=differs, at=_at(reading, step, depth))


def ability_on_content(run: Run) -> Answer:
    """R2 of ability on semantic content over the snapshots, beside that of the step number."""
    depth = run.deepest()
    fits = regressions_of(run).get(depth or "")
    if depth is None or not fits:
        return Answer()
    return Answer(fits[0].r2, beside_regression(run, depth).step, at=f"{depth}, steps {run.steps}")


def beyond_time(run: Run) -> Answer:
    """By how much semantic content's R2 is above the step number's."""
    fit = ability_on_content(run)
    return Answer(None if fit.value is None or fit.control is None else fit.value - fit.control, at=fit.at)


def above_untrained(run: Run, offset: int) -> Answer:
    """By how much the direction's lift, `offset` actions away, is above an untrained model's."""
    place = last_reading(readings_of(run), "direction", None, offset)
    if place is None:
        return Answer()
    reading, step, depth = place
    trained, untrained = (
        mean(reading.values(step, "lift", feature="direction", depth=depth, offset=offset, states=states))
        for states in ("trained", "untrained")
    )
    if trained is None or untrained is None:
        return Answer()
    return Answer(trained - untrained, untrained, at=_at(reading, step, depth))


def beyond_untrained(run: Run, feature: str, meaning: str) -> Answer:
    """How much more lift falls under an altered meaning than an untrained model's: of the first reading that was probed for both."""
    for reading in readings_of(run):
        place = last_reading([reading], feature, meaning=meaning)
        answer = Answer() if place is None else _doubled(*place, feature, meaning)
        if answer.value is not None:
            return answer
    return Answer()


def latent_grid(run: Run, feature: str) -> Answer:
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
        return Answer()
    trained, untrained = known[0] - known[1], known[2] - known[3]
    return Answer(trained - untrained, untrained, at=f"{rows[0]['depth']}, step {list(run.latent_grid)[-1]}")


def latent_direction(run: Run, kind: str) -> Answer:
    """`beyond_untrained` of direction under adversarial, where programs were read and outputs withheld as `kind` says."""
    if kind not in (name.rpartition("/")[2] for name in run.latent):
        return Answer()
    reading = run.reading(f"latent/{kind}")
    place = last_reading([reading], "direction")
    return Answer() if place is None else _doubled(*place, "direction", "adversarial")


def _doubled(reading: Run, step: int, depth: str, feature: str, meaning: str) -> Answer:
    """The difference in differences of lift at offset 0, and beside it how much an untrained model's lift falls."""
    wanted = {"feature": feature, "depth": depth, "offset": 0, "labels": "true", "semantics": meaning}

    def matching(records: Iterable[dict[str, Any]], **more: object) -> list[dict[str, Any]]:
        return [one for one in records if all(one.get(key) == value for key, value in (wanted | more).items())]

    both = matching(doubled_of(reading, step, "lift"))
    untrained = matching(differences_of(reading, step, "lift"), states="untrained")
    if len(both) != 1:
        return Answer()
    one = both[0]
    low, high = number(one.get("cluster_low")), number(one.get("cluster_high"))
    return Answer(
        number(one["mean"]),
        number(untrained[0]["mean"]) if len(untrained) == 1 else None,
        low,
        high,
        "" if low is None else over_programs(one.get("seeds", 1)),
        at=_at(reading, step, depth),
    )


def doubled_meanings(reading: Run, step: int, depth: str, feature: str) -> dict[str, Answer]:
    """By altered meaning, how much more one reading's lift falls under it than an untrained model's; without those that lack either."""
    found = {name: _doubled(reading, step, depth, feature, name) for name in reading.names("semantics")}
    return {name: answer for name, answer in found.items() if answer.value is not None}


def over_programs(seeds: int) -> str:
    """What a bootstrap of programs is drawn over, for so many probe seeds."""
    return "test programs and probe seeds" if seeds > 1 else "test programs"


def _last(run: Run) -> str:
    """The snapshot of `final_evaluation`."""
    final = final_evaluation(run)
    return next((f"step {step}" for step, found in run.evaluation.items() if found is final), "")


def _at(reading: Run, step: int, depth: str) -> str:
    return f"{reading.kind}, {depth}, step {step}"


def phase_share(run: Run, index: int) -> Answer:
    """The share of training that a phase took: 0 babbling, 1 syntax, 2 semantics."""
    phases = phases_of(run)
    shares = shares_of(phases, run.steps[-1]) if run.steps else None
    if shares is None:
        return Answer(missing=phases.note if len(run.evaluation) >= LEAST_SNAPSHOTS else "")
    return Answer(shares[index], at=f"steps {run.steps}")


def shorter(run: Run) -> Answer:
    """By how many actions written programs are shorter than their references, beside the references' length."""
    written, reference = (number(final_evaluation(run).get(name)) for name in ("mean_length", "reference_mean_length"))
    return Answer() if written is None or reference is None else Answer(reference - written, reference, at=_last(run))
