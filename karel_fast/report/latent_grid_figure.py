"""The figure of the grid of latent causal probing (COLM 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from karel_fast.analysis.series import Run, mean
from karel_fast.report.plots import (
    DEPTH_TITLES,
    TITLES,
    Plot,
    Row,
    as_percent,
    drawn,
    gaps,
    panels,
    shared_legend,
    summary,
    undrawn,
    whiskers,
)
from karel_fast.report.style import DOTTED, GROUND, INK, look

_COLUMNS = ("step", "states", "feature", "depth", "semantics", "withheld", "learnt_on", "tokens", "accuracy", "majority", "lift",
            "lift_seen", "lift_unseen")  # fmt: skip


def latent_grid_plot(run: Run) -> Plot:
    """Lift at positions that probes did not learn on, by distance in tokens and meaning."""
    plot = Plot(
        "latent-grid",
        "Reading long programs",
        "The grid of COLM 2024: the model reads programs of move and turns, and probes learn the state so many tokens of the reference "
        "layout back, on some positions of a program. Points above the majority class at all other positions, for the deepest probe: "
        "means over what stood in place of the outputs, and over what was learnt on. Whiskers: lowest to highest seed. Hollow: an "
        "untrained model.",
    )
    if not run.latent_grid:
        return undrawn(plot, "the grid was not probed (karel-fast latent RUN)")
    step, found = list(run.latent_grid.items())[-1]
    rows = found["rows"]
    held = [row for row in rows if row["states"] == "trained"]
    if not held:
        return undrawn(plot, "the grid has no probe")
    depth = held[-1]["depth"]
    features = list(dict.fromkeys(row["feature"] for row in held))
    offsets = sorted({row["tokens"] for row in held})
    figure, axes = panels(len(features))
    for ax, feature in zip(axes, features, strict=False):
        for index, name in enumerate(dict.fromkeys(row["semantics"] for row in held)):
            wanted = [r for r in held if (r["feature"], r["semantics"], r["depth"]) == (feature, name, depth)]
            seeds = [_by_seed([r for r in wanted if r["tokens"] == offset]) for offset in offsets]
            whiskers(ax, range(len(offsets)), seeds, name, index, shift=0.08 * (index - 1))
            place = (feature, name, depth)
            fresh = [
                r for r in rows if r["states"] == "untrained" and (r["feature"], r["semantics"], r["depth"]) == place
            ]
            heights = [mean(_by_seed([r for r in fresh if r["tokens"] == offset])) for offset in offsets]
            if any(height is not None for height in heights):
                at = [x + 0.08 * (index - 1) + 0.03 for x in range(len(offsets))]
                ax.plot(
                    at,
                    gaps(heights),
                    **{**look(index), "linestyle": "none"},
                    markerfacecolor=GROUND,
                    label=f"{name}, untrained",
                )
        ax.axhline(0, color=INK, linewidth=0.9, linestyle=DOTTED)
        ax.set_xticks(range(len(offsets)), [str(offset).replace("-", "−") for offset in offsets])
        ax.set_xlim(-0.5, len(offsets) - 0.5)
        ax.set_xlabel("tokens of the reference layout")
        ax.set_title(TITLES.get(feature, feature))
        ax.yaxis.set_major_formatter(as_percent)
    axes[0].set_ylabel(f"lift (points), {DEPTH_TITLES.get(depth, depth)}")
    shared_legend(figure, axes[0])
    table: list[Row] = [
        (step, r["states"], r["feature"], r["depth"], r["semantics"], r["withhold"], r["learn_on"], r["tokens"],
         *(summary(_known(r[name]))[0] for name in ("accuracy", "majority", "lift", "seen", "unseen")))
        for r in rows
    ]  # fmt: skip
    return drawn(plot, figure, _COLUMNS, table)


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _by_seed(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Per seed, the mean lift at positions that were not learnt on."""
    seeds = [mean(_known(values)) for values in zip(*(row["unseen"] for row in rows), strict=True)]
    return _known(seeds)
