"""What a run's probes read under two meanings: the cells of a crossover."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from karel_fast.analysis.series import Run, mean_of
from karel_fast.karel.language import NAMED_SEMANTICS, Semantics
from karel_fast.karel.language.semantics import resolve_semantics
from karel_fast.karel.language.vocabulary import ACTION_NAMES
from karel_fast.probing.measures import MEASURES
from karel_fast.runs.folder import PAPER
from karel_fast.support.checks import InputError, one_of

GAIN = "gain"
"""Lift minus that of the untrained models under the same meaning."""

READINGS = ("probing", *PAPER, "latent-grid")
"""Whose probes: those of the run (of the closest look that has both meanings), the published grid's, or those of the grid of
latent causal probing."""

Key = tuple[str, str, int, str]
"""Feature, depth, offset (tokens, in the grid of latent causal probing) and measure."""

Cells = dict[Key, tuple[float, float]]
"""Read under the first meaning, and under the second."""


def cells_of(run: Run, own: Semantics, a: Semantics, b: Semantics, readings: str = "probing") -> Cells:
    """Means over probe seeds of the last probed snapshot; of the grid of latent causal probing also over what was withheld and the
    sets of actions that were learnt on.

    own: what the run was trained on, which its files call "original". readings: one of `READINGS`. Measures: those of
    `probing.measures.MEASURES` (in the grid of latent causal probing lift alone, at places that probes did not learn on), and
    `GAIN` where untrained states were probed too. Raises InputError, naming the run, where one of the meanings was not probed.
    """
    one_of("readings", readings, READINGS)
    seen: set[Semantics | None] = set()
    out: Cells = {}
    probed_alike = False
    for records in _tables(run, readings):
        meanings = {name: own if name == "original" else _resolved(name) for name in {r["semantics"] for r in records}}
        seen |= set(meanings.values())
        by_cell: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
        for record in records:
            meaning = meanings[record["semantics"]]
            if meaning in (a, b):
                place = (record["feature"], record["depth"], record["offset"], record["states"])
                by_cell.setdefault((*place, meaning == a), []).append(record)
        for feature, depth, offset in dict.fromkeys(key[:3] for key in by_cell):
            trained, untrained = (
                [by_cell.get((feature, depth, offset, states, is_a), []) for is_a in (True, False)]
                for states in ("trained", "untrained")
            )
            probed_alike |= all(trained)
            for measure in MEASURES:
                _put(out, (feature, depth, offset, measure), [mean_of(cell, measure) for cell in trained])
            gains = [_difference(*pair) for pair in zip(trained, untrained, strict=True)]
            _put(out, (feature, depth, offset, GAIN), gains)
    if not out:
        raise InputError(_unprobed(run, own, (a, b), seen, readings, probed_alike))
    return out


def last_step(run: Run, readings: str) -> int | None:
    """The snapshot whose probes `cells_of` takes first; None without any."""
    if readings == "latent-grid":
        return max(run.latent_grid, default=None)
    probed = [look.probed[-1] for look in _looks(run, readings) if look.probed]
    return probed[0] if probed else None


def text_of(meaning: Semantics) -> str:
    """A meaning as --semantics takes it in any run: a name, or pairs."""
    if meaning == NAMED_SEMANTICS["identity"]:
        return "identity"
    named = next((name for name, known in NAMED_SEMANTICS.items() if known == meaning), None)
    pairs = zip(ACTION_NAMES, meaning.table.tolist(), strict=True)
    return named or "+".join(f"{w}>{ACTION_NAMES[code]}" for w, code in pairs if ACTION_NAMES[code] != w)


def _tables(run: Run, readings: str) -> Iterable[list[Mapping[str, Any]]]:
    """Probe records of the last probed snapshot, the closest look's first."""
    if readings == "latent-grid":
        for grid in list(run.latent_grid.values())[-1:]:
            yield [
                {**row, "offset": row["tokens"], "lift": lift}
                for row in grid["rows"]
                for lift in row["unseen"]
                if lift is not None
            ]
        return
    for look in _looks(run, readings):
        if look.probed:
            yield [record for record in look.records(look.probed[-1]) if record["labels"] == "true"]


def _looks(run: Run, readings: str) -> list[Run]:
    if readings in PAPER:
        return [run.reading(readings)] if readings in run.paper else []
    return [run.closest, run]


def _unprobed(
    run: Run,
    own: Semantics,
    wanted: Sequence[Semantics],
    seen: set[Semantics | None],
    readings: str,
    probed_alike: bool,
) -> str:
    missing = next((meaning for meaning in wanted if meaning not in seen), None)
    if missing is None and probed_alike:
        return (
            f"{run.name} was probed under both meanings, but none of its probes has a number: its programs gave too few rows. Probe it "
            "with the unfinished ones too (--unfinished; in a preset probing.unfinished=true), or a later snapshot"
        )
    if missing is None:
        return f"{run.name} has no feature, depth and offset that was probed under both meanings"
    names = ",".join("original" if meaning == own else text_of(meaning) for meaning in wanted)
    place = run.folder.path if run.folder is not None else run.name
    commands = {"probing": "probe", "latent-grid": "latent"}
    command = commands.get(readings, f"probe --protocol {readings}")
    return (
        f"{run.name} was not probed under {text_of(missing)}: karel-fast {command} {place} --semantics {names}; where it says that its "
        "results stand beside the run's own, --settings names them"
    )


def _put(out: Cells, key: Key, values: Sequence[float | None]) -> None:
    first, second = values
    if first is not None and second is not None:
        out.setdefault(key, (first, second))


def _resolved(name: str) -> Semantics | None:
    try:
        return resolve_semantics(name)
    except ValueError:
        return None


def _difference(trained: Sequence[Mapping[str, Any]], untrained: Sequence[Mapping[str, Any]]) -> float | None:
    lifts = mean_of(trained, "lift"), mean_of(untrained, "lift")
    return None if lifts[0] is None or lifts[1] is None else lifts[0] - lifts[1]
