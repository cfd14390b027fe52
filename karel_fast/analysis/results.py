"""The numbers of a run that are quoted, as JSON values: phases, regressions, the last snapshot's probes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from karel_fast.analysis.by_place import places_of
from karel_fast.analysis.headline import headline_of
from karel_fast.analysis.mapping_rank import ranks_of
from karel_fast.analysis.phases import PAPER_SHARES, RULE
from karel_fast.analysis.regression import beside_regression
from karel_fast.analysis.series import Run, boundaries_of, content_of, mean, number, phases_of, regressions_of
from karel_fast.analysis.stored_measures import MEASURES, differences_of, doubled_of
from karel_fast.analysis.verdict import cards_of, verdict_of
from karel_fast.exact.ideal_states import READERS

CONTENT = (
    "Semantic content: the mean over features, seeds and layers of probe accuracy for the state after the predicted "
    "action, under the original semantics, on test rows."
)


def results_of(run: Run) -> dict[str, Any]:
    """What RUN/report/results.json holds; None where a number is not defined.

    headline: the few numbers of the page's cards and its verdict in words (`karel_fast.analysis.headline`).
    final: evaluation of the last evaluated snapshot. phases: see `karel_fast.analysis.phases`. semantic_content: per
    depth, by step. regression: generative accuracy on semantic content over the snapshots of training, per feature
    (None: all), depth, offset, measure and lag. beside_regression: see `karel_fast.analysis.regression`. probes:
    `last_probes`. by_place, rank: see `by_place` and `mapping_rank` beside this module. latent: the same as probes per kind of
    latent causal probing. paper: the same per grid of the published code's probes.
    """
    evaluated = [s for s in run.steps if number(run.evaluation.get(s, {}).get("generative_accuracy")) is not None]
    last = evaluated[-1] if evaluated else None
    names = ("generative_accuracy", "generalization", "perplexity", "parse_rate", "mean_length")
    headline = headline_of(run)
    return {
        "run": run.name,
        "headline": {
            **headline.to_json(),
            "verdict": verdict_of(headline),
            "cards": [asdict(card) for card in cards_of(headline)],
        },
        "final": {
            "step": last,
            **{name: number(run.evaluation.get(last, {}).get(name)) if last is not None else None for name in names},
        },
        "phases": {**asdict(phases_of(run)), "rule": RULE, "paper_shares": PAPER_SHARES}
        | ({"bootstrap": asdict(boundaries)} if (boundaries := boundaries_of(run)) else {}),
        "semantic_content": {
            "definition": CONTENT,
            **{
                depth: dict(zip(map(str, run.steps), content_of(run, depth), strict=True))
                for depth in run.names("depth")
            },
        },
        "regression": [
            {"feature": feature, "depth": depth, "offset": offset, "measure": measure} | asdict(fit)
            for measure in MEASURES
            for feature in [None, *run.names("feature")]
            for offset in run.names("offset")
            for depth, fits in regressions_of(run, feature, offset, measure).items()
            for fit in fits
        ],
        "beside_regression": [
            {"feature": feature, "depth": depth, "measure": measure}
            | asdict(beside_regression(run, depth, feature, 0, measure))
            for measure in MEASURES
            for feature in [None, *run.names("feature")]
            for depth in run.names("depth")
            if 0 in run.names("offset")
        ],
        "probes": last_probes(run),
        "by_place": places_of(run),
        "rank": [rank.to_json() for stored in run.rank.values() for rank in ranks_of(stored)],
        "latent": {kind: rows_over_layers(run.reading(kind)) for kind in run.latent},
        "paper": {kind: rows_over_layers(run.reading(kind)) for kind in run.paper},
        "problems": list(run.problems),
    }


def last_probes(run: Run) -> list[dict[str, Any]]:
    """`rows_over_layers` of the closer look where there was one, and of all other features."""
    closest = run.closest
    rows = rows_over_layers(closest)
    seen = closest.names("feature")
    return rows if closest is run else rows + [row for row in rows_over_layers(run) if row["feature"] not in seen]


def rows_over_layers(run: Run) -> list[dict[str, Any]]:
    """Per feature, depth and offset at the last probed snapshot, means over seeds and layers: accuracy, its base rate and
    measures, what each ideal reader gets right (ceilings), the baselines, and for each altered semantics its own numbers,
    original minus altered with its paired interval over probe seeds (one layer only; else None), the same of the other
    measures, and the differences in differences.
    """
    if not run.probed:
        return []
    step = run.probed[-1]
    return [
        _probe_row(run, step, {"feature": feature, "depth": depth, "offset": offset})
        for feature in run.names("feature")
        for depth in run.names("depth")
        for offset in run.names("offset")
    ]


def _probe_row(run: Run, step: int, where: dict[str, Any]) -> dict[str, Any]:
    original = mean(run.values(step, **where))
    differences: dict[str, dict[str, Any]] = {}
    for name in run.names("semantics"):
        altered = mean(run.values(step, semantics=name, **where))
        if name == "original" or original is None or altered is None:
            continue
        wanted = {**where, "semantics": name, "labels": "true", "states": "trained"}
        place = {key: value for key, value in wanted.items() if key != "states"}
        one = _only(differences_of(run, step, "accuracy"), wanted)
        differences[name] = {"mean": original - altered, **{key: number(one.get(key)) for key in ("low", "high", "p")}}
        differences[name] |= {
            "altered": {key: mean(run.values(step, key, semantics=name, **where)) for key in _NUMBERS},
            **{m: _only(differences_of(run, step, m), wanted) for m in MEASURES[1:]},
            "trained_minus_untrained": {m: _only(doubled_of(run, step, m), place) for m in MEASURES},
        }
    return {
        "step": step,
        **where,
        "seeds": len(run.by_seed(step, **where)),
        "accuracy": original,
        **{key: mean(run.values(step, key, **where)) for key in _NUMBERS[1:]},
        "ceilings": {reader: mean(run.values(step, f"ceiling_{reader}_accuracy", **where)) for reader in READERS},
        "untrained": mean(run.values(step, states="untrained", **where)),
        "shuffled": mean(run.values(step, labels="shuffled", **where)),
        "control": mean(run.values(step, labels="control", **where)),
        "original_minus": differences,
    }


_NUMBERS = (
    "accuracy", "majority", "lift", "normalised", "entropy", "bits", "bits_share", "lift_share", "bits_share_of_ceiling",
)  # fmt: skip


def _only(records: list[dict[str, Any]], wanted: dict[str, Any]) -> dict[str, float | None]:
    """The mean and intervals of the one entry with these values; {} where there is none, or one per layer."""
    known = [one for one in records if all(one[key] == value for key, value in wanted.items())]
    keys = ("mean", "low", "high", "p", "cluster_low", "cluster_high")
    return {key: number(known[0].get(key)) for key in keys} if len(known) == 1 else {}
