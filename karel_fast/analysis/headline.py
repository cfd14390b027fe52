"""The few numbers that people come for, each with its interval and its base rates: for the page, the terminal and results.json.

A number of one run is of its last snapshot. Its 95 % interval is over specifications (Wilson's), or over test programs and probe seeds
(a bootstrap, where sums per program were kept; over programs alone where there is one seed), else over probe seeds (Student's t);
none is given where none can be made.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from karel_fast.analysis.claim_measures import (
    doubled_meanings,
    final_evaluation,
    last_reading,
    over_programs,
    readings_of,
    satisfied,
)
from karel_fast.analysis.claims import FEATURES
from karel_fast.analysis.intervals import interval, wilson
from karel_fast.analysis.series import Run, mean, number
from karel_fast.probing.clusters import read_clusters
from karel_fast.probing.differences import Clusters, interval_of_draws
from karel_fast.probing.places import UNREADABLE

FEW = 3
"""So many features at most are headlines: those of the publications first."""


@dataclass(frozen=True)
class Estimate:
    """A value between 0 and 1 (or a difference of such), its 95 % interval, and what that is over; None where there is none."""

    value: float
    low: float | None = None
    high: float | None = None
    over: str = ""


@dataclass(frozen=True)
class Ability:
    """A share of what the model was asked to write: `asked` so many times. untrained: the same of the model before training. beside:
    base rates, and what an ideal reader reaches on held-out worlds.
    """

    name: str
    step: int
    share: Estimate
    asked: int | None
    untrained: float | None
    beside: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Reading:
    """What the deepest probe reads of a feature, of the state after the predicted action.

    kind: the folder of the run it comes from. accuracy; majority: always the most frequent answer; untrained: the same probe on an
    untrained model. gained: lift above the untrained model's. meanings: by altered meaning that these same probes were trained under,
    how much more lift falls under it than from an untrained model.
    """

    feature: str
    depth: str
    step: int
    kind: str
    accuracy: Estimate
    majority: float | None
    untrained: float | None
    gained: Estimate | None
    meanings: dict[str, Estimate]

    @property
    def weakest(self) -> tuple[str, Estimate] | None:
        """The altered meaning that speaks least for the model: the lowest end of an interval, else the lowest value."""
        if not self.meanings:
            return None
        return min(self.meanings.items(), key=lambda one: one[1].value if one[1].low is None else one[1].low)

    @property
    def shown(self) -> bool | None:
        """Whether the states hold the feature's meaning: every interval of `meanings` is above 0. None: there is no interval."""
        known = [one.low for one in self.meanings.values() if one.low is not None]
        return None if not known or len(known) < len(self.meanings) else min(known) > 0


