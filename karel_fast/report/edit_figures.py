"""Figures of edited states: which tokens and layers the program follows, in how many dimensions, and what erasure leaves."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from karel_fast.analysis.edits import is_current
from karel_fast.analysis.series import Run
from karel_fast.report.plots import Plot, drawn, extents, percent, shared_legend, undrawn
from karel_fast.report.style import DOTTED, INK, PALETTE, look, new_figure

KIND_TITLES = {
    "turned": "Robot turned in the input",
    "moved": "Robot moved in the input",
    "marked": "Marker changed in the input",
    "ending": "Another output",
    "written": "Another action written before",
}
_LINES = {
    ("rotation", "pair"): "learned rotation",
    ("principal", "pair"): "principal components",
    ("random", "pair"): "control: random subspace",
    ("rotation", "stranger, same turn"): "rotation, of another task with the same turn",
    ("rotation", "stranger, another turn"): "control: of another task, another turn",
    ("rotation", "typical of the turn"): "rotation, mean of the turn",
}


def edit_map_plot(run: Run) -> Plot:
    """Whole states swapped, layer by layer and tokens by tokens."""
    plot = Plot(
        "edit-map",
        "Where the program takes it from",
        "Two specifications differ in one thing, and so demand different programs. While the model writes for the first, the states "
        "of some tokens at one layer are replaced by those of a run on the second. Numbers: programs (%) that then do what the "
        "second demands. Changed: the tokens that differ; swapping these at layer 0, or all tokens, is another prompt and shows only "
        "that the method works. Elsewhere: all tokens that are the same in both; what obeys there has been worked out by the model.",
    )
    stored = _last(run)
    if stored is None:
        return undrawn(plot, _why_not(run))
    step, records = stored["step"], [r for r in stored["records"] if r["experiment"] == "interchange"]
    kinds = list(dict.fromkeys(r["kind"] for r in records if r["group"] != "none"))
    if not kinds:
        return undrawn(plot, "the model solves both sides of no pair")
    columns = min(2, len(kinds))
    figure, axes = new_figure(9, 3.2 * -(-len(kinds) // columns), -(-len(kinds) // columns), columns)
    for ax in axes[len(kinds) :]:
        ax.set_visible(False)
    rows = []
    for ax, kind in zip(axes, kinds, strict=False):
        found = [r for r in records if r["kind"] == kind and r["group"] != "none"]
        _heat(ax, found)
        ax.set_title(f"{KIND_TITLES.get(kind, kind)} ({found[0]['pairs']} pairs)")
        rows += [
            (step, kind, r["layer"], r["group"], r["pairs"], *(r[c] for c in _MEASURES))
            for r in records if r["kind"] == kind
        ]  # fmt: skip
    return drawn(plot, figure, ("step", "pairs_kind", "layer", "tokens", "pairs", *_MEASURES), rows)


_MEASURES = (
    "obeys",
    "obeys_low",
    "obeys_high",
    "keeps",
    "damage",
    "equal",
    "odds",
    "odds_low",
    "odds_high",
    "odds_share",
)


def edit_ranks_plot(run: Run) -> Plot:
    """Obeys over rank, and what is satisfied after erasure."""
    plot = Plot(
        "edit-ranks",
        "How much of a state the program takes",
        "Left: at the tokens and layer that carry what differs (chosen on other specifications), only a subspace of the state is "
        "replaced. The learned rotation is trained on pairs of the train split; bars are 95 % intervals over programs. Another task: "
        "the values come from an unrelated specification whose robot has to turn as far. Right: specifications satisfied when "
        "where the robots face, or how far they have to turn, can no longer be read linearly from any token of the prompt at one "
        "layer (last: at all layers); random: as many dimensions, drawn at random.",
    )
    stored = _last(run)
    if stored is None:
        return undrawn(plot, _why_not(run))
    step, records = stored["step"], stored["records"]
    kinds = list(dict.fromkeys(r["kind"] for r in records if r["experiment"] == "subspace"))
    erased = [r for r in records if r["experiment"] == "erasure"]
    if not kinds and not erased:
        return undrawn(plot, "no subspace was exchanged and nothing erased")
    figure, axes = new_figure(9, 3.9, 1, len(kinds) + bool(erased))
    rows: list[tuple[Any, ...]] = []
    for ax, kind in zip(axes, kinds, strict=False):
        found = [r for r in records if r["experiment"] == "subspace" and r["kind"] == kind]
        _ranks(ax, found)
        site = stored["sites"][kind]
        ax.set_title(f"{KIND_TITLES.get(kind, kind)}: {site['group']}, layer {site['layer']}")
        rows += [
            (step, "subspace", kind, r["method"], r["source"], r["rank"], r["layer"], r["group"], int(r["control"]), r["pairs"],
             r["obeys"], r["obeys_low"], r["obeys_high"], r["keeps"], r["odds"], r.get("read"), r.get("base"))
            for r in found
        ]  # fmt: skip
    if erased:
        _erasure(axes[-1], erased)
        rows += [
            (step, "erasure", r["kind"], r["method"], "", None, r["layer"], "all", int(r["method"] == "random"), r["pairs"],
             r["satisfied"], r["satisfied_low"], r["satisfied_high"], None, None, r["read"], r["base"])
            for r in erased
        ]  # fmt: skip
    shared_legend(figure, axes[0])
    columns = (
        "step", "experiment", "pairs_kind", "method", "source", "rank", "layer", "tokens", "control", "pairs", "share", "low", "high",
        "keeps", "odds", "read", "base",
    )  # fmt: skip
    return drawn(plot, figure, columns, rows)


def _heat(ax: Axes, records: list[dict[str, Any]]) -> None:
    groups = list(dict.fromkeys(r["group"] for r in records))
    layers = sorted({r["layer"] for r in records})
    for r in records:
        x, y = layers.index(r["layer"]), groups.index(r["group"])
        ax.add_patch(_cell(x, y, r["obeys"]))
        ax.text(x, y, f"{100 * r['obeys']:.0f}", ha="center", va="center", fontsize=7.5)
    ax.set_xlim(-0.5, len(layers) - 0.5)
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.set_xticks(range(len(layers)), [str(layer) for layer in layers])
    ax.set_yticks(range(len(groups)), groups)
    ax.set_xlabel("layer (0 is the embedding); numbers: obeying (%)")
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _cell(x: int, y: int, share: float) -> Any:
    from matplotlib.patches import Rectangle

    # Half of the colour at most, so that the number on it can be read on a light and on a dark page.
    return Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=PALETTE[0], alpha=0.6 * min(1.0, max(0.0, share)), linewidth=0)


def _ranks(ax: Axes, records: list[dict[str, Any]]) -> None:
    width = max(r["rank"] for r in records)
    for index, ((method, source), label) in enumerate(_LINES.items()):
        line = sorted(
            (r for r in records if (r["method"], r["source"]) == (method, source) and r["rank"] < width),
            key=lambda r: r["rank"],
        )
        if line:
            middle = [r["obeys"] for r in line]
            error = extents(middle, [(r["obeys_low"], r["obeys_high"]) for r in line])
            ax.errorbar([r["rank"] for r in line], middle, yerr=error, capsize=2, label=label, **look(index))
    for r in records:
        if r["method"].startswith(("probe of", "means of")):
            ax.plot([r["rank"]], [r["obeys"]], "x", color=INK, markersize=6)
            ax.annotate(r["method"], (r["rank"], r["obeys"]), xytext=(5, 3), textcoords="offset points", fontsize=7)
    ranks = sorted({r["rank"] for r in records if r["method"] == "rotation" and r["source"] == "pair"})
    ax.set_xscale("log", base=2)
    ax.set_xticks(ranks, [str(rank) for rank in ranks])
    ax.minorticks_off()
    ax.set_xlabel("dimensions replaced")
    ax.set_ylabel("programs that obey (%)")
    percent(ax)


def _erasure(ax: Axes, records: list[dict[str, Any]]) -> None:
    layers = sorted({r["layer"] for r in records if r["layer"] is not None})
    first, beyond = (layers[0], layers[-1] + 1) if layers else (0, 0)
    for index, method in enumerate(dict.fromkeys(r["method"] for r in records)):
        found = [r for r in records if r["method"] == method]
        if method == "nothing":
            ax.axhline(found[0]["satisfied"], color=INK, linewidth=0.9, linestyle=DOTTED)
            ax.annotate("nothing erased", (first, found[0]["satisfied"]), xytext=(0, -3), textcoords="offset points",
                        va="top", fontsize=7)  # fmt: skip
            continue
        at = [beyond if r["layer"] is None else r["layer"] for r in found]
        middle = [r["satisfied"] for r in found]
        error = extents(middle, [(r["satisfied_low"], r["satisfied_high"]) for r in found])
        style = {**look(index), "linestyle": "none"}
        ax.errorbar(
            [a + 0.1 * (index - 2) for a in at], middle, yerr=error, capsize=2, label=f"erased: {method}", **style
        )
    ax.legend(loc="center right")
    ax.set_xticks([*layers, beyond], [*map(str, layers), "all"])
    ax.set_title("Erased at every token of the prompt")
    ax.set_xlabel("layer erased")
    ax.set_ylabel("specifications satisfied (%)")
    percent(ax)


def _last(run: Run) -> dict[str, Any] | None:
    """The last snapshot's results of the kind that this version writes."""
    return next((stored for stored in reversed(run.steering.values()) if is_current(stored)), None)


def _why_not(run: Run) -> str:
    notes = [str(note) for stored in run.steering.values() for note in stored.get("notes", [])]
    if any(stored.get("records") for stored in run.steering.values()):
        return "the edits in the run folder are an older version's (karel-fast steer)"
    return notes[-1] if notes else "no snapshot's states were edited (karel-fast steer)"
