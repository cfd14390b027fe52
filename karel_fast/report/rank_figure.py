"""The figure of all bijective mappings: where the meaning of training stands among them."""

from __future__ import annotations

import numpy as np

from karel_fast.analysis.mapping_rank import KINDS, Rank, ranks_of
from karel_fast.analysis.series import Run
from karel_fast.report.plots import DEPTH_TITLES, TITLES, Plot, Row, as_percent, drawn, p_value, panels, undrawn
from karel_fast.report.style import DOTTED, INK, PALETTE

_COLUMNS = ("step", "feature", "depth", "offset", "ranked_by", "mapping", "mappings", "value", "own")


def rank_plot(run: Run) -> Plot:
    """The values of all labelings at the last snapshot that was ranked, the own meaning marked."""
    plot = Plot(
        "rank",
        "The meaning of training among all mappings",
        "Each dot is a way to map the five actions one to one, by what probes of the same programs and states read above the "
        "majority class of that meaning; mappings that give the same labels are one dot. Large dot: the meaning of training. "
        "Rank 1 is best. Beyond untrained: minus the same of an untrained model. p is the share of ways that do at least as well.",
    )
    if not run.rank:
        return undrawn(plot, "no other mappings were probed (karel-fast rank RUN)")
    step = list(run.rank)[-1]
    ranks = ranks_of(run.rank[step])
    if not ranks:
        return undrawn(plot, "the rankings have no probe with a score")
    features = list(dict.fromkeys(rank.feature for rank in ranks))
    shown = [(feature, kind) for feature in features for kind in KINDS if _some(ranks, feature, kind)]
    figure, axes = panels(len(shown))
    rows: list[Row] = []
    for ax, (feature, kind) in zip(axes, shown, strict=False):
        held = _some(ranks, feature, kind)
        for place, rank in enumerate(held):
            # Spread in a fixed order, so that dots of equal values stay apart.
            spread = 0.3 * (np.random.default_rng(0).permutation(len(rank.values)) / len(rank.values) - 0.5)
            ax.plot(place + spread[1:], rank.values[1:], "o", color=PALETTE[0], markersize=3, alpha=0.6)
            ax.plot([place], [rank.own], "o", color=PALETTE[1], markersize=7)
            ax.annotate(
                f"{rank.rank} of {len(rank.values)}\n{p_value(rank.p)}",
                (place, 1), xycoords=("data", "axes fraction"), xytext=(0, -2), textcoords="offset points",
                ha="center", va="top", fontsize=7,
            )  # fmt: skip
            for name, count, value in zip(rank.names, rank.mappings, rank.values, strict=True):
                own = name == rank.names[0]
                rows.append((step, feature, rank.depth, rank.offset, kind, name, count, value, int(own)))
        ax.axhline(0, color=INK, linewidth=0.9, linestyle=DOTTED)
        ax.margins(y=0.25)
        ax.set_xticks(range(len(held)), [f"{DEPTH_TITLES.get(r.depth, r.depth)}\n{r.offset:+d}" for r in held])
        ax.set_title(f"{TITLES.get(feature, feature)}: {KINDS[kind]}")
        ax.yaxis.set_major_formatter(as_percent)
        ax.grid(axis="x", visible=False)
    axes[0].set_ylabel("above the majority class (percentage points)")
    return drawn(plot, figure, _COLUMNS, rows)


def _some(ranks: list[Rank], feature: str, kind: str) -> list[Rank]:
    return [rank for rank in ranks if (rank.feature, rank.kind) == (feature, kind)]
