"""What was found by editing states, as lines of a table: the rows that answer the question, and what each can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

COLUMNS = ("pairs", "edit", "tokens, layer", "rank", "obeys", "keeps", "log-odds")


def is_current(stored: Mapping[str, Any]) -> bool:
    """Whether a file of RUN/steering is of the kind that this version writes."""
    return bool(stored.get("records")) and all("experiment" in record for record in stored["records"])


def table(stored: Mapping[str, Any]) -> list[list[str]]:
    """COLUMNS for each row: whole swaps where most obey, every subspace and control, then what erasure leaves."""
    rows = []
    records = stored["records"]
    for kind in dict.fromkeys(r["kind"] for r in records if r["experiment"] == "interchange"):
        found = [r for r in records if (r["experiment"], r["kind"]) == ("interchange", kind)]
        rows += [_line(r, "whole state") for r in _telling(found)]
    rows += [_line(r, _name(r)) for r in records if r["experiment"] == "subspace"]
    return rows


def erasure_table(stored: Mapping[str, Any]) -> list[list[str]]:
    """Erased, layer, specifications satisfied, readable after, base rate."""
    return [
        [r["method"], _layers(r), _share(r, "satisfied"), _percent(r["read"]), _percent(r["base"])]
        for r in stored["records"]
        if r["experiment"] == "erasure"
    ]


def best(stored: Mapping[str, Any], kind: str, rank: int) -> dict[str, Any] | None:
    """The learned rotation of the largest rank up to `rank` that was exchanged between a kind's pairs."""
    found = [
        r for r in stored["records"]
        if r["experiment"] == "subspace" and r["kind"] == kind and r["method"] == "rotation" and r["source"] == "pair"
        and not r["control"] and r["rank"] <= rank
    ]  # fmt: skip
    return max(found, key=lambda r: r["rank"], default=None)


def _telling(records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Nothing swapped, all tokens at the first layer, and the group that most obey at each layer, those two aside."""
    out = [r for r in records if r["group"] == "none"]
    out += [r for r in records if r["group"] == "all"][:1]
    for layer in dict.fromkeys(r["layer"] for r in records):
        here = [r for r in records if r["layer"] == layer and r["group"] not in ("none", "all")]
        out += [max(here, key=lambda r: r["obeys"])] if here else []
    return out


def _name(record: Mapping[str, Any]) -> str:
    source = "" if record["source"] == "pair" else f", {record['source']}"
    return f"{'control: ' if record['control'] else ''}{record['method']}{source}"


def _line(record: Mapping[str, Any], name: str) -> list[str]:
    odds = "-" if record["odds"] is None else f"{record['odds']:+.2f}"
    place = f"{record['group']}, {record['layer']}"
    return [
        record["kind"],
        name,
        place,
        str(record.get("rank", "")),
        _share(record, "obeys"),
        _percent(record["keeps"]),
        odds,
    ]


def _layers(record: Mapping[str, Any]) -> str:
    layers = record["layers"]
    return "-" if not layers else str(layers[0]) if len(layers) == 1 else f"{layers[0]}..{layers[-1]}"


def _share(record: Mapping[str, Any], name: str) -> str:
    """`93.8 [90.1, 97.0]`, in percent; without an interval the share alone."""
    if record[name + "_low"] is None:
        return _percent(record[name])
    return f"{_percent(record[name])} [{_percent(record[name + '_low'])}, {_percent(record[name + '_high'])}]"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
