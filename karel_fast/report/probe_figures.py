"""Figures of what probes read: over training, before and ahead, by layer, against the baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from karel_fast.analysis.headline import headline_of
from karel_fast.analysis.series import Run, mean
from karel_fast.report.plots import (
    DEPTH_TITLES,
    TITLES,
    Plot,
    Row,
    band,
    curve,
    drawn,
    extents,
    gaps,
    panels,
    percent,
    shared_legend,
    step_axis,
    step_columns,
    summary,
    undrawn,
    whiskers,
)
from karel_fast.report.style import DOTTED, GROUND, INK, RULE, look

CEILINGS = {
    "both": ("ideal reader of specification and prefix", "-"),
    "specification": ("ideal reader of the specification alone", (0, (5, 2))),
    "prefix": ("ideal reader of the prefix alone", (0, (5, 2, 1, 2))),
}
"""What the ideal readers are called, and how their lines are drawn. docs/exact.md says what each knows."""


def draw_ceilings(
    ax: Axes,
    run: Run,
    step: int,
    feature: str,
    offsets: Sequence[int],
    ends: tuple[float, float] | None = None,
    scale: float = 1,
) -> list[list[float | None]]:
    """A line for each ideal reader over the offsets, or between two ends at the first; returns (readers, offsets), their accuracy.

    scale: of the axis, 100 for one in percent.
    """
    found = []
    for reader, (label, line) in CEILINGS.items():
        name = f"ceiling_{reader}_accuracy"
        heights = [mean(run.values(step, name, feature=feature, offset=o, semantics="original")) for o in offsets]
        found.append(heights)
        if any(height is not None for height in heights):
            x, y = (offsets, heights) if ends is None else (ends, [heights[0]] * 2)
            ax.plot(x, scale * np.array(gaps(y)), color=INK, linewidth=1, linestyle=line, label=label, zorder=1.5)
    return found


def probes_plot(run: Run) -> Plot:
    """Probe accuracy per feature and depth against generative accuracy."""
    plot = Plot(
        "probes",
        "What probes read, against what the model can do",
        "Test accuracy of probes (state after the action the hidden state predicted, original semantics, all layers "
        "probed), with generative accuracy and the majority class. Bands: lowest to highest seed. Star: the number of the card above, "
        "of the deepest probe that stands beside an untrained model's; it may have learnt from more programs.",
    )
    features, depths = run.names("feature"), run.names("depth")
    if not run.probed:
        return undrawn(plot, "the run folder has no probes")
    accuracy = run.evaluated("generative_accuracy")
    figure, axes = panels(len(features))
    rows: list[Row] = []
    for ax, feature in zip(axes, features, strict=False):
        majority = [mean(run.values(s, "majority", feature=feature)) for s in run.probed]
        curve(ax, run.steps, accuracy, "generative accuracy", None)
        ax.plot(run.probed, gaps(majority), color=INK, linewidth=0.9, linestyle=DOTTED, label="majority class")
        for index, depth in enumerate(depths):
            seeds = [run.by_seed(s, feature=feature, depth=depth) for s in run.probed]
            band(ax, run.probed, seeds, DEPTH_TITLES.get(depth, depth), index)
            rows += [(s, feature, depth, *summary(v), m) for s, v, m in zip(run.probed, seeds, majority, strict=True)]
        for card in headline_of(run).readings:
            if card.feature == feature:
                ax.plot([card.step], [card.accuracy.value], "*", color=INK, markersize=9, label="the card's number")
                rows.append(
                    (card.step, feature, f"card: {card.depth}", *[card.accuracy.value] * 3, None, card.majority)
                )
        ax.set_title(TITLES.get(feature, feature))
        percent(ax)
        step_axis(ax)
    axes[0].set_ylabel("right answers (%)")
    shared_legend(figure, axes[0])
    return drawn(plot, figure, ("step", "feature", "depth", "mean", "lowest", "highest", "seeds", "majority"), rows)


def offsets_plot(run: Run) -> Plot:
    """Present, past and future at the last probed snapshot."""
    plot = Plot(
        "offsets",
        "Past, present and future states",
        "Probe accuracy for the state so many actions after (+) or before (−) the one the hidden state predicted, at "
        "the last probed snapshot. Above zero, the model has not written those actions yet. Whiskers: lowest to "
        "highest seed. Ideal readers, where they were asked: what could be known.",
    )
    run = run.closest
    if not run.probed:
        return undrawn(plot, "the run folder has no probes")
    step = run.probed[-1]
    offsets = sorted({r["offset"] for r in run.records(step)})
    if len(offsets) < 2:
        return undrawn(plot, f"the last snapshot was probed at offset {offsets[0]} only")
    features, depths = run.names("feature"), run.names("depth")
    figure, axes = panels(len(features))
    rows: list[Row] = []
    for ax, feature in zip(axes, features, strict=False):
        for index, depth in enumerate(depths):
            seeds = [run.by_seed(step, feature=feature, depth=depth, offset=o, semantics="original") for o in offsets]
            whiskers(ax, offsets, seeds, DEPTH_TITLES.get(depth, depth), index, shift=0.08 * (index - 1))
            rows += [(step, feature, depth, o, *summary(v)) for o, v in zip(offsets, seeds, strict=True)]
        majority = [
            mean(run.values(step, "majority", feature=feature, offset=o, semantics="original")) for o in offsets
        ]
        ax.plot(offsets, gaps(majority), color=INK, linewidth=0.9, linestyle=DOTTED, label="majority class")
        for reader, heights in zip(CEILINGS, draw_ceilings(ax, run, step, feature, offsets), strict=True):
            rows += [
                (step, feature, f"ideal reader: {reader}", o, height, height, height, None)
                for o, height in zip(offsets, heights, strict=True)
                if height is not None
            ]
        ax.axvline(0, color=RULE, linewidth=1, zorder=0)
        ax.set_title(TITLES.get(feature, feature))
        ax.set_xticks(offsets, [f"{o:+d}".replace("-", "−") if o else "0" for o in offsets])
        ax.set_xlabel("offset (actions)")
        percent(ax)
    axes[0].set_ylabel("right answers (%)")
    shared_legend(figure, axes[0])
    return drawn(plot, figure, ("step", "feature", "depth", "offset", "mean", "lowest", "highest", "seeds"), rows)


def layers_plot(run: Run) -> Plot:
    """Accuracy per layer and feature over training."""
    plot = Plot(
        "layers",
        "Where meaning lives",
        "Probe accuracy per layer (0 is the embedding) and snapshot, for the deepest probe trained on several layers.",
    )
    layers_by_depth = {
        depth: {r["layer"] for s in run.probed for r in run.records(s) if r["depth"] == depth and r["layer"] != "mean"}
        for depth in run.names("depth")
    }
    depth = next((depth for depth, known in reversed(layers_by_depth.items()) if len(known) > 1), None)
    layers = list(layers_by_depth.get(depth, ()))
    if depth is None:
        return undrawn(plot, "probes were trained on one layer, or on the mean over layers, only")
    layers.sort()
    features = run.names("feature")
    figure, axes = panels(len(features), height=3.2)
    rows: list[Row] = []
    for ax, feature in zip(axes, features, strict=False):
        grid = [
            [mean(run.values(s, feature=feature, depth=depth, layer=layer)) for s in run.probed] for layer in layers
        ]
        values = np.array([gaps(line) for line in grid], float)
        mesh = ax.pcolormesh(
            100 * np.ma.masked_invalid(values), cmap="cividis", vmin=0, vmax=100, edgecolor="face", lw=0.3
        )
        ax.set_yticks(np.arange(len(layers)) + 0.5, [str(layer) for layer in layers])
        step_columns(ax, run.probed)
        ax.grid(False)
        ax.set_title(TITLES.get(feature, feature))
        for layer, line in zip(layers, grid, strict=True):
            rows += [(s, feature, depth, layer, v) for s, v in zip(run.probed, line, strict=True)]
    axes[0].set_ylabel("layer")
    bar = figure.colorbar(mesh, ax=axes, shrink=0.9, pad=0.02)
    bar.set_label("right answers (%)")
    bar.outline.set_edgecolor(INK)
    return drawn(plot, figure, ("step", "feature", "depth", "layer", "accuracy"), rows)


def baselines_plot(run: Run) -> Plot:
    """Trained against untrained states, shuffled labels and the majority class at the last snapshot."""
    plot = Plot(
        "baselines",
        "Against the baselines",
        "Last probed snapshot, state after the predicted action. Trained: the probes above. Untrained: the same probes "
        "on the states of a model that never trained, for the same programs. Control: a label fixed for the last three "
        "actions, which says nothing of what they do; the gap to trained is the probe's selectivity. Shuffled: labels permuted "
        "among rows. Control and shuffled have majorities of about the same height as the dotted one. Whiskers: lowest to highest seed. "
        "Ideal readers, where they were asked: what could be known.",
    )
    run = run.closest
    if not run.probed:
        return undrawn(plot, "the run folder has no probes")
    step = run.probed[-1]
    kinds = (
        ("trained", {"states": "trained", "labels": "true"}),
        ("untrained model", {"states": "untrained", "labels": "true"}),
        ("control task", {"states": "trained", "labels": "control"}),
        ("shuffled labels", {"states": "trained", "labels": "shuffled"}),
    )
    features, depths = run.names("feature"), run.names("depth")
    figure, axes = panels(len(features))
    rows: list[Row] = []
    for ax, feature in zip(axes, features, strict=False):
        for index, (name, where) in enumerate(kinds):
            seeds = [run.by_seed(step, feature=feature, depth=d, **where) for d in depths]
            rows += [(step, feature, d, name, *summary(v)) for d, v in zip(depths, seeds, strict=True) if v]
            held = [(place, v) for place, v in enumerate(seeds) if v]
            if not held:
                continue
            style = look(index)
            heights = [100 * sum(v) / len(v) for _, v in held]
            ax.bar(
                [place + (index - 1.5) * 0.2 for place, _ in held],
                heights,
                0.18,
                color=str(style["color"]),
                label=name,
                hatch=("", "//", "xx", "..")[index],
                edgecolor=GROUND,
                linewidth=0,
                yerr=extents(heights, [[100 * value for value in v] for _, v in held]),
                ecolor=INK,
                capsize=2,
            )
        majority = mean(run.values(step, "majority", feature=feature))
        if majority is not None:
            ax.axhline(100 * majority, color=INK, linewidth=1, linestyle=DOTTED, label="majority class")
            rows.append((step, feature, None, "majority class", majority, majority, majority, None))
        ends = (-0.5, len(depths) - 0.5)
        for reader, (height,) in zip(CEILINGS, draw_ceilings(ax, run, step, feature, [0], ends, 100), strict=True):
            if height is not None:
                rows.append((step, feature, None, f"ideal reader: {reader}", height, height, height, None))
        ax.set_title(TITLES.get(feature, feature))
        ax.set_xticks(range(len(depths)), ["\n".join(DEPTH_TITLES.get(d, d).rsplit(" ", 1)) for d in depths])
        ax.set_ylim(0, 105)
        ax.grid(axis="x", visible=False)
    axes[0].set_ylabel("right answers (%)")
    shared_legend(figure, axes[0])
    return drawn(plot, figure, ("step", "feature", "depth", "kind", "mean", "lowest", "highest", "seeds"), rows)
