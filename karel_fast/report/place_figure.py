"""The figure of what probes read by the place of the action in its program."""

from __future__ import annotations

from matplotlib.ticker import MaxNLocator

from karel_fast.analysis.by_place import MISSING, SIDES, places_of
from karel_fast.analysis.series import Run
from karel_fast.report.plots import (
    DEPTH_TITLES,
    TITLES,
    Plot,
    as_percent,
    drawn,
    panels,
    shared_legend,
    undrawn,
)
from karel_fast.report.style import DOTTED, INK, PALETTE, look

_COLUMNS = ("step", "side", "feature", "depth", "distance", "pairs", "accuracy", "majority", "lift", "lowest", "highest",
            "normalised", "bits", "untrained")  # fmt: skip


def places_plot(run: Run) -> Plot:
    """Lift by distance from the program's start and from its end, at the last probed snapshot."""
    plot = Plot(
        "places",
        "By place in the program",
        "What probes read above the majority class (the line at zero), by the place of the predicted action, for the deepest probe: "
        "how many actions stand before it, and how many after it. Dashed: the same probe on an untrained model. Band: lowest to "
        "highest seed. The state after the last action is left out, because the specification shows it.",
    )
    run = run.closest
    if not run.probed:
        return undrawn(plot, "the run folder has no probes")
    rows = places_of(run)
    if not rows:
        return undrawn(plot, MISSING)
    deepest = run.deepest()
    figure, axes = panels(len(SIDES))
    for ax, side in zip(axes, SIDES, strict=False):
        for index, feature in enumerate(run.names("feature")):
            line = [r for r in rows if (r["side"], r["feature"], r["depth"]) == (side, feature, deepest)]
            at = [r["distance"] for r in line]
            ax.plot(at, [r["lift"] for r in line], label=TITLES.get(feature, feature), **look(index))
            color = PALETTE[index % len(PALETTE)]
            ax.fill_between(at, [r["lowest"] for r in line], [r["highest"] for r in line], color=color, alpha=0.2, lw=0)
            fresh = [(r["distance"], r["untrained"]) for r in line if r["untrained"] is not None]
            if fresh:
                ax.plot(*zip(*fresh, strict=True), color=color, linewidth=1, linestyle=(0, (3, 2)))
        ax.axhline(0, color=INK, linewidth=0.9, linestyle=DOTTED, label="majority class")
        ax.set_title(f"From the {side}")
        ax.set_xlabel("actions before" if side == "start" else "actions after")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(as_percent)
    axes[0].set_ylabel(f"lift (percentage points), {DEPTH_TITLES.get(str(deepest), deepest)}")
    shared_legend(figure, axes[0])
    return drawn(plot, figure, _COLUMNS, [tuple(row[name] for name in _COLUMNS) for row in rows])
