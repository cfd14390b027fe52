"""Figures of what other meanings and edited states do: altered semantics and steering."""

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
from karel_fast.report.style import GROUND, INK, look, new_figure


def interventions_plot(run: Run) -> Plot:
    """Original against altered semantics over training."""
    plot = Plot(
        "interventions",
        "The same programs under other meanings",
        "The written programs are run again with actions that do something else, and the probes trained again. Where "
        "the original is read better, above its own base rate, the meaning was in the model, not in the probe. Dotted: the "
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
                run.probed, gaps(majority), color=str(look(index)["color"]), linewidth=1, linestyle=(0, (1, 2)),
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
        "state after the predicted action, with its 95 % interval: by a bootstrap over test programs and probe seeds where "
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


def steering_plot(run: Run) -> Plot:
    """What editing the robot's direction in the hidden state does, per layer."""
    plot = Plot(
        "steering",
        "Does the model use what is read?",
        "At the middle of programs that solve their specification, the state of one layer is moved along a linear "
        "probe's weights until the probe reads every robot turned by a quarter. Left: how much likelier the turn that "
        "undoes the edit becomes, against the other turn (95 % confidence over programs). Right: continuations that, "
        "run from the turned worlds, end as the specification wants. Random: an edit of the same length in a random "
        "direction.",
    )
    step = next((s for s in reversed(run.steering) if run.steering[s].get("records")), None)
    if step is None:
        notes = [str(n) for s in run.steering for n in run.steering[s].get("notes", [])]
        return undrawn(plot, notes[-1] if notes else "no snapshot was steered (karel-fast steer)")
    records = run.steering[step]["records"]
    layers = sorted({r["layer"] for r in records})
    figure, axes = new_figure(9, 3.3, 1, 2)
    kinds = ("none", "probe", "random")
    names = {"none": "no edit", "probe": "probe's edit", "random": "random edit"}
    for index, kind in enumerate(kinds):
        for ax, value in ((axes[0], "turn"), (axes[1], "obeys")):
            if kind == "none" and value == "turn":
                continue
            cells = [[r for r in records if r["layer"] == layer and r["edit"] == kind] for layer in layers]
            held = [
                (layer + 0.06 * (index - 1), c)
                for layer, c in zip(layers, cells, strict=True)
                if c and all(number(r[value]) is not None for r in c)
            ]
            if not held:
                continue
            middle = [mean(r[value] for r in c) or 0.0 for _, c in held]
            error = None
            if value == "turn" and all(number(r["turn_low"]) is not None for _, c in held for r in c):
                error = [
                    [m - (mean(r["turn_low"] for r in c) or 0.0) for m, (_, c) in zip(middle, held, strict=True)],
                    [(mean(r["turn_high"] for r in c) or 0.0) - m for m, (_, c) in zip(middle, held, strict=True)],
                ]
            ax.errorbar([at for at, _ in held], middle, yerr=error, capsize=2, label=names[kind], **look(index))
    axes[0].axhline(0, color=INK, linewidth=0.8)
    axes[0].set_title("Next turn")
    axes[0].set_ylabel("change of log-odds (nats)")
    axes[1].set_title("Programs that obey the edit")
    axes[1].set_ylabel("right programs (%)")
    percent(axes[1], full=False)
    most = max(0.05, *((number(r["obeys"]) or 0.0) for r in records))
    axes[1].set_ylim(-0.05 * most, 1.1 * most)
    for ax in axes:
        ax.set_xticks(layers)
        ax.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
        ax.set_xlabel("layer edited (0 is the embedding)")
    shared_legend(figure, axes[1])
    columns = (
        "layer",
        "quarter",
        "edit",
        "specifications",
        "read",
        "turn",
        "turn_low",
        "turn_high",
        "changed",
        "obeys",
    )
    rows = [(step, *(r.get(c) for c in columns)) for r in records]
    return drawn(plot, figure, ("step", *columns), rows)
