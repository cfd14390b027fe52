"""Accuracy and what probes read over training, with a band over runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from karel_fast.analysis.compare import Comparison
from karel_fast.analysis.series import Run, mean
from karel_fast.report.plots import TITLES, band, percent, shared_legend, step_axis
from karel_fast.report.style import new_figure, render, styled
from karel_fast.support.files import write_bytes, write_json, write_text


def write_comparison(comparison: Comparison, runs: Sequence[Run], folder: str | Path) -> Path:
    """Write FOLDER/comparison.json and .csv, and the figure over training as .svg and .png; returns the JSON's path."""
    folder = Path(folder)
    write_text(folder / "comparison.csv", comparison.to_csv())
    _, svg, png = render(seeds_figure(runs, comparison.feature, comparison.depth, comparison.offset), "comparison")
    write_text(folder / "comparison.svg", svg)
    write_bytes(folder / "comparison.png", png)
    write_json(folder / "comparison.json", comparison.to_json())
    return folder / "comparison.json"


def seeds_figure(runs: Sequence[Run], feature: str | None, depth: str | None, offset: int = 0) -> Figure:
    """Left: specifications satisfied. Right: the probe of the state at this offset under each semantics, the deepest where that depth
    was not trained on every snapshot; empty where no snapshot was probed so. Lines: means; bands: lowest to highest run.
    """
    trained = list(dict.fromkeys(name for run in runs for name in run.names("depth")))
    depth = depth if depth in trained or not trained else trained[-1]
    with styled():
        probed = feature is not None
        figure, axes = new_figure(9 if probed else 5, 3.3, 1, 2 if probed else 1)
        evaluated = [dict(zip(run.steps, run.evaluated("generative_accuracy"), strict=True)) for run in runs]
        steps = sorted({step for one in evaluated for step in one})
        values = [[v for one in evaluated if (v := one.get(step)) is not None] for step in steps]
        band(axes[0], steps, values, f"{len(runs)} runs", 0)
        axes[0].set_title("Right programs")
        axes[0].set_ylabel("specifications (%)")
        if feature is not None:
            steps = sorted({step for run in runs for step in run.probed})
            names = list(dict.fromkeys(name for run in runs for name in run.names("semantics")))
            for index, name in enumerate(names):
                seen = [
                    [
                        m
                        for run in runs
                        if (m := mean(run.values(s, feature=feature, depth=depth, offset=offset, semantics=name)))
                        is not None
                    ]
                    for s in steps
                ]
                band(axes[1], steps, seen, name, index)
            axes[1].set_title(f"{TITLES.get(feature, feature)}, {depth}" + (f", offset {offset:+d}" if offset else ""))
            axes[1].set_ylabel("right answers (%)")
            shared_legend(figure, axes[1])
        for ax in axes:
            percent(ax, full=False)
            step_axis(ax)
    return figure
