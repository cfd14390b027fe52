"""The figure of a 2x2 crossover."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from karel_fast.analysis.crossover import Crossover
from karel_fast.analysis.crossover_cells import GAIN
from karel_fast.report.plots import DEPTH_TITLES, TITLES, as_percent, panels, shared_legend
from karel_fast.report.style import DOTTED, INK, look, render, styled
from karel_fast.support.files import write_bytes, write_json, write_text

_SHOWN = {"lift": "lift", GAIN: "lift above untrained"}


def write_crossover(found: Crossover, folder: str | Path) -> Path:
    """Write FOLDER/crossover.json and .csv, and the figure as .svg and .png; returns the JSON's path."""
    folder = Path(folder)
    write_text(folder / "crossover.csv", found.to_csv())
    _, svg, png = render(crossover_figure(found), "crossover")
    write_text(folder / "crossover.svg", svg)
    write_bytes(folder / "crossover.png", png)
    write_json(folder / "crossover.json", found.to_json())
    return folder / "crossover.json"


def crossover_figure(found: Crossover) -> Figure:
    """Per feature, the interaction of every depth and offset with its interval; zero: no sign of the meaning of training."""
    features = list(dict.fromkeys(row["feature"] for row in found.rows))
    with styled():
        figure, axes = panels(len(features))
        for ax, feature in zip(axes, features, strict=False):
            rows = [row for row in found.rows if row["feature"] == feature]
            places = list(dict.fromkeys((row["depth"], row["offset"]) for row in rows))
            for index, (measure, label) in enumerate(_SHOWN.items()):
                for row in (row for row in rows if row["measure"] == measure):
                    at = places.index((row["depth"], row["offset"])) + 0.16 * (index - 0.5)
                    style = {**look(index), "linestyle": "none"}
                    ax.plot([at], [row["interaction"]], label=label if at < 0.5 else None, **style)
                    if row["low"] is not None:
                        ax.vlines(at, row["low"], row["high"], color=str(style["color"]))
            ax.axhline(0, color=INK, linewidth=0.9, linestyle=DOTTED)
            ax.set_xticks(range(len(places)), [f"{DEPTH_TITLES.get(d, d)}\n{o:+d}" for d, o in places])
            ax.set_title(TITLES.get(feature, feature))
            ax.yaxis.set_major_formatter(as_percent)
            ax.grid(axis="x", visible=False)
        axes[0].set_ylabel("interaction (percentage points)")
        shared_legend(figure, axes[0])
    return figure
