"""Presets as earlier versions spelt them: the few settings that have since moved to another table or changed their form."""

from __future__ import annotations

from typing import Any

MOVED = {
    ("evaluation", "batch_size"): ("decoding", "decode_batch_size"),
    ("evaluation", "compile"): ("decoding", "compile_decoding"),
}
"""Where each setting of an earlier version is now: table and name."""


def in_todays_words(source: dict[str, Any]) -> dict[str, Any]:
    """The content of a preset's TOML file with the settings of today. What is spelt in both ways stays, and is refused.

    A number of probe seeds, `seeds = 3`, is the list of so many, [0, 1, 2].
    """
    tables = {key: dict(value) if isinstance(value, dict) else value for key, value in source.items()}
    for (old_table, old), (table, name) in MOVED.items():
        there, place = tables.get(old_table), tables.get(table, {})
        if isinstance(there, dict) and old in there and isinstance(place, dict) and name not in place:
            tables[table] = {**place, name: there.pop(old)}
    for table in ("probing", "closer"):
        probing = tables.get(table)
        if isinstance(probing, dict) and _counts(probing.get("seeds")):
            probing["seeds"] = list(range(probing["seeds"]))
    return tables


def _counts(seeds: Any) -> bool:
    return isinstance(seeds, int) and not isinstance(seeds, bool) and 1 <= seeds <= MOST_SEEDS


MOST_SEEDS = 1000
"""More than any grid of probes has: a greater number is a slip."""
