"""Original minus altered meanings, trained minus untrained states, and the difference of these differences.

Two intervals stand beside every mean, each of 95 %:

low, high            Student's t over the probe seeds' paired differences; it says how far probes of the same rows scatter
cluster_low, _high   over test programs, drawn anew by a bootstrap (all rows of a program together), and over the probe seeds:
                     see `interval_of_draws`; it says how far another test set, and other probes, would have led elsewhere.
                     With one seed it is over test programs alone. None for fewer than `bootstrap.FEWEST_PROGRAMS`

Neither says anything of another model: that takes several runs (`karel-fast compare`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from karel_fast.probing.bootstrap import CONFIDENCE, drawn_weights
from karel_fast.probing.measures import MEASURES, SUMS, measure_of, measures_of_sums

_CELL = ("feature", "offset", "layer", "depth", "labels", "states")
_PLACE = ("feature", "offset", "layer", "depth", "labels")


@dataclass(frozen=True)
class Clusters:
    """Sums per test program (programs written alike are one), for every record: see `probing.measures.SUMS`.

    actions: (G, L) the programs, 255 after their end. sums: each (records, G), in order of the records.
    """

    actions: np.ndarray
    sums: Mapping[str, np.ndarray]

    def drawn(self) -> dict[str, np.ndarray]:
        """Each of `MEASURES`, (records, draws), of programs drawn anew; {} for too few: see `bootstrap.drawn_weights`."""
        weights = drawn_weights(len(self.actions))
        if weights is None:
            return {}
        return measures_of_sums({name: self.sums[name] @ weights.T for name in SUMS})


def interval_of_draws(by_seed: np.ndarray, mean: float, programs: int) -> tuple[float, float]:
    """The interval of a mean over seeds, from (seeds, draws) values, each seed's of the same drawn programs.

    Programs and seeds are two sources of scatter: the variance of the mean is that over the draws, and that of the seeds divided by how
    many they are. Student's t with the degrees of freedom of such a sum (Satterthwaite 1946): where two seeds lie far apart the
    interval is as wide as two numbers allow, and where they scatter far and happen to lie close it holds less often (88 % at worst).
    One seed has no scatter that could be told, so then it is of programs alone.
    """
    seeds = len(by_seed)
    of_programs = float(by_seed.mean(0).var(ddof=1))
    of_seeds = float(by_seed.mean(1).var(ddof=1)) / seeds if seeds > 1 else 0.0
    whole = of_programs + of_seeds
    if whole == 0:
        return mean, mean
    freedom = whole**2 / (of_programs**2 / (programs - 1) + (of_seeds**2 / (seeds - 1) if seeds > 1 else 0.0))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * whole**0.5
    return mean - half, mean + half


def differences(records: Sequence[Mapping[str, Any]], clusters: Clusters | None = None) -> list[dict[str, Any]]:
    """Original minus altered per (feature, offset, layer, depth, labels, states, altered semantics, measure).

    mean, low, high and p (of mean = 0, paired t-test) over the seeds, and the clustered interval where `clusters` are
    given, in order of the records. With one seed, or differences that are all alike, low, high and p are None. Of several
    untrained models, a seed's value is the mean.
    """
    return _contrasts(records, _CELL, clusters, doubled=False)


def differences_in_differences(
    records: Sequence[Mapping[str, Any]], clusters: Clusters | None = None
) -> list[dict[str, Any]]:
    """(Trained - untrained) under the original meaning minus the same under an altered one; fields as in `differences`.

    Only for cells whose untrained states were probed under both meanings.
    """
    return _contrasts(records, _PLACE, clusters, doubled=True)


def _contrasts(
    records: Sequence[Mapping[str, Any]],
    cell: tuple[str, ...],
    clusters: Clusters | None,
    doubled: bool,
) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], dict[tuple[str, str], dict[int, list[int]]]] = {}
    for index, record in enumerate(records):
        kind = (record["semantics"], record["states"])
        group = groups.setdefault(tuple(record[name] for name in cell), {})
        group.setdefault(kind, {}).setdefault(record["seed"], []).append(index)
    drawn = clusters.drawn() if clusters is not None else {}
    programs = 0 if clusters is None else len(clusters.actions)
    out = []
    for key, kinds in groups.items():
        states = ("trained", "untrained") if doubled else (next(iter(kinds))[1],)
        for altered in dict.fromkeys(semantics for semantics, _ in kinds if semantics != "original"):
            # The four or two readings that are added and subtracted.
            terms = [
                (sign * (1 if state == states[0] else -1), kinds.get((semantics, state), {}))
                for semantics, sign in (("original", 1), (altered, -1))
                for state in states
            ]
            for measure in MEASURES:
                contrast = _contrast(records, terms, measure, drawn, programs)
                if contrast is not None:
                    out.append(
                        {**dict(zip(cell, key, strict=True)), "semantics": altered, "measure": measure, **contrast}
                    )
    return out


def _contrast(
    records: Sequence[Mapping[str, Any]],
    terms: Sequence[tuple[int, Mapping[int, list[int]]]],
    measure: str,
    drawn: Mapping[str, np.ndarray],
    programs: int,
) -> dict[str, Any] | None:
    seeds = sorted(set.intersection(*(set(by_seed) for _, by_seed in terms)))
    values = dict.fromkeys(seeds, 0.0)
    for sign, by_seed in terms:
        for seed in seeds:
            known = [v for i in by_seed[seed] if (v := measure_of(records[i], measure)) is not None]
            if known and seed in values:
                values[seed] += sign * float(np.mean(known))
            else:
                values.pop(seed, None)
    if not values:
        return None
    estimate = paired(list(values.values()))
    low = high = None
    if drawn:
        by_draw = np.zeros((len(values), drawn[measure].shape[1]))  # (seeds, draws)
        for sign, by_seed in terms:
            by_draw += sign * np.stack([drawn[measure][by_seed[seed]].mean(0) for seed in values])
        if np.isfinite(by_draw).all():
            low, high = interval_of_draws(by_draw, estimate["mean"], programs)
    return {**estimate, "cluster_low": low, "cluster_high": high}


def paired(values: Iterable[float]) -> dict[str, Any]:
    """Mean, Student t interval and p of a mean of zero; None where there is no spread to tell them from."""
    known = np.array(list(values), float)
    mean, low, high, p = float(known.mean()), None, None, None
    if len(known) > 1 and (error := float(stats.sem(known))) > 0:
        freedom = len(known) - 1
        low, high = map(float, stats.t.interval(CONFIDENCE, freedom, mean, error))
        p = float(2 * stats.t.sf(abs(mean / error), freedom))
    return {"mean": mean, "low": low, "high": high, "p": p, "seeds": len(known)}
