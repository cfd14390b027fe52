"""The figure of a model that plays the interpreter: outputs from inputs and code."""

from __future__ import annotations

from karel_fast.analysis.series import Run
from karel_fast.report.plots import Plot, curve, drawn, gaps, legend, percent, step_axis, undrawn
from karel_fast.report.style import INK, new_figure

LABELS = {
    "cell_accuracy": "all",
    "changed_cell_accuracy": "that changed",
    "world_accuracy": "written",
    "teacher_world_accuracy": "with true cells before",
    "specification_accuracy": "all of a specification",
}
BASES = {
    "copy_cell_accuracy": ("the input, copied", "--"),
    "frequent_cell_accuracy": ("the most frequent cell", ":"),
    "copy_world_accuracy": ("the input, copied", "--"),
}


def interpreter_plot(run: Run) -> Plot:
    """Cells and worlds over training, beside copying."""
    plot = Plot(
        "interpreter",
        "The model as interpreter",
        "Outputs that the model writes when it is given inputs and a program, cell by cell: cells and whole worlds that are right. "
        "Copying the input is right of every cell that the program leaves alone.",
    )
    if not any(value is not None for value in run.evaluated("world_accuracy")):
        return undrawn(plot, "the model writes programs")
    figure, axes = new_figure(9, 3, 1, 2, sharey=True)
    columns: dict[str, list[float | None]] = {}
    for ax, title, names, bases in (
        (
            axes[0],
            "Cells",
            ("cell_accuracy", "changed_cell_accuracy"),
            ("copy_cell_accuracy", "frequent_cell_accuracy"),
        ),
        (
            axes[1],
            "Worlds",
            ("world_accuracy", "teacher_world_accuracy", "specification_accuracy"),
            ("copy_world_accuracy",),
        ),
    ):
        for index, name in enumerate(names):
            columns[name] = run.evaluated(name)
            curve(ax, run.steps, columns[name], LABELS[name], index)
        for name in bases:
            columns[name] = run.evaluated(name)
            label, dash = BASES[name]
            ax.plot(run.steps, gaps(columns[name]), color=INK, linewidth=1, linestyle=dash, label=label)
        ax.set_title(title)
        percent(ax)
        step_axis(ax)
        legend(ax)
    axes[0].set_ylabel("right (%)")
    return drawn(plot, figure, ("step", *columns), list(zip(run.steps, *columns.values(), strict=True)))
