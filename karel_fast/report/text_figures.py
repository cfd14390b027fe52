"""Figures of what is written beside what was trained on: lengths, own text, parts of the prompt; and of more programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes

from karel_fast.analysis.series import Run, number
from karel_fast.report.plots import Plot, Row, curve, drawn, gaps, legend, logarithmic, percent, step_axis, undrawn
from karel_fast.report.style import INK, PALETTE, new_figure

NOT_MEASURED = "no snapshot was evaluated with it"


def inside(evaluation: Mapping[str, Any], name: str, key: str | int) -> float | None:
    """A number inside a table or list of an evaluation; None where it is not there."""
    found = evaluation.get(name)
    if isinstance(found, Mapping):
        return number(found.get(key))
    return number(found[key]) if isinstance(found, list) and isinstance(key, int) and key < len(found) else None


def series_inside(run: Run, name: str, key: str | int) -> list[float | None]:
    """The same at every step."""
    return [inside(run.evaluation.get(step, {}), name, key) for step in run.steps]


def text_plot(run: Run) -> Plot:
    """Lengths of correct programs, perplexities, and losses of worlds over training."""
    plot = Plot(
        "text",
        "What is written beside what was trained on",
        "Correct programs by their length against the reference program's. Perplexity of the reference programs, and of the "
        "programs that the model wrote itself. Loss per cell of each example's worlds: where output 2 costs less than output 1, "
        "example 1 was of use. Dashed: a reader that knows only how frequent tokens are; dotted: one that also knows what the same "
        "cell of the input shows. A part that training left out of the loss is not learnt.",
    )
    measured = [run.evaluation[step] for step in run.steps if "written_loss" in run.evaluation.get(step, {})]
    if not measured:
        return undrawn(plot, NOT_MEASURED)
    examples = max(len(evaluation.get("output_loss") or ()) for evaluation in measured)
    figure, axes = new_figure(9, 5.6, 2, 2, sharex=True)
    columns: dict[str, list[float | None]] = {}

    def add(ax: Axes, name: str, values: list[float | None], label: str, index: int | None) -> None:
        columns[name] = values
        curve(ax, run.steps, values, label, index)

    def base(ax: Axes, name: str, values: list[float | None], label: str, dash: str = "--") -> None:
        columns[name] = values
        ax.plot(run.steps, gaps(values), color=INK, linewidth=1, linestyle=dash, label=label)

    lengths, perplexities, outputs, inputs = axes
    for index, key in enumerate(("shorter", "equal", "longer")):
        add(lengths, key, series_inside(run, "correct_lengths", key), key, index)
    percent(lengths)
    lengths.set_ylabel("correct programs (%)")
    add(perplexities, "perplexity", run.evaluated("perplexity"), "reference programs", 0)
    add(perplexities, "written_perplexity", run.evaluated("written_perplexity"), "written programs", 1)
    known = run.evaluated("unigram_program_loss")
    base(perplexities, "unigram_perplexity", [None if v is None else math.exp(v) for v in known], "frequencies")
    perplexities.set_ylabel("perplexity per token")
    logarithmic(perplexities)
    for ax, part in ((outputs, "output"), (inputs, "input")):
        for k in range(examples):
            add(ax, f"{part}_loss_{k + 1}", series_inside(run, f"{part}_loss", k), f"{part} {k + 1}", k)
        base(ax, f"unigram_{part}_loss", run.evaluated(f"unigram_{part}_loss"), "frequencies")
        ax.set_ylabel("loss (nats per cell)")
        step_axis(ax)
    base(outputs, "copy_output_loss", run.evaluated("copy_output_loss"), "the input's cell", ":")
    titles = ("Length of correct programs", "Perplexity", "Output worlds", "Input worlds")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
        legend(ax)
    rows = list(zip(run.steps, *columns.values(), strict=True))
    return drawn(plot, figure, ("step", *columns), rows)


def lengths_plot(run: Run) -> Plot:
    """Right and wrong by program length, at the last snapshot."""
    plot = Plot(
        "lengths",
        "Right and wrong by length",
        "The last evaluated snapshot. Left: specifications satisfied, by the length of the reference program. Right: the programs "
        "written, by their own length.",
    )
    steps = [step for step in run.steps if run.evaluation.get(step, {}).get("by_reference_length")]
    if not steps:
        return undrawn(plot, NOT_MEASURED)
    evaluation = run.evaluation[steps[-1]]
    figure, (left, right) = new_figure(9, 3, 1, 2)
    reference = {int(length): cell for length, cell in evaluation["by_reference_length"].items()}
    shares = [cell["correct"] / cell["samples"] for cell in reference.values()]
    left.bar(list(reference), shares, color=PALETTE[0])
    percent(left)
    left.set_xlabel("length of the reference program (actions)")
    left.set_ylabel("specifications satisfied (%)")
    written = {int(length): cell for length, cell in (evaluation.get("by_written_length") or {}).items()}
    correct, wrong = ([cell[name] for cell in written.values()] for name in ("correct", "wrong"))
    right.bar(list(written), correct, color=PALETTE[2], label="right")
    right.bar(list(written), wrong, bottom=correct, color=PALETTE[1], label="wrong")
    right.set_xlabel("length of the written program (actions)")
    right.set_ylabel("programs")
    legend(right)
    rows: list[Row] = [
        ("reference", length, cell["correct"], cell["samples"] - cell["correct"]) for length, cell in reference.items()
    ]
    rows += [("written", length, cell["correct"], cell["wrong"]) for length, cell in written.items()]
    return drawn(plot, figure, ("length of", "actions", "right", "wrong"), rows)


def draws_plot(run: Run) -> Plot:
    """pass@k over training and over k, beside greedy decoding and beam search."""
    plot = Plot(
        "draws",
        "More than one program",
        "Specifications of which at least one of k programs drawn at random is right (pass@k), over training and, at the last "
        "snapshot, over k. Dashed: k reference programs of other specifications. Nobody chooses among the k programs by "
        "their probability: checking them on the shown worlds is how one would.",
    )
    measured = [step for step in run.steps if run.evaluation.get(step, {}).get("pass_at_k")]
    beams = any(value is not None for value in run.evaluated("beam_accuracy"))
    if not measured and not beams:
        return undrawn(plot, NOT_MEASURED)
    figure, (left, right) = new_figure(9, 3, 1, 2, sharey=True)
    last = run.evaluation[measured[-1]] if measured else {}
    numbers = sorted(map(int, last.get("pass_at_k", {})))
    curves = {"greedy": run.evaluated("generative_accuracy")}
    curves |= {f"pass@{k}": series_inside(run, "pass_at_k", str(k)) for k in sorted({*numbers[:1], *numbers[-1:]})}
    if beams:
        curves["beam search"] = run.evaluated("beam_accuracy")
    for index, (name, values) in enumerate(curves.items()):
        curve(left, run.steps, values, name, None if name == "greedy" else index)
    step_axis(left)
    left.set_ylabel("specifications (%)")
    percent(left)
    legend(left)
    rows: list[Row] = [(step, name, curves[name][i]) for i, step in enumerate(run.steps) for name in curves]
    for index, (name, label) in enumerate(
        (("pass_at_k", "shown worlds"), ("pass_at_k_generalization", "held-out world too"), ("pass_at_k_prior", ""))
    ):
        values = [inside(last, name, str(k)) for k in numbers]
        if all(value is None for value in values):
            continue
        if label:
            curve(right, numbers, values, label, index)
        else:
            right.plot(numbers, gaps(values), color=INK, linewidth=1, linestyle="--", label="other programs")
        rows += [(measured[-1], f"{name} {k}", value) for k, value in zip(numbers, values, strict=True)]
    right.set_xlabel("k, programs drawn")
    right.set_xticks(numbers)
    legend(right)
    if not numbers:
        right.set_visible(False)
    return drawn(plot, figure, ("step", "name", "share"), rows)
