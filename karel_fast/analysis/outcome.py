"""What one evaluation, or one snapshot's probes, came to: a few lines in words, for the end of a command.

Nothing here is wider than a terminal of 80 columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from karel_fast.analysis.series import mean_of

Line = tuple[str, str, str]
"""A measure, its value, and what it is."""

_SHARES: dict[str, tuple[str, str]] = {
    "generative_accuracy": ("satisfied", "every shown example is right"),
    "one_for_all_accuracy": ("", "by one program, written for all"),
    "generalization": ("generalizes", "held-out examples are right, too"),
    "ideal_generalization": ("", "a draw of the ideal reader's generalizes"),
    "finished": ("ended in time", ""),
    "parse_rate": ("well-formed", "written without the grammar"),
    "exact_match": ("the same program", "as the specification was made from"),
    "beam_accuracy": ("beam search", "its best program satisfies"),
    "beam_any": ("", "some program in the beam does"),
    "specification_accuracy": ("all outputs right", "of a specification"),
    "world_accuracy": ("worlds right", ""),
    "copy_world_accuracy": ("", "by copying the input"),
    "cell_accuracy": ("cells right", ""),
    "changed_cell_accuracy": ("changed cells right", "those that the program changes"),
    "copy_cell_accuracy": ("", "by copying the input"),
}
_NUMBERS: dict[str, tuple[str, str]] = {
    "perplexity": ("perplexity", "of the specifications' own programs, a token"),
    "floor_perplexity": ("", "the least that any reader can have"),
    "mean_length": ("actions", "of a program, on average"),
    "reference_mean_length": ("", "of the specifications' own programs"),
}
PROBE_HEADS = ("feature", "meaning", "layer", "accuracy", "majority", "lift", "untrained")


def evaluation_lines(metrics: Mapping[str, Any]) -> list[Line]:
    """The measures that there are, in order: (name, value, what it is)."""
    lines = [
        (words, percent(metrics[name]), note)
        for name, (words, note) in _SHARES.items()
        if metrics.get(name) is not None
    ]
    passes = metrics.get("pass_at_k") or {}
    lines += [(f"pass@{k}", percent(value), "of programs drawn at random") for k, value in passes.items()]
    lines += [
        (words, f"{metrics[name]:.2f}", note)
        for name, (words, note) in _NUMBERS.items()
        if metrics.get(name) is not None
    ]
    if "distinct_programs" in metrics:
        lines.append(
            (
                "different programs",
                str(metrics["distinct_programs"]),
                f"of {metrics['samples']}; the most frequent one is",
            )
        )
        lines.append(("", percent(metrics["top_share"]), "of all"))
    return lines


_OVER_SNAPSHOTS = {
    "generative_accuracy": "satisfied",
    "one_for_all_accuracy": "one for all",
    "generalization": "generalizes",
    "cell_accuracy": "cells",
    "copy_cell_accuracy": "by copying",
    "changed_cell_accuracy": "changed cells",
    "world_accuracy": "worlds",
    "copy_world_accuracy": "by copying",
}


def snapshot_lines(evaluations: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A line for each evaluated snapshot under a head: its step, how many specifications, the shares that there are, in per cent, how
    many different programs it writes, and the perplexity of the references.
    """
    shares = [name for name in _OVER_SNAPSHOTS if any(one.get(name) is not None for one in evaluations)]
    writes = any(one.get("distinct_programs") is not None for one in evaluations)
    head = ["step", "specs", *(_OVER_SNAPSHOTS[name] for name in shares)]
    lines = [head + ["different", "perplexity"] * writes]
    for one in evaluations:
        line = [str(one["step"]), str(one.get("samples", "-")), *(percent(one.get(name)) for name in shares)]
        worse = one.get("perplexity")
        numbers = [str(one.get("distinct_programs", "-")), "-" if worse is None else f"{worse:.2f}"]
        lines.append(line + numbers * writes)
    return lines


def chosen_layer_rows(probing: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a probing file's deepest probes read of the state after the predicted action (or of the first offset that was probed), by
    feature and meaning: means over seeds, of the layer that validation rows choose under the first meaning.
    """
    records = [r for r in probing["records"] if r["labels"] == "true" and r["accuracy"] is not None]
    if not records:
        return []
    depth = records[-1]["depth"]
    offset = 0 if any(r["offset"] == 0 for r in records) else records[0]["offset"]
    of_depth = [r for r in records if (r["depth"], r["offset"]) == (depth, offset)]
    meanings = list(dict.fromkeys(r["semantics"] for r in of_depth))
    rows = []
    for feature in dict.fromkeys(r["feature"] for r in of_depth):
        here = [r for r in of_depth if r["feature"] == feature]
        layer = _best_layer([r for r in here if r["states"] == "trained" and r["semantics"] == meanings[0]])
        for meaning in meanings:
            chosen = [r for r in here if r["semantics"] == meaning and r["layer"] == layer]
            found = [r for r in chosen if r["states"] == "trained"]
            accuracy, majority = (mean_of(found, name) for name in ("accuracy", "majority"))
            fresh = mean_of([r for r in chosen if r["states"] == "untrained"], "lift")
            lift = None if accuracy is None or majority is None else accuracy - majority
            rows.append(
                {
                    "feature": feature, "meaning": meaning, "depth": depth, "offset": offset, "layer": layer,
                    "accuracy": accuracy, "majority": majority, "lift": lift, "untrained_lift": fresh,
                }
            )  # fmt: skip
    return rows


def probe_lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    """`chosen_layer_rows` as cells under `PROBE_HEADS`, in per cent and points."""
    lines = [list(PROBE_HEADS)]
    before = None
    for row in rows:
        values = [percent(row[name]) for name in ("accuracy", "majority", "lift", "untrained_lift")]
        feature = row["feature"] if row["feature"] != before else ""
        before = row["feature"]
        lines.append([feature, _short(row["meaning"]), str(row["layer"]), *values])
    return lines


PROBE_NOTE = (
    "Accuracy of the probes, and of always answering the majority class, in %; lift\n"
    "is the difference, untrained the lift of probes of an untrained model's states\n"
    "(-: not asked)."
)


def percent(value: float | None) -> str:
    """A share as per cent with one decimal; - for none."""
    return "-" if value is None else f"{100 * value:.1f}"


def _best_layer(records: list[dict[str, Any]]) -> Any:
    layers = list(dict.fromkeys(r["layer"] for r in records))
    return max(
        layers,
        key=lambda layer: mean_of([r for r in records if r["layer"] == layer], "validation") or 0.0,
        default=None,
    )


def _short(meaning: str) -> str:
    return meaning if len(meaning) <= 20 else meaning[:18] + ".."
