"""Figures of training: phases, accuracy against semantic content, the loss."""

from __future__ import annotations

import numpy as np

from karel_fast.analysis.phases import PAPER_SHARES, regress
from karel_fast.analysis.regression import beside_regression
from karel_fast.analysis.series import Run, boundaries_of, number, phases_of, regressions_of, training_points
from karel_fast.report.plots import (
    DEPTH_TITLES,
    Plot,
    Row,
    as_percent,
    curve,
    drawn,
    legend,
    logarithmic,
    p_value,
    panels,
    percent,
    shade,
    step_axis,
    undrawn,
)
from karel_fast.report.style import INK, PALETTE, look, new_figure
from karel_fast.runs.folder import LOSS_TARGETS


def phases_plot(run: Run) -> Plot:
    """Accuracy, generalization, diversity, perplexity and length over training, with the phases shaded."""
    phases = phases_of(run)
    shares = ("generative_accuracy", "generalization", "solver_generalization", "distinct", "top_share", "parse_rate")
    names = (*shares, "perplexity", "floor_perplexity", "mean_length", "reference_mean_length")
    series = {name: run.evaluated(name) for name in names}
    caption = (
        "What the model writes for unseen specifications at every snapshot. Shading: babbling, syntax acquisition and "
        "semantics acquisition."
    )
    if phases.note:
        caption += f" {phases.note[0].upper()}{phases.note[1:]}."
    sure = boundaries_of(run) if phases.semantics is not None else None
    if sure and sure.shares and sure.syntax and sure.semantics:
        ours, theirs = ("/".join(f"{100 * share:.0f}" for share in three) for three in (sure.shares, PAPER_SHARES))
        caption += (
            f" They take {ours} % of training (the paper: {theirs}). With other specifications drawn, syntax begins at step "
            f"{sure.syntax[0]} to {sure.syntax[1]} and semantics at {sure.semantics[0]} to {sure.semantics[1]} (95 %)."
        )
    plot = Plot("phases", "Three phases of training", caption)
    if not any(v is not None for values in series.values() for v in values):
        return undrawn(plot, "the run folder has no evaluation")
    figure, axes = new_figure(9, 5.6, 2, 2, sharex=True)
    groups = (
        (
            "Right programs",
            "specifications (%)",
            ("generative_accuracy", "generalization", "solver_generalization"),
            True,
        ),
        ("Diversity", "programs (%)", ("distinct", "top_share", "parse_rate"), True),
        ("Perplexity", "per token of reference programs", ("perplexity", "floor_perplexity"), False),
        ("Program length", "actions", ("mean_length", "reference_mean_length"), False),
    )
    labels = {
        "generative_accuracy": "accuracy, shown worlds",
        "generalization": "generalization, held-out world",
        "solver_generalization": "generalization, exact solver",
        "distinct": "distinct programs",
        "top_share": "most frequent program",
        "parse_rate": "whole programs",
        "perplexity": "model",
        "floor_perplexity": "ideal reader: no model can do better",
        "mean_length": "written",
        "reference_mean_length": "reference",
    }
    for ax, (title, unit, members, share) in zip(axes, groups, strict=True):
        shade(ax, run, phases.syntax, phases.semantics)
        drawn_members = [name for name in members if any(value is not None for value in series[name])]
        for index, name in enumerate(drawn_members):
            curve(ax, run.steps, series[name], labels[name], index)
        ax.set_title(title, pad=22)
        ax.set_ylabel(unit)
        if share:
            percent(ax)
        if title == "Perplexity":
            logarithmic(ax)
        if len(drawn_members) > 1:
            legend(ax)
    for ax in axes[2:]:
        step_axis(ax)
    rows = tuple((step, *(series[name][i] for name in names)) for i, step in enumerate(run.steps))
    return drawn(plot, figure, ("step", *names), rows)


