"""Several runs side by side: the same experiment from other initial weights, with intervals over those."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from karel_fast.analysis.intervals import interval as interval
from karel_fast.analysis.results import results_of
from karel_fast.analysis.series import Run, regressions_of
from karel_fast.runs.folder import RunFolder
from karel_fast.support.csv_text import csv_text


@dataclass(frozen=True)
class Comparison:
    """`rows`: one per run, numbers by column (None: not defined). `summary`: per column mean, low and high: the 95 % Student t
    interval over runs, each of which counts once; None with fewer than two or without spread, or where the runs are not
    `comparable`: the same experiment with other seeds. `notes`: what keeps them from that, and what could not be read.
    """

    feature: str | None
    depth: str | None
    offset: int
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Mapping[str, float | int | None]]
    notes: tuple[str, ...]
    comparable: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "feature": self.feature,
            "depth": self.depth,
            "offset": self.offset,
            "rows": [dict(row) for row in self.rows],
            "summary": {name: dict(value) for name, value in self.summary.items()},
            "notes": list(self.notes),
            "comparable": self.comparable,
        }

    def to_csv(self) -> str:
        names = ("run", "step", *self.columns)
        rows = [[row[name] for name in names] for row in self.rows]
        means = [[kind, "", *(self.summary[name][kind] for name in self.columns)] for kind in ("mean", "low", "high")]
        return csv_text(names, rows + means)


def read_runs(paths: Sequence[str | Path], readings: str = "probing", settings: Sequence[str] = ()) -> list[Run]:
    """The runs of some folders. Raises FileNotFoundError, and ValueError for a folder named twice or without results, and for settings
    that no run has results of.

    readings: the folder of results that is asked for; an evaluation will do, too. settings: read each run with the first of these that
    it has results of (see `RunFolder`), or else with its own.
    """
    places = [Path(path).resolve() for path in paths]
    if len(set(places)) < len(places):
        raise ValueError("a run is named twice; each counts once")
    beside = [RunFolder(path).beside() if settings else {} for path in paths]
    if unknown := [name for name in settings if not any(name in there for there in beside)]:
        raise ValueError(f"no run has results of {', '.join(unknown)}")
    runs = [
        Run.read(RunFolder(path, next((name for name in settings if name in there), None)))
        for path, there in zip(paths, beside, strict=True)
    ]
    for path, run in zip(paths, runs, strict=True):
        if not run.steps and not run.paper.get(readings) and not (readings == "latent-grid" and run.latent_grid):
            raise ValueError(f"{path} holds no evaluation/step-*.json and no {readings}/step-*.json that is whole")
    return runs


def compare(
    runs: Sequence[Run], feature: str | None = None, depth: str | None = None, offset: int | None = None
) -> Comparison:
    """The last snapshots of some runs, by the closer look where there was one.

    feature, depth, offset: of the probes; the first feature and the deepest probe of the first run that was probed, at
    offset 0, unless named. r2: of accuracy on what these probes read, over the snapshots of training. Raises ValueError
    for a feature, depth or offset that no run was probed for.
    """
    closest = [run.closest for run in runs]
    probed = next((run for run in closest if run.probed), None)
    for key, wanted in (("feature", feature), ("depth", depth), ("offset", offset)):
        known = list(
            dict.fromkeys(name for pair in zip(closest, runs, strict=True) for one in pair for name in one.names(key))
        )
        if wanted is not None and wanted not in known:
            raise ValueError(f"no run was probed for {key} {wanted!r}; there is {', '.join(map(str, known)) or 'none'}")
    if probed is not None:
        feature = feature or probed.names("feature")[0]
        depth = depth or probed.deepest()
    # Numbers come from the closer look, and of features that it left out from the others: so their meanings are asked for, too.
    meanings = (name for run in (*runs, *closest) for name in run.names("semantics"))
    semantics = [name for name in dict.fromkeys(meanings) if name != "original"]
    columns = ["generative_accuracy", "generalization"]
    if probed is not None:
        columns += ["probe", "majority", "lift", "normalised", "bits", "untrained", "ceiling", "lift_share"]
        for name in semantics:
            columns += [f"original - {name}", f"lift: original - {name}", f"lift: the same, - untrained, {name}"]
        columns += ["r2", "r2 on lift"]
    rows = [_row(run, feature, depth, offset or 0, semantics) for run in runs]
    differ = [*unlike(runs), *_notes(runs, rows)]
    return Comparison(
        feature=feature,
        depth=depth,
        offset=offset or 0,
        columns=tuple(columns),
        rows=tuple(rows),
        summary={name: interval([row[name] for row in rows], bounds=not differ) for name in columns},
        notes=(
            *differ,
            *(["no intervals: these runs are not one experiment with several seeds"] if differ else []),
            *(f"{run.name}: {problem}" for run in runs for problem in run.problems),
        ),
        comparable=not differ,
    )


def _row(run: Run, feature: str | None, depth: str | None, offset: int, semantics: Sequence[str]) -> dict[str, Any]:
    results = results_of(run)
    wanted = (feature, depth, offset)
    matching = (r for r in results["probes"] if (r["feature"], r["depth"], r["offset"]) == wanted)
    probes: dict[str, Any] = next(matching, {})
    differences = probes.get("original_minus", {})
    fits = regressions_of(run, feature, offset).get(depth or "")
    fair = regressions_of(run, feature, offset, "lift").get(depth or "")
    by_meaning: dict[str, float | None] = {}
    for name in semantics:
        one = differences.get(name, {})
        by_meaning |= {
            f"original - {name}": one.get("mean"),
            f"lift: original - {name}": one.get("lift", {}).get("mean"),
            f"lift: the same, - untrained, {name}": one.get("trained_minus_untrained", {}).get("lift", {}).get("mean"),
        }
    return {
        "run": run.name,
        "step": results["final"]["step"],
        "probed_step": probes.get("step"),
        "generative_accuracy": results["final"]["generative_accuracy"],
        "generalization": results["final"]["generalization"],
        "probe": probes.get("accuracy"),
        "majority": probes.get("majority"),
        **{name: probes.get(name) for name in ("lift", "normalised", "bits", "untrained", "lift_share")},
        "ceiling": probes.get("ceilings", {}).get("both"),
        **by_meaning,
        "r2": fits[0].r2 if fits else None,
        "r2 on lift": fair[0].r2 if fair else None,
    }


def unlike(runs: Sequence[Run]) -> list[str]:
    """What keeps the runs from being trainings of one experiment with different seeds; nothing if nothing does.

    A preset's seed decides where its samples begin, too.
    """
    if len(runs) < 2:
        return []
    notes = []
    settings = settings_of(runs)
    if unknown := [run.name for run, known in zip(runs, settings, strict=True) if not known]:
        notes.append(f"with which settings these were trained is not known: {', '.join(unknown)}")
    names = sorted({name for one in settings for name in one})
    of_seed = [n for n in names if n.endswith("seed") or n == "data.first_sample"]
    differ = [n for n in names if n not in of_seed and any(one.get(n) != settings[0].get(n) for one in settings)]
    if differ:
        notes.append(f"the runs differ in more than their seed: {', '.join(differ)}")
    seeds = [one.get("training.seed") for one in settings]
    told = [seed for seed in seeds if isinstance(seed, int)]
    if len(set(told)) < len(told):
        notes.append("some runs have the same training.seed, so they do not count as separate")
    return notes


def settings_of(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What `reproduce` wrote down, by names with dots; where one of the runs has none of that, what every run's last snapshot says of
    its training, since only the same kind can be compared.
    """
    written: list[Mapping[str, Any]] = [run.config.get("experiment", run.config) for run in runs]
    if not all(written):
        written = [{} if run.folder is None else run.folder.trained_with() for run in runs]
    return [_flat(one) for one in written]


def _notes(runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What keeps the numbers of one experiment's runs from being measured alike."""
    notes = []
    for activity, name in (("evaluated", "step"), ("probed", "probed_step")):
        steps = {row[name] for row in rows}
        if len(steps) > 1:
            last_steps = ", ".join(f"{row['run']} {'never' if row[name] is None else row[name]}" for row in rows)
            notes.append(f"the runs were last {activity} at different steps: {last_steps}")
    probed = [run.closest for run in runs if run.closest.probed]
    # The layers are those of the snapshot that the numbers come from.
    for noun, key in (("semantics", "semantics"), ("layers", "layer"), ("probe seeds", "seed")):
        told_by_run = [
            (run.name, sorted({str(record[key]) for record in run.records(run.probed[-1])})) for run in probed
        ]
        if len({tuple(names) for _, names in told_by_run}) > 1:
            listed = "; ".join(f"{name} {', '.join(names)}" for name, names in told_by_run)
            notes.append(f"the runs were probed for different {noun}: {listed}")
    return notes


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, inner in value.items():
        out |= _flat(inner, f"{prefix}{key}.") if isinstance(inner, Mapping) else {f"{prefix}{key}": inner}
    return out
