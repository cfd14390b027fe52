"""The figure of latent causal probing: programs that the model only read, with the outputs withheld."""

from __future__ import annotations

from typing import Any

from karel_fast.analysis.series import Run, mean
from karel_fast.report.plots import TITLES, Plot, Row, drawn, extents, panels, shared_legend, summary, undrawn
from karel_fast.report.style import GROUND, INK, look
from karel_fast.runs.folder import LATENT

_WHEN = {-1: "before", 0: "after"}  # the action that the state predicts
_WITHHELD = {None: "outputs shown", "input": "inputs in place of outputs", "space": "outputs left empty"}


def latent_plot(run: Run) -> Plot:
    """Original and altered semantics by feature, before and after the action, a panel for what stood in place of the outputs."""
    plot = Plot(
        "latent",
        "Read without the answer",
        "Latent causal probing: the model reads reference programs, and the probes are trained as above on the states "
        "that predict their actions, for the state before and after that action. Where the outputs are withheld, no "
        "state can be read off them. Whiskers: lowest to highest seed; "
        "bar across: majority class of that meaning; cross: the same probes on an untrained model.",
    )
    readings = {kind: run.reading(kind) for kind in run.latent}
    readings = {kind: reading for kind, reading in readings.items() if reading.probed and reading.deepest()}
    if not readings:
        return undrawn(
            plot, "no reference programs were probed (karel-fast probe --programs-from reference --withhold space)"
        )
    figure, axes = panels(len(readings), height=3.3)
    rows: list[Row] = []
    semantics = list(dict.fromkeys(name for reading in readings.values() for name in reading.names("semantics")))
    features = list(dict.fromkeys(name for reading in readings.values() for name in reading.names("feature")))
    offsets = {offset for reading in readings.values() for offset in reading.names("offset")}
    places = [(feature, offset) for feature in features for offset in _WHEN if offset in offsets]
    width = 0.8 / len(semantics)
    for ax, (kind, reading) in zip(axes, readings.items(), strict=False):
        step, depth = reading.probed[-1], reading.deepest()
        for place, (feature, offset) in enumerate(places):
            where = {"feature": feature, "depth": depth, "offset": offset}
            for index, name in enumerate(semantics):
                seeds = reading.by_seed(step, semantics=name, **where)
                if not seeds:
                    continue
                at = place + (index - (len(semantics) - 1) / 2) * width
                majority = mean(reading.values(step, "majority", semantics=name, **where))
                fresh = mean(reading.values(step, states="untrained", semantics=name, **where))
                height = 100 * sum(seeds) / len(seeds)
                ax.bar(
                    [at],
                    [height],
                    0.92 * width,
                    color=str(look(index)["color"]),
                    hatch=("", "//", "..", "xx", "\\\\", "++")[index % 6],
                    edgecolor=GROUND,
                    linewidth=0,
                    yerr=extents([height], [[100 * v for v in seeds]]),
                    ecolor=INK,
                    capsize=2,
                    label=name if place == 0 else None,
                )
                if majority is not None:
                    ax.hlines(100 * majority, at - 0.5 * width, at + 0.5 * width, color=INK, linewidth=1.6)
                if fresh is not None:
                    ax.plot([at], [100 * fresh], "x", color=INK, markersize=6)
                rows.append((step, kind.split("/")[1], feature, depth, offset, name, *summary(seeds), majority, fresh))
        ax.set_title(_WITHHELD[LATENT[kind]])
        ax.set_xticks(range(len(places)), [f"{_short(f)}\n{_WHEN[o]}" for f, o in places])
        ax.set_ylim(0, 105)
        ax.grid(axis="x", visible=False)
    axes[0].set_ylabel("right answers (%)")
    shared_legend(figure, axes[0])
    columns = ("step", "outputs", "feature", "depth", "offset", "semantics", "mean", "lowest", "highest", "seeds", "majority",
               "untrained")  # fmt: skip
    placements = [_positions(kind, reading.probing[reading.probed[-1]]) for kind, reading in readings.items()]
    plot = Plot(plot.name, plot.title, " ".join([plot.caption, *(text for text in placements if text)]))
    return drawn(plot, figure, columns, rows)


def _short(feature: str) -> str:
    return TITLES.get(feature, feature).replace(" a ", "\na ")


def _positions(kind: str, probing: dict[str, Any]) -> str:
    """Which actions of a program gave rows, where not all did."""
    actions = (probing.get("grid") or {}).get("actions") or {}
    if not actions:
        return ""

    def listed(split: str) -> str:
        return ", ".join(str(a + 1) for a in actions[split]) if split in actions else "all"

    return f"{_WITHHELD[LATENT[kind]].capitalize()}: learnt on actions {listed('train')}, tested on {listed('test')}."
