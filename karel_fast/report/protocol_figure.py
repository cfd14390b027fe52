"""The figure of the published code's grid of probes: every feature, depth, meaning and offset at once."""

from __future__ import annotations

from karel_fast.analysis.series import Run, mean
from karel_fast.report.plots import (
    DEPTH_TITLES,
    TITLES,
    Plot,
    Row,
    as_percent,
    drawn,
    extents,
    shared_legend,
    summary,
    undrawn,
)
from karel_fast.report.style import DOTTED, INK, look, new_figure
from karel_fast.runs.folder import PAPER

_COLUMNS = ("step", "protocol", "feature", "depth", "semantics", "offset", "lift", "lowest", "highest", "seeds", "majority",
            "accuracy", "best_on_test")  # fmt: skip
_MISSING = "the published code's grid was not probed (karel-fast probe --protocol paper-grid, or paper)"


def protocol_plot(run: Run) -> Plot:
    """Lift by meaning and offset, a column of panels per depth, a row per feature."""
    kinds = [kind for kind in PAPER if kind in run.paper and run.reading(kind).probed]
    plot = Plot(
        "protocol",
        "The published protocol's grid",
        "Lift over each meaning's own majority class, by the state asked for, of the probes that the published code trains: "
        "first world only, specifications of every length, programs cut off included. Whiskers: lowest to highest seed.",
    )
    if not kinds:
        return undrawn(plot, _MISSING)
    # Trained as there, where that was done.
    drawn_kind = kinds[-1]
    reading = run.reading(drawn_kind)
    trained = "as in the published code" if drawn_kind == "paper" else "our way"
    plot = Plot(plot.name, plot.title, f"{plot.caption} Probes trained {trained}.")
    features, depths = reading.names("feature"), reading.names("depth")
    meanings, offsets = reading.names("semantics"), sorted(reading.names("offset"))
    figure, axes = new_figure(9, 2.1 * len(features) + 0.6, len(features), len(depths), sharey="row", sharex=True)
    for place, ax in enumerate(axes):
        feature, depth = features[place // len(depths)], depths[place % len(depths)]
        for index, meaning in enumerate(meanings):
            where = {"feature": feature, "depth": depth, "semantics": meaning}
            seeds = [reading.by_seed(reading.probed[-1], "lift", offset=offset, **where) for offset in offsets]
            known = [
                (offset + 0.06 * (index - (len(meanings) - 1) / 2), values)
                for offset, values in zip(offsets, seeds, strict=True)
                if values
            ]
            middles = [sum(values) / len(values) for _, values in known]
            ax.errorbar(
                [at for at, _ in known],
                middles,
                yerr=extents(middles, [values for _, values in known]),
                capsize=1.5,
                label=meaning,
                **{**look(index), "linewidth": 1.0},
            )
        ax.axhline(0, color=INK, linewidth=0.9, linestyle=DOTTED)
        ax.set_xticks(offsets, [f"{o:+d}".replace("-", "−") if o else "0" for o in offsets])
        ax.yaxis.set_major_formatter(as_percent)
        if place < len(depths):
            ax.set_title(DEPTH_TITLES.get(depth, depth))
        if place % len(depths) == 0:
            ax.set_ylabel(f"{TITLES.get(feature, feature)}\nlift (points)", fontsize=8)
        if place >= len(depths) * (len(features) - 1):
            ax.set_xlabel("offset (actions)")
    shared_legend(figure, axes[0])
    return drawn(plot, figure, _COLUMNS, [row for kind in kinds for row in _rows(run.reading(kind), kind)])


def _rows(reading: Run, kind: str) -> list[Row]:
    step = reading.probed[-1]
    return [
        (
            step, kind, feature, depth, meaning, offset,
            *summary(reading.by_seed(step, "lift", **where)),
            *(mean(reading.values(step, name, **where)) for name in ("majority", "accuracy", "best_on_test")),
        )
        for feature in reading.names("feature")
        for depth in reading.names("depth")
        for meaning in reading.names("semantics")
        for offset in sorted(reading.names("offset"))
        for where in [{"feature": feature, "depth": depth, "semantics": meaning, "offset": offset}]
    ]  # fmt: skip
