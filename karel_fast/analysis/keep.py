"""The results of a run that are worth keeping beside the code, small enough for git."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from karel_fast.analysis.by_place import places_of
from karel_fast.analysis.mapping_rank import ranks_of
from karel_fast.analysis.series import Run, mean, mean_of, number
from karel_fast.analysis.stored_measures import MEASURES, differences_of, doubled_of
from karel_fast.runs.folder import RunFolder
from karel_fast.support.files import write_bytes, write_text

MOST_BYTES = 1_500_000
_OTHER_FORM = {".png": ".svg", ".svg": ".png"}
_MEASURES = ("lift", "normalised", "entropy", "bits", "bits_share")
_CELL = ("feature", "depth", "layer", "offset", "semantics", "labels", "states")


def keep_results(run_directory: str | Path, directory: str | Path) -> Path:
    """Copy a run's small results to `directory`, replacing those of the same names; returns it.

    config.json and summary.json as they are; metrics.json with the evaluation, probe scores, intervention differences
    and steering of every snapshot, the published grids (differences in differences of lift), the rank among all mappings and the
    latent grid; each figure as PNG, or as SVG where that is smaller. Probe scores are means over seeds with the lowest and
    the highest seed; tables are {"columns": [..], "rows": [[..]]}, with four digits a number.

    Raises ValueError when the run has no report yet, or when they are together larger than MOST_BYTES.
    """
    folder = RunFolder(run_directory)
    figures = [
        min(path, path.with_suffix(".svg"), key=lambda p: p.stat().st_size)
        for path in sorted(folder.figures.glob("*.png"))
    ]
    if not folder.summary.exists() or not figures:
        raise ValueError(f"{folder.path} has no report yet: make it first (karel-fast report)")
    text = json.dumps(kept_metrics(Run.read(folder)), separators=(",", ":")) + "\n"
    copied = [path for path in (folder.settings, folder.summary, *figures) if path.exists()]
    size = len(text) + sum(path.stat().st_size for path in copied)
    if size > MOST_BYTES:
        raise ValueError(f"the results are {size:,} bytes, more than {MOST_BYTES:,}: too large to keep beside code")
    directory = Path(directory)
    for path in copied:
        write_bytes(directory / path.name, path.read_bytes())
        if path.suffix in _OTHER_FORM:  # that an earlier call kept
            (directory / path.with_suffix(_OTHER_FORM[path.suffix]).name).unlink(missing_ok=True)
    write_text(directory / "metrics.json", text)
    return directory


def kept_metrics(run: Run) -> dict[str, Any]:
    """What metrics.json holds."""
    return {
        "evaluation": _table([{k: v for k, v in one.items() if k != "settings"} for one in run.evaluation.values()]),
        "probing": _probing(run),
        "closer": _probing(run.closest) if run.closer else [],
        "paper": {kind: _probing(run.reading(kind), (), ("lift",)) for kind in run.paper},
        "by_place": _table(places_of(run)),
        "rank": _table([rank.to_json() for stored in run.rank.values() for rank in ranks_of(stored)]),
        "latent_grid": [
            {"step": step, "notes": grid.get("notes", []), "rows": _table(grid.get("rows", []))}
            for step, grid in run.latent_grid.items()
        ],
        "steering": kept_edits(run),
    }


def kept_edits(run: Run) -> list[dict[str, Any]]:
    """What `karel-fast steer` found of every snapshot, small enough for git: metrics.json has it, and edits.json alone."""
    return [
        {
            "step": step,
            **{name: stored.get(name) for name in ("experiment", "sites", "solved", "notes")},
            "records": _table(stored.get("records", [])),
        }
        for step, stored in run.steering.items()
    ]


def _probing(run: Run, measures: Sequence[str] = MEASURES, doubled: Sequence[str] = MEASURES) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "probes": _table(_over_seeds(run.records(step))),
            "differences": _table([d for m in measures for d in differences_of(run, step, m)]),
            "differences_in_differences": _table([d for m in doubled for d in doubled_of(run, step, m)]),
            "notes": probing.get("notes", []),
        }
        for step, probing in run.probing.items()
    ]


def _over_seeds(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    cells: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for record in records:
        cells.setdefault(tuple(record[name] for name in _CELL), []).append(record)
    rows = []
    for key, members in cells.items():
        accuracy = [value for record in members if (value := number(record["accuracy"])) is not None]
        majority = [value for record in members if (value := number(record.get("majority"))) is not None]
        row = {
            **dict(zip(_CELL, key, strict=True)),
            "accuracy": mean(accuracy),
            "lowest": min(accuracy, default=None),
            "highest": max(accuracy, default=None),
            "majority": mean(majority),
            **{name: mean_of(members, name) for name in _MEASURES},
            "seeds": len(accuracy),
        }
        rows.append(row)
    return rows


def _table(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Records with the same keys as columns and rows: the keys are written once."""
    columns = list(dict.fromkeys(key for record in records for key in record))
    return {"columns": columns, "rows": [[_short(record.get(key)) for key in columns] for record in records]}


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return [_short(inner) for inner in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
