"""Figures of what other meanings do: altered semantics."""

from __future__ import annotations

from typing import Any

from karel_fast.analysis.series import Run, mean, number
from karel_fast.analysis.stored_measures import differences_of, doubled_of
from karel_fast.report.plots import (
    DEPTH_TITLES,
    TITLES,
    Plot,
    Row,
    band,
    drawn,
    gaps,
    panels,
    percent,
    shared_legend,
    step_axis,
    summary,
    undrawn,
)
from karel_fast.report.style import DOTTED, GROUND, INK, look, new_figure


def interventions_plot(run: Run) -> Plot:
    """Original against altered semantics over training."""
    plot = Plot(
        "interventions",
        "The same programs under other meanings",
        "The written programs are run again with actions that do something else, and the probes trained again. The "
        "original read better, above its own base rate, is a sign that the model holds the meaning, if it is not read better "
        "from an untrained model as well. Dotted: the "
        "majority class of that meaning. Bands: lowest to highest seed.",
    )
    if not run.probed:
        return undrawn(plot, "the run folder has no probes")
    semantics = run.names("semantics")
    if len(semantics) < 2:
        return undrawn(plot, f"only the {', '.join(map(str, semantics))} semantics was probed")
    features, depths = run.names("feature"), run.names("depth")
    figure, axes = new_figure(9, 2.35 * len(depths) + 0.6, len(depths), len(features), sharex=True, sharey="col")
    rows: list[Row] = []
    for number_, ax in enumerate(axes):
        depth, feature = depths[number_ // len(features)], features[number_ % len(features)]
        for index, name in enumerate(semantics):
            seeds = [run.by_seed(s, feature=feature, depth=depth, semantics=name) for s in run.probed]
            band(ax, run.probed, seeds, name, index)
            majority = [mean(run.values(s, "majority", feature=feature, semantics=name)) for s in run.probed]
            ax.plot(
                run.probed, gaps(majority), color=str(look(index)["color"]), linewidth=1, linestyle=DOTTED,
                label="dotted: its majority class" if index == 0 else None,
            )  # fmt: skip
            rows += [
                (s, feature, depth, name, *summary(v), m) for s, v, m in zip(run.probed, seeds, majority, strict=True)
            ]
        if number_ < len(features):
            ax.set_title(TITLES.get(feature, feature))
        if number_ % len(features) == 0:
            ax.set_ylabel(f"{DEPTH_TITLES.get(depth, depth)}\nright answers (%)")
        if number_ // len(features) == len(depths) - 1:
            step_axis(ax)
        percent(ax, full=False)
    shared_legend(figure, axes[0])
    return drawn(
        plot, figure, ("step", "feature", "depth", "semantics", "mean", "lowest", "highest", "seeds", "majority"), rows
    )


def difference_plot(run: Run) -> Plot:
    """Original minus altered at the last snapshot, with paired confidence intervals."""
    plot = Plot(
        "differences",
        "Original minus altered",
        "Difference of lift, which is test accuracy above the majority class of that meaning, at the last probed snapshot, "
        "state after the predicted action, with its 95 % interval: over test programs and probe seeds where "
        "sums per program were kept, else paired over seeds (Student's t). Small and pale: the difference of plain accuracies. "
        "Hollow: the same of lift, less that of an untrained model's states. Zero: either meaning is read equally well.",
    )
    run = run.closest
    if not run.probed:
        return undrawn(plot, "the run folder has no probes")
    step = run.probed[-1]
    differences = [
        d
        for measure in ("lift", "accuracy")
        for d in differences_of(run, step, measure)
        if d["offset"] == 0 and d["labels"] == "true" and d["states"] == "trained"
    ]
    doubled = [
        {**d, "measure": "lift, trained - untrained"}
        for d in doubled_of(run, step, "lift")
        if d["offset"] == 0 and d["labels"] == "true"
    ]
    layers = list(dict.fromkeys(d["layer"] for d in differences))
    if not differences:
        return undrawn(plot, "no altered semantics was probed at the last snapshot")
    layer = layers[-1]
    if len(layers) > 1:
        plot = Plot(plot.name, plot.title, f"{plot.caption} Of layer {layer}, the last of those that were probed.")
    differences = [d for d in [*differences, *doubled] if d["layer"] == layer]
    semantics = list(dict.fromkeys(d["semantics"] for d in differences))
    features = list(dict.fromkeys(d["feature"] for d in differences))
    depths = list(dict.fromkeys(d["depth"] for d in differences))
    figure, axes = panels(len(features))
    for ax, feature in zip(axes, features, strict=False):
        for index, name in enumerate(semantics):
            for place, depth in enumerate(depths):
                at = place + (index - (len(semantics) - 1) / 2) * 0.3
                color = str(look(index + 1)["color"])
                label = f"original − {name}" if place == 0 else None
                for d in differences:
                    if (d["feature"], d["semantics"], d["depth"]) != (feature, name, depth):
                        continue
                    if d["measure"] == "accuracy":
                        ax.plot([at + 0.05], [100 * d["mean"]], ".", color=color, alpha=0.45, markersize=5)
                        continue
                    plain = d["measure"] == "lift"
                    ax.errorbar(
                        [at if plain else at + 0.1],
                        [100 * d["mean"]],
                        yerr=_error(d),
                        fmt=str(look(index + 1)["marker"]),
                        color=color,
                        markerfacecolor=color if plain else GROUND,
                        capsize=3,
                        label=label if plain else None,
                    )
        ax.axhline(0, color=INK, linewidth=0.8)
        ax.set_title(TITLES.get(feature, feature))
        ax.set_xticks(range(len(depths)), ["\n".join(DEPTH_TITLES.get(d, d).rsplit(" ", 1)) for d in depths])
        ax.set_xlim(-0.6, len(depths) - 0.4)
        ax.grid(axis="x", visible=False)
    axes[0].set_ylabel("difference of lift (percentage points)")
    shared_legend(figure, axes[0])
    columns = ("feature", "depth", "layer", "semantics", "measure", "mean", "low", "high", "cluster_low", "cluster_high",
               "p", "seeds")  # fmt: skip
    return drawn(plot, figure, ("step", *columns), [(step, *(d.get(c) for c in columns)) for d in differences])


def _error(difference: dict[str, Any]) -> list[list[float]] | None:
    """Lengths of the interval in points: clustered by program where there is one, else over seeds."""
    for low, high in (("cluster_low", "cluster_high"), ("low", "high")):
        below, above = number(difference.get(low)), number(difference.get(high))
        if below is not None and above is not None:
            middle = difference["mean"]
            return [[max(0.0, 100 * (middle - below))], [max(0.0, 100 * (above - middle))]]
    return None
