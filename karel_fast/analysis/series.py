"""The numbers behind the figures, taken out of a run folder: plain series over snapshots, seeds apart.

A number that a snapshot lacks is None and stays a gap; nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from karel_fast.analysis.phases import (
    Boundaries,
    Phases,
    Regression,
    find_phases,
    phase_boundaries,
    regress,
)
from karel_fast.probing.measures import measure_of
from karel_fast.probing.places import Places, read_places
from karel_fast.runs.folder import LATENT, PAPER, RunFolder
from karel_fast.support.shapes import LARGEST

Record = Mapping[str, Any]


@dataclass
class Run:
    """A run folder, read: everything by step, in order of steps."""

    name: str
    config: dict[str, Any]
    log: list[dict[str, Any]]
    evaluation: dict[int, dict[str, Any]]
    probing: dict[int, dict[str, Any]]
    examples: dict[int, dict[str, Any]]
    steering: dict[int, dict[str, Any]]
    problems: list[str]
    latent: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    paper: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    closer: dict[int, dict[str, Any]] = field(default_factory=dict)
    rank: dict[int, dict[str, Any]] = field(default_factory=dict)
    latent_grid: dict[int, dict[str, Any]] = field(default_factory=dict)
    folder: RunFolder | None = None
    kind: str = "probing"  # which folder of the run `probing` comes from
    memo: dict[str, Any] = field(default_factory=dict)  # numbers that are dear to make, by name
    _groups: dict[int, dict[tuple[object, ...], list[Record]]] = field(default_factory=dict)
    _names: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: RunFolder) -> Run:
        # A closer look of the run's own settings would hide the other probes that were asked for.
        hidden = folder.has_other("probing") and not folder.has_other("closer")
        return cls(
            name=folder.path.resolve().name,
            config=folder.config(),
            log=folder.metrics(),
            evaluation=folder.read_all("evaluation"),
            probing=folder.read_all("probing"),
            examples=folder.read_all("examples"),
            steering=folder.read_all("steering"),
            closer={} if hidden else folder.read_all("closer"),
            rank=folder.read_all("rank"),
            latent_grid=folder.read_all("latent-grid"),
            latent={kind: readings for kind in LATENT if (readings := folder.read_all(kind))},
            paper={kind: readings for kind in PAPER if (readings := folder.read_all(kind))},
            problems=folder.problems,
            folder=folder,
        )

    def reading(self, kind: str) -> Run:
        """The same run, its probes those of one kind of latent causal probing or of the published grid (`runs.folder`)."""
        return self._with_probes({**self.latent, **self.paper}[kind], kind)

    @property
    def closest(self) -> Run:
        """What numbers of one snapshot come from: the run with the probes of the closer look at its last probed snapshot, or itself
        where there is none.
        """
        looked_at = [step for step, stored in self.closer.items() if stored.get("records")]
        if not looked_at or max(looked_at) < max(self.probed, default=0):
            return self
        return self._with_probes(self.closer, "closer")

    def _with_probes(self, probing: dict[int, dict[str, Any]], kind: str) -> Run:
        return replace(self, probing=probing, closer={}, kind=kind, memo={}, _groups={}, _names={})

    @property
    def steps(self) -> list[int]:
        """Steps with an evaluation or probes."""
        return sorted(self.evaluation.keys() | self.probing.keys())

    def evaluated(self, name: str) -> list[float | None]:
        """One evaluation number at every step; "distinct" is the diversity, or in older runs the distinct programs as a
        share of the specifications.
        """
        evaluations = [self.evaluation.get(step, {}) for step in self.steps]
        if name == "distinct":
            pairs = [(number(e.get("distinct_programs")), number(e.get("samples"))) for e in evaluations]
            shares = [None if d is None or not n else d / n for d, n in pairs]
            return [number(e.get("diversity", share)) for e, share in zip(evaluations, shares, strict=True)]
        return [number(e.get(name)) for e in evaluations]

    def records(self, step: int) -> list[Record]:
        """A snapshot's probe records."""
        found: list[Record] = self.probing.get(step, {}).get("records", [])
        return found

    def places(self, step: int) -> Places | None:
        """The sums by place in the program of a snapshot's records, as stored; None where there are none to these records."""
        found = None if self.folder is None else read_places(self.folder.sums(self.kind, step))
        return found if found is not None and len(found.sums["known"]) == len(self.records(step)) else None

    def _with_seeds(self, step: int, name: str, where: dict[str, object]) -> list[tuple[int, float]]:
        """(seed, number) of the snapshot's records with these values."""
        where = {**_CHOSEN, **where}
        if step not in self._groups:
            groups: dict[tuple[object, ...], list[Record]] = {}
            for record in self.records(step):
                groups.setdefault(tuple(record[key] for key in _CHOSEN), []).append(record)
            self._groups[step] = groups
        group = self._groups[step].get(tuple(where.pop(key) for key in _CHOSEN), [])
        seeds_and_values = (
            (r["seed"], measure_of(r, name)) for r in group if all(r[key] == v for key, v in where.items())
        )
        return [(seed, value) for seed, value in seeds_and_values if value is not None]

    def values(self, step: int, name: str = "accuracy", **where: object) -> list[float]:
        """The numbers `name` of the snapshot's records with these values; by default those of true labels and trained
        states, at offset 0 under the original semantics.
        """
        return [value for _, value in self._with_seeds(step, name, where)]

    def by_seed(self, step: int, name: str = "accuracy", **where: object) -> list[float]:
        """The mean over everything but the seed, one number per seed: what a band over seeds is drawn from."""
        groups: dict[int, list[float]] = {}
        for seed, value in self._with_seeds(step, name, where):
            groups.setdefault(seed, []).append(value)
        return [sum(groups[seed]) / len(groups[seed]) for seed in sorted(groups)]

    def names(self, key: str) -> list[Any]:
        """Every value of a record's field over the run, in order of appearance."""
        if key not in self._names:
            self._names[key] = list(dict.fromkeys(r[key] for step in self.probing for r in self.records(step)))
        return self._names[key]

    @property
    def probed(self) -> list[int]:
        """Steps with probe records."""
        return [step for step in self.probing if self.records(step)]

    def deepest(self) -> str | None:
        """The depth of most layers that was trained: the last one of the grid."""
        depths = self.names("depth")
        return depths[-1] if depths else None