def regression_plot(run: Run) -> Plot:
    """Generative accuracy against semantic content, a point per snapshot."""
    plot = Plot(
        "regression",
        "Does meaning go with ability?",
        "Generative accuracy against semantic content (mean probe accuracy over features, state after the predicted "
        "action) at each snapshot after the first update, with the least-squares line. With a lag, accuracy is taken that many "
        "snapshots later. On lift: what is read above the majority class; changes: from snapshot to snapshot. Where the step "
        "number alone does as well, both may just rise with training.",
    )
    found = regressions_of(run)
    if not run.probed or not any(a is not None for a in run.evaluated("generative_accuracy")):
        return undrawn(plot, "it needs both evaluations and probes")
    figure, axes = panels(len(found), height=3.3)
    rows: list[Row] = []
    for index, (ax, (depth, fits)) in enumerate(zip(axes, found.items(), strict=False)):
        pairs = zip(*training_points(run, depth), strict=True)
        points = [(c, a) for c, a in pairs if c is not None and a is not None]
        style = look(index)
        if points:
            x, y = np.array(points).T
            ax.scatter(x, y, s=22, color=str(style["color"]), marker=str(style["marker"]))
            fit = fits[0]
            if fit.slope is not None and fit.intercept is not None and fit.r2 is not None and fit.p is not None:
                ends = np.array([x.min(), x.max()])
                ax.plot(ends, fit.intercept + fit.slope * ends, color=INK, linewidth=1)
                says = f"R² = {fit.r2:.3f}, {p_value(fit.p)}, {fit.n} snapshots"
                for late in fits[1:]:
                    if late.r2 is not None and late.p is not None:
                        says += f"\n{late.lag} later: R² = {late.r2:.3f}, {p_value(late.p)}"
            else:
                says = fit.note
            fair = regress(*training_points(run, depth, measure="lift"))
            other = beside_regression(run, depth, measure="lift")
            if fair.r2 is not None and other.step is not None:
                changes = "-" if other.changes is None else f"{other.changes:.2f}"
                says += f"\non lift: R² = {fair.r2:.2f}; changes {changes}\nstep number alone: {other.step:.2f}"
            # Above the points, wherever they lie.
            ax.text(0, 1.02, says, transform=ax.transAxes, va="bottom")
        ax.set_title(DEPTH_TITLES.get(depth, depth), pad=64)
        ax.set_xlabel("semantic content (%)")
        percent(ax, full=False)
        ax.xaxis.set_major_formatter(as_percent)
        ax.margins(0.08)
        rows += [(depth, f.lag, f.n, f.slope, f.intercept, f.r2, f.p, f.note) for f in fits]
    axes[0].set_ylabel("generative accuracy (%)")
    return drawn(plot, figure, ("depth", "lag", "snapshots", "slope", "intercept", "r2", "p", "note"), rows)


def loss_plot(run: Run) -> Plot:
    """Training and validation loss."""
    plot = Plot(
        "loss",
        "Training loss",
        "Cross entropy of the training log. A row of cells that is one token counts as its cells.",
    )
    names = [n for n in ("loss", "val_loss") if any(number(line.get(n)) is not None for line in run.log)]
    if not names:
        return undrawn(plot, "the run folder has no training log with a loss")
    figure, (ax,) = new_figure(9, 2.8)
    # Earlier versions did not say of what a loss was.
    targets = [said if (said := line.get("targets")) in LOSS_TARGETS else None for line in run.log]
    curves: dict[str, list[tuple[int, float]]] = {}
    for line, said in zip(run.log, targets, strict=True):
        for name, label in (("loss", f"training, targets: {said}" if said else "training"), ("val_loss", "validation")):
            if (value := number(line.get(name))) is not None:
                curves.setdefault(label, []).append((line["step"], value))
    for index, (label, points) in enumerate(curves.items()):
        # More points than pixels say nothing more.
        stride = max(1, len(points) // 1500)
        x, y = zip(*points[::stride], strict=True)
        ax.plot(x, y, color=PALETTE[index % len(PALETTE)], linewidth=1.1, label=label)
    ax.set_ylabel("loss (nats per token)")
    step_axis(ax)
    if len(curves) > 1:
        legend(ax)
    rows = [
        (line["step"], said, *(number(line.get(n)) for n in names)) for line, said in zip(run.log, targets, strict=True)
    ]
    return drawn(plot, figure, ("step", "targets", *names), rows)


def floor_plot(run: Run) -> Plot:
    """The loss of reference programs, the least that it can be, and the divergence from the ideal reader."""
    names = ("loss", "floor_loss", "divergence")
    plot = Plot(
        "floor",
        "How far from the ideal reader",
        "Loss of the reference programs of unseen specifications, the loss of a reader that knows every program that satisfies them "
        "(no model can do better, but by chance), and the divergence of what the model expects of the next token from what that reader "
        "expects. What the loss is above the floor is the divergence, up to chance.",
    )
    series = {name: run.evaluated(name) for name in names}
    if not any(value is not None for name in names[1:] for value in series[name]):
        return undrawn(plot, "the evaluation asked no ideal reader (evaluate with ideal)")
    figure, (ax,) = new_figure(9, 2.8)
    labels = {"loss": "model", "floor_loss": "ideal reader", "divergence": "divergence: KL(ideal || model)"}
    for index, name in enumerate(names):
        if any(value is not None for value in series[name]):
            curve(ax, run.steps, series[name], labels[name], index)
    ax.set_ylabel("loss (nats per token)")
    step_axis(ax)
    legend(ax)
    return drawn(plot, figure, ("step", *names), [(s, *(series[n][i] for n in names)) for i, s in enumerate(run.steps)])
