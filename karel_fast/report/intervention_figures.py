"""Figures of what other meanings and edited states do: altered semantics and steering."""

from __future__ import annotations

from karel_fast.analysis.series import Run, mean, number
from karel_fast.report.plots import (
    DEPTH_TITLES,
    TITLES,
    Plot,
    Row,
    band,
    drawn,
    panels,
    percent,
    shared_legend,
    step_axis,
    summary,
    undrawn,
)
from karel_fast.report.style import INK, look, new_figure


def interventions_plot(run: Run) -> Plot:
    """Original against altered semantics over training."""
    plot = Plot(
        "interventions",
        "The same programs under other meanings",
        "The written programs are run again with actions that do something else, and the probes trained again. Where "
        "the original is read better, the meaning was in the model, not in the probe. Bands: lowest to highest seed.",
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
            rows += [(s, feature, depth, name, *summary(v)) for s, v in zip(run.probed, seeds, strict=True)]
        if number_ < len(features):
            ax.set_title(TITLES.get(feature, feature))
        if number_ % len(features) == 0:
            ax.set_ylabel(f"{DEPTH_TITLES.get(depth, depth)}\nright answers (%)")
        if number_ // len(features) == len(depths) - 1:
            step_axis(ax)
        percent(ax, full=False)
    shared_legend(figure, axes[0])
    return drawn(plot, figure, ("step", "feature", "depth", "semantics", "mean", "lowest", "highest", "seeds"), rows)


def difference_plot(run: Run) -> Plot:
    """Original minus altered at the last snapshot, with paired confidence intervals."""
    plot = Plot(
        "differences",
        "Original minus altered",
        "Difference in test accuracy at the last probed snapshot, state after the predicted action, with the 95 % "
        "confidence interval of the difference paired over seeds (Student's t). Zero: the probe learns either meaning "
        "equally well.",
    )
    run = run.closest
    if not run.probed:
        return undrawn(plot, "the run folder has no probes")
    step = run.probed[-1]
    found = [
        d
        for d in run.probing[step].get("differences", [])
        if d["offset"] == 0 and d["labels"] == "true" and d["states"] == "trained" and number(d["mean"]) is not None
    ]
    layers = list(dict.fromkeys(d["layer"] for d in found))
    if not found:
        return undrawn(plot, "no altered semantics was probed at the last snapshot")
    layer = layers[-1]
    found = [d for d in found if d["layer"] == layer]
    semantics = list(dict.fromkeys(d["semantics"] for d in found))
    features = list(dict.fromkeys(d["feature"] for d in found))
    depths = list(dict.fromkeys(d["depth"] for d in found))
    figure, axes = panels(len(features))
    for ax, feature in zip(axes, features, strict=False):
        for index, name in enumerate(semantics):
            for place, depth in enumerate(depths):
                cell = [d for d in found if (d["feature"], d["semantics"], d["depth"]) == (feature, name, depth)]
                if not cell:
                    continue
                at = place + (index - (len(semantics) - 1) / 2) * 0.22
                style = look(index + 1)
                low, high = (number(cell[0][side]) for side in ("low", "high"))
                error = None
                if low is not None and high is not None:
                    error = [[100 * (cell[0]["mean"] - low)], [100 * (high - cell[0]["mean"])]]
                ax.errorbar(
                    [at],
                    [100 * cell[0]["mean"]],
                    yerr=error,
                    fmt=str(style["marker"]),
                    color=str(style["color"]),
                    capsize=3,
                    label=f"original − {name}" if place == 0 else None,
                )
        ax.axhline(0, color=INK, linewidth=0.8)
        ax.set_title(TITLES.get(feature, feature))
        ax.set_xticks(range(len(depths)), ["\n".join(DEPTH_TITLES.get(d, d).rsplit(" ", 1)) for d in depths])
        ax.set_xlim(-0.6, len(depths) - 0.4)
        ax.grid(axis="x", visible=False)
    axes[0].set_ylabel("difference (percentage points)")
    shared_legend(figure, axes[0])
    columns = ("feature", "depth", "layer", "semantics", "mean", "low", "high", "p", "seeds")
    return drawn(plot, figure, ("step", *columns), [(step, *(d[c] for c in columns)) for d in found])


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
