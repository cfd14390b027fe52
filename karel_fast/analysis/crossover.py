"""The 2x2 crossover: runs trained on one meaning and runs trained on another, each probed under both.

If a probe computes a meaning from what is written, it reads one of the two better whoever was trained. If the model represents what
its training said the words mean, each kind of run is read better under its own. The interaction tells the two apart:

    (A read under a - A read under b) - (B read under a - B read under b)

for runs A trained on meaning a, and B on b. Runs are what counts: the interval is Welch's, over the runs of both kinds. It is given
only where the runs of a kind are alike but for their seeds, and the two kinds but for that and their meaning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from karel_fast.analysis.compare import settings_of, unlike
from karel_fast.analysis.crossover_cells import Key, cells_of, last_step, text_of
from karel_fast.analysis.series import Run
from karel_fast.data import Recipe
from karel_fast.probing.bootstrap import CONFIDENCE
from karel_fast.support.checks import InputError
from karel_fast.support.csv_text import csv_text
from karel_fast.support.settings import build

CELLS = ("a_a", "a_b", "b_a", "b_b")
"""Trained on, read under."""

COLUMNS = ("feature", "depth", "offset", "measure", *CELLS, "interaction", "low", "high", "p", "runs_a", "runs_b")


@dataclass(frozen=True)
class Crossover:
    """a, b: the two meanings, as `resolve_semantics` reads them. rows: one per feature, depth, offset and measure, with `COLUMNS`: the
    four means, the interaction, its 95 % interval over runs and p (None with fewer than two runs of a kind, and where `notes` says what
    keeps the runs from being replicates).
    """

    a: str
    b: str
    runs_a: tuple[str, ...]
    runs_b: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "a": self.a, "b": self.b, "runs_a": list(self.runs_a), "runs_b": list(self.runs_b),
            "rows": [dict(row) for row in self.rows], "notes": list(self.notes),
        }  # fmt: skip

    def to_csv(self) -> str:
        return csv_text(COLUMNS, ([row[name] for name in COLUMNS] for row in self.rows))


def crossover(
    runs: Sequence[Run],
    against: Sequence[Run],
    feature: str | None = None,
    depth: str | None = None,
    offset: int | None = None,
    readings: str = "probing",
) -> Crossover:
    """The last probed snapshots of `runs`, trained on one meaning, and of `against`, trained on another.

    feature, depth, offset: only these; by default all that every run was probed for under both meanings. readings: whose probes, and
    the measures they have, as `crossover_cells.cells_of`. Raises InputError, naming the run, for recipes that differ in more than their
    meaning, a meaning that was not probed, and probes that the runs do not share.
    """
    recipes = [(run, recipe_of(run)) for run in (*runs, *against)]
    first = recipes[0][1]
    for run, recipe in recipes[1:]:
        fields = [f.name for f in dataclasses.fields(Recipe) if f.name != "semantics"]
        differ = [name for name in fields if getattr(recipe, name) != getattr(first, name)]
        if differ:
            raise InputError(
                f"{run.name} was trained on another recipe than {runs[0].name} ({', '.join(differ)}); "
                "in a crossover only the meaning differs"
            )
    own = [recipe.semantics for _, recipe in recipes]
    a, b = own[0], own[-1]
    for (run, _), meaning, wanted in zip(recipes, own, [a] * len(runs) + [b] * len(against), strict=True):
        if meaning != wanted:
            raise InputError(f"{run.name} was trained on {text_of(meaning)}, those beside it on {text_of(wanted)}")
    if a == b:
        raise InputError(f"all runs were trained on {text_of(a)}; give runs of another meaning to --against")

    held = [cells_of(run, recipe.semantics, a, b, readings) for run, recipe in recipes]
    shared = [key for key in held[0] if all(key in cells for cells in held)]
    wanted_key = (feature, depth, offset)
    chosen = [k for k in shared if all(w is None or w == have for w, have in zip(wanted_key, k, strict=False))]
    if not chosen:
        asked = ", ".join(str(w) for w in wanted_key if w is not None) or "any feature, depth and offset"
        there = "; ".join(" ".join(map(str, key[:3])) for key in shared if key[3] == "lift") or "nothing in common"
        raise InputError(f"not all runs were probed under both meanings for {asked}; they share: {there}")
    notes = (
        *unlike(runs),
        *unlike(against),
        *_unlike_kinds(runs[0], against[0]),
        *_other_steps(runs, against, readings),
    )
    rows = [_row(key, [cells[key] for cells in held], len(runs)) for key in chosen]
    if notes:
        rows = [{**row, "low": None, "high": None, "p": None} for row in rows]
    names = tuple(run.name for run, _ in recipes)
    return Crossover(
        text_of(a), text_of(b), names[: len(runs)], names[len(runs) :], tuple(rows), tuple(dict.fromkeys(notes))
    )


TRAINED_BY = ("layout", "recipe.", "data.", "model", "training.", "samples", "active")
"""Settings, by how their names begin, that decide what a training leads to."""


def _unlike_kinds(one: Run, other: Run) -> list[str]:
    """In which settings of training, other than the meaning and the seed, a run of each kind differs, as far as both say."""
    first, second = settings_of((one, other))
    names = [name for name in first if name in second and name.startswith(TRAINED_BY)]
    own = ("recipe.semantics", "training.seed", "data.first_sample")
    differ = [name for name in names if name not in own and first[name] != second[name]]
    return [f"{one.name} and {other.name} were trained otherwise: {', '.join(sorted(differ))}"] if differ else []


def _other_steps(runs: Sequence[Run], against: Sequence[Run], readings: str) -> list[str]:
    steps = {run.name: last_step(run, readings) for run in (*runs, *against)}
    if len(set(steps.values())) == 1:
        return []
    return [
        f"the runs were last probed at different steps: {', '.join(f'{name} {step}' for name, step in steps.items())}"
    ]


def recipe_of(run: Run) -> Recipe:
    """What a run was trained on. Raises InputError where its folder does not say."""
    found = None if run.folder is None else run.folder.recipe()
    if found is None:
        raise InputError(
            f"{run.name} does not say what it was trained on: neither a snapshot nor config.json has a recipe"
        )
    return Recipe.from_json(found) if isinstance(found, str) else build(Recipe, found, run.name)


def _row(key: Key, values: Sequence[tuple[float, float]], count_a: int) -> dict[str, Any]:
    table = np.array(values, float)  # (runs, 2): read under a, under b
    kind_a, kind_b = table[:count_a], table[count_a:]
    cells = (*kind_a.mean(0), *kind_b.mean(0))
    return {
        **dict(zip(("feature", "depth", "offset", "measure"), key, strict=True)),
        **{name: float(value) for name, value in zip(CELLS, cells, strict=True)},
        **_welch(kind_a[:, 0] - kind_a[:, 1], kind_b[:, 0] - kind_b[:, 1]),
        "runs_a": len(kind_a),
        "runs_b": len(kind_b),
    }


def _welch(first: np.ndarray, second: np.ndarray) -> dict[str, float | None]:
    """The difference of two means, Welch's 95 % interval and p of no difference; None without spread to tell them from."""
    found: dict[str, float | None] = {"interaction": float(first.mean() - second.mean())}
    if min(len(first), len(second)) < 2 or np.ptp(first) + np.ptp(second) == 0:
        return {**found, "low": None, "high": None, "p": None}
    test = stats.ttest_ind(first, second, equal_var=False)
    low, high = test.confidence_interval(CONFIDENCE)
    return {**found, "low": float(low), "high": float(high), "p": float(test.pvalue)}