@dataclass(frozen=True)
class Headline:
    """abilities: what it writes; readings: what is read from its states."""

    abilities: tuple[Ability, ...]
    readings: tuple[Reading, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields by name, and what follows of each reading."""
        shown = [asdict(reading) | {"shown": reading.shown} for reading in self.readings]
        return {"abilities": [asdict(ability) for ability in self.abilities], "readings": shown}


def headline_of(run: Run) -> Headline:
    """The headline of a run; what it has no numbers for is left out."""
    if "headline" not in run.memo:
        run.memo["headline"] = Headline(tuple(_abilities(run)), tuple(_readings(run)))
    found: Headline = run.memo["headline"]
    return found


def _abilities(run: Run) -> list[Ability]:
    out = []
    writes = satisfied(run)
    final = final_evaluation(run)
    if writes.value is not None:
        step = next(step for step in reversed(run.evaluation) if run.evaluation[step] is final)
        samples, share = number(final.get("samples")), number(final.get("generalization"))
        asked = None if samples is None else int(samples)
        one = number(final.get("one_for_all_accuracy"))
        shown = Estimate(writes.value, writes.low, writes.high, writes.over)
        beside = () if one is None else (("one program for all", one),)
        out.append(Ability("satisfied", step, shown, asked, writes.control, beside))
        if share is not None:
            untrained = number(run.evaluation.get(0, {}).get("generalization"))
            ideal = number(final.get("ideal_generalization"))
            beside = () if ideal is None else (("ideal reader", ideal),)
            over = "specifications" if samples else ""
            out.append(
                Ability("held_out", step, Estimate(share, *wilson(share, samples), over), asked, untrained, beside)
            )
    for step in reversed(run.evaluation):
        evaluation = run.evaluation[step]
        share, copied = (number(evaluation.get(name)) for name in ("world_accuracy", "copy_world_accuracy"))
        if share is not None:
            untrained = number(run.evaluation.get(0, {}).get("world_accuracy"))
            beside = () if copied is None else (("copying the input", copied),)
            out.append(Ability("worlds", step, Estimate(share), None, untrained, beside))
            break
    return out


def _readings(run: Run) -> list[Reading]:
    known = list(dict.fromkeys(name for reading in readings_of(run) for name in reading.names("feature")))
    chosen = [name for name in FEATURES if name in known] + [name for name in known if name not in FEATURES]
    found = (_reading(run, feature) for feature in chosen[:FEW])
    return [reading for reading in found if reading is not None]


def _reading(run: Run, feature: str) -> Reading | None:
    places = [place for reading in readings_of(run) if (place := last_reading([reading], feature)) is not None]
    if not places:
        return None
    # An accuracy whose falls under other meanings stand beside an untrained model's says most, then one beside its control.
    controlled = [place for place in places if place[0].values(place[1], feature=feature, states="untrained")]
    altered = [place for place in controlled if doubled_meanings(*place, feature)]
    reading, step, depth = (altered or controlled or places)[0]
    where = {"feature": feature, "depth": depth}
    accuracy, majority, untrained, lift, fresh = (
        mean(reading.values(step, name, states=states, **where))
        for name, states in (
            ("accuracy", "trained"),
            ("majority", "trained"),
            ("accuracy", "untrained"),
            ("lift", "trained"),
            ("lift", "untrained"),
        )
    )
    if accuracy is None:
        return None
    clusters = _clusters(reading, step)
    programs = 0 if clusters is None else len(clusters.actions)
    drawn = {states: _drawn(reading, step, clusters, states, where) for states in ("trained", "untrained")}
    meanings = {}
    for name, answer in doubled_meanings(reading, step, depth, feature).items():
        if answer.value is not None:
            meanings[name] = Estimate(answer.value, answer.low, answer.high, answer.over)
    gained = None
    if lift is not None and fresh is not None:
        gained = Estimate(lift - fresh)
        seeds = sorted(drawn["trained"].keys() & drawn["untrained"].keys())
        if seeds:
            by_seed = np.stack([drawn["trained"][seed]["lift"] - drawn["untrained"][seed]["lift"] for seed in seeds])
            bounds = interval_of_draws(by_seed, lift - fresh, programs)
            gained = Estimate(lift - fresh, *bounds, over_programs(len(seeds)))
    if drawn["trained"]:
        by_seed = np.stack([values["accuracy"] for values in drawn["trained"].values()])
        low, high = interval_of_draws(by_seed, accuracy, programs)
        share = Estimate(accuracy, max(low, 0.0), min(high, 1.0), over_programs(len(by_seed)))
    else:
        spread = interval(reading.by_seed(step, **where))
        share = Estimate(
            accuracy, number(spread["low"]), number(spread["high"]), "" if spread["low"] is None else "probe seeds"
        )
    return Reading(feature, depth, step, reading.kind, share, majority, untrained, gained, meanings)


def _clusters(run: Run, step: int) -> Clusters | None:
    """The sums per program of a snapshot's records, in their order; None where there are none to these."""
    path = None if run.folder is None else run.folder.sums(run.kind, step)
    if path is None or not path.exists():
        return None
    try:
        clusters = read_clusters(path)
    except UNREADABLE:
        problem = f"{run.kind}/{path.name} is damaged; no interval is over test programs"
        if problem not in run.problems:
            run.problems.append(problem)
        return None
    return clusters if len(clusters.sums["known"]) == len(run.probing[step].get("records", [])) else None


def _drawn(
    run: Run, step: int, clusters: Clusters | None, states: str, where: dict[str, Any]
) -> dict[int, dict[str, np.ndarray]]:
    """Accuracy and lift on test programs drawn again, (draws,) each, by probe seed: means over layers and untrained models. {} without
    sums per program, or with too few programs.
    """
    stored = run.probing[step].get("records", [])
    wanted = {**where, "states": states, "labels": "true", "semantics": "original", "offset": 0}
    rows = [i for i, r in enumerate(stored) if all(r.get(key) == value for key, value in wanted.items())]
    if clusters is None or not rows:
        return {}
    drawn = Clusters(clusters.actions, {name: sums[rows] for name, sums in clusters.sums.items()}).drawn()
    if not drawn or not all(np.isfinite(drawn[name]).all() for name in ("accuracy", "lift")):
        return {}
    seeds = np.array([stored[row]["seed"] for row in rows])
    return {
        int(seed): {name: drawn[name][seeds == seed].mean(0) for name in ("accuracy", "lift")}
        for seed in np.unique(seeds)
    }
