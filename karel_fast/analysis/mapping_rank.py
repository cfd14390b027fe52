"""Where the meaning of training stands among all bijective mappings, by what probes read under each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from karel_fast.analysis.series import mean_of

KINDS = {"lift": "lift", "gain": "lift above untrained"}
"""By what labelings are ranked: the mean lift over seeds, and that minus the untrained models' lift under the same labeling."""


@dataclass(frozen=True)
class Rank:
    """One ranking. values: per labeling, that of the run's own meaning first; names, mappings: each one's first mapping and how
    many mappings it stands for. rank: 1 is best; ties count against the own meaning. p: rank / labelings, the chance of such a
    rank or a better one if every labeling were as likely to be on any.
    """

    step: int
    feature: str
    depth: str
    offset: int
    kind: str
    values: tuple[float, ...]
    names: tuple[str, ...]
    mappings: tuple[int, ...]

    @property
    def own(self) -> float:
        return self.values[0]

    @property
    def rank(self) -> int:
        return sum(value >= self.own for value in self.values)

    @property
    def p(self) -> float:
        return self.rank / len(self.values)

    @property
    def rank_of_mappings(self) -> tuple[int, int]:
        """The first and last rank among all mappings: the own labeling's share theirs."""
        better = sum(
            count for value, count in zip(self.values[1:], self.mappings[1:], strict=True) if value >= self.own
        )
        return better + 1, better + self.mappings[0]

    @property
    def best(self) -> str:
        """The mapping of the best labeling."""
        return self.names[int(np.argmax(self.values))]

    def to_json(self) -> dict[str, Any]:
        first, last = self.rank_of_mappings
        others = self.values[1:]
        return {
            "step": self.step, "feature": self.feature, "depth": self.depth, "offset": self.offset, "kind": self.kind,
            "own": self.own, "rank": self.rank, "labelings": len(self.values), "p": self.p,
            "rank_of_mappings": [first, last], "mappings": sum(self.mappings),
            "median": float(np.median(others)) if others else None, "best": max(self.values), "best_mapping": self.best,
        }  # fmt: skip


def ranks_of(stored: Mapping[str, Any]) -> list[Rank]:
    """Every ranking of a RUN/rank file: per feature, depth, offset and kind; those with a value missing are left out."""
    records = stored["records"]
    by_cell: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        key = tuple(record[name] for name in ("feature", "depth", "offset", "semantics", "states"))
        by_cell.setdefault(key, []).append(record)
    out = []
    for feature, groups in stored["labelings"].items():
        cells = dict.fromkeys((r["depth"], r["offset"]) for r in records if r["feature"] == feature)
        for depth, offset in cells:
            lifts = {
                states: [
                    mean_of(by_cell.get((feature, depth, offset, group[0], states), []), "lift") for group in groups
                ]
                for states in ("trained", "untrained")
            }
            gains = [
                None if t is None or u is None else t - u
                for t, u in zip(lifts["trained"], lifts["untrained"], strict=True)
            ]
            for kind, values in (("lift", lifts["trained"]), ("gain", gains)):
                known = [value for value in values if value is not None]
                if len(known) == len(groups):
                    names = tuple(group[0] for group in groups)
                    sizes = tuple(map(len, groups))
                    out.append(Rank(int(stored["step"]), feature, depth, offset, kind, tuple(known), names, sizes))
    return out