_CHOSEN: dict[str, object] = {"labels": "true", "states": "trained", "offset": 0, "semantics": "original"}


def number(value: object) -> float | None:
    """A number that can be drawn, so neither NaN nor above `LARGEST`; or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        return None
    return float(value)


def mean(values: Iterable[float]) -> float | None:
    """The mean, None of nothing."""
    values = list(values)
    return sum(values) / len(values) if values else None


def mean_of(records: Iterable[Record], measure: str) -> float | None:
    """The mean of a measure over the probe records that have it, None where none does."""
    return mean(value for record in records if (value := measure_of(record, measure)) is not None)


def phases_of(run: Run) -> Phases:
    """The phases by the stated rule."""
    return find_phases(run.steps, *(run.evaluated(name) for name in _PHASES))


def boundaries_of(run: Run) -> Boundaries | None:
    """How sure the phases are; None without evaluations."""
    samples = [int(n or 0) for n in run.evaluated("samples")]
    if not any(samples):
        return None
    distinct, accuracy, perplexity, whole = (run.evaluated(name) for name in _PHASES)
    return phase_boundaries(run.steps, distinct, accuracy, perplexity, whole, samples)


_PHASES = ("distinct", "generative_accuracy", "perplexity", "parse_rate")


def content_of(
    run: Run, depth: str, feature: str | None = None, offset: int = 0, measure: str = "accuracy"
) -> list[float | None]:
    """Semantic content at every step: the mean over seeds, layers and features (or of one feature) of one of
    `probing.measures.MEASURES`, on test rows, of probes under the original meaning; None where there is none.
    """
    chosen = {} if feature is None else {"feature": feature}
    return [mean(run.values(step, measure, depth=depth, offset=offset, **chosen)) for step in run.steps]


def training_points(
    run: Run, depth: str, feature: str | None = None, offset: int = 0, measure: str = "accuracy"
) -> tuple[list[float | None], list[float | None]]:
    """Semantic content and generative accuracy at every step but the one before the first update.

    An untrained model writes the same few short programs whatever the specification. Probes read the states of those
    better than of anything written later, which says nothing of the model.
    """
    content, accuracy = content_of(run, depth, feature, offset, measure), run.evaluated("generative_accuracy")
    kept = [i for i, step in enumerate(run.steps) if step > 0]
    return [content[i] for i in kept], [accuracy[i] for i in kept]


def regressions_of(
    run: Run, feature: str | None = None, offset: int = 0, measure: str = "accuracy"
) -> dict[str, list[Regression]]:
    """Accuracy on semantic content over the snapshots of training, per depth, at lags 0, 1 and 2 snapshots."""
    points = {depth: training_points(run, depth, feature, offset, measure) for depth in run.names("depth")}
    return {depth: [regress(*both, lag) for lag in (0, 1, 2)] for depth, both in points.items()}
