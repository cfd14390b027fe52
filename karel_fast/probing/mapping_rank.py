"""A snapshot probed under every bijective mapping of the actions: is the meaning of training the one that is read best?

Two mappings that give every state of every program the same labels are one *labeling* and are probed once. Which do is found
by comparing the labels, feature by feature: the direction depends only on which actions turn, so 120 mappings of five actions
are 20 labelings.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from karel_fast.data import Recipe
from karel_fast.karel.language import Semantics
from karel_fast.karel.language.semantics import resolve_semantics
from karel_fast.karel.language.vocabulary import ACTION_NAMES
from karel_fast.probing.experiments import Split, gather_rows, joined, record_of
from karel_fast.probing.pieces import is_finished, remove_pieces
from karel_fast.probing.probes.training import train_probes
from karel_fast.probing.rank_settings import RankRun
from karel_fast.probing.settings import PROBE_SPLITS, Grid, ProbeConfig
from karel_fast.probing.snapshot import write_tables
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.side_by_side import home
from karel_fast.runs.snapshots import read_card, weights_digest
from karel_fast.support.files import write_json
from karel_fast.support.locks import alone
from karel_fast.support.stored import stored

KIND = "rank"
_AT_ONCE = 24
"""Meanings whose labels are held in memory together while they are compared."""


def bijective_mappings() -> list[str]:
    """Every bijective mapping of the actions, as `resolve_semantics` reads it; the one that changes nothing is first."""
    return [
        "+".join(f"{written}>{performed}" for written, performed in zip(ACTION_NAMES, chosen, strict=True) if written != performed)
        or "identity"
        for chosen in itertools.permutations(ACTION_NAMES)
    ]  # fmt: skip


def name_of(semantics: Semantics) -> str:
    """The name that `bijective_mappings` gives a meaning. Raises ValueError for one that is no bijection."""
    performed = semantics.table.tolist()
    if sorted(performed) != list(range(len(ACTION_NAMES))):
        raise ValueError(
            f"the run was trained under {semantics.name}, in which two written actions perform the same one; "
            "it is none of the bijective mappings, so it has no rank among them"
        )
    return next(name for name in bijective_mappings() if resolve_semantics(name) == semantics)


def labelings_of(splits: Mapping[str, Split], rank_run: RankRun, feature: str, own: str) -> list[list[str]]:
    """The mappings grouped by the labels they give the rows of all splits at all offsets; the group of `own` is first."""
    groups: dict[bytes, list[str]] = {}
    mappings = bijective_mappings()
    for begin in range(0, len(mappings), _AT_ONCE):
        names = tuple(mappings[begin : begin + _AT_ONCE])
        grid = rank_run.grid(names, (feature,))
        digests = {name: hashlib.sha256() for name in names}
        for split in PROBE_SPLITS:
            rows = gather_rows(splits[split], grid, split, grid.max_rows[split])
            for (name, _, _), labels in rows.labels.items():
                digests[name].update(labels.tobytes())
        for name in names:
            groups.setdefault(digests[name].digest(), []).append(name)
    return sorted(groups.values(), key=lambda names: own not in names)


def rank_snapshot(
    run: str | Path,
    snapshot: str | Path,
    rank_run: RankRun,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch_size: int = 256,
    compile_model: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Probe the snapshot and untrained models under every mapping, write RUN/rank/step-*.json; returns that file.

    labelings: per feature the mappings of each, the one with the run's own meaning first. records: as those of
    `karel_fast.probing.experiments`, their `semantics` the labeling's first mapping. Pieces are kept until all are there, so a killed
    call goes on. progress is called with (stage, done, of how many). Raises ValueError for a run whose meaning is no bijection.
    """
    folder = RunFolder(run)
    card = read_card(snapshot)
    step = int(card["step"])
    place = home(folder, KIND, step, {"experiment": rank_run.to_json()})
    target = folder.file(place, step)
    identity = {"experiment": rank_run.to_json(), "weights": weights_digest(snapshot)}
    if is_finished(folder, place, step, identity):
        return target
    with alone(target):
        own = name_of(Recipe.from_json(card["recipe"]).semantics)
        written = write_tables(
            run,
            snapshot,
            rank_run.probe_run(),
            device=device,
            dtype=dtype,
            batch_size=batch_size,
            compile_model=compile_model,
            progress=progress,
        )
        splits = written.splits
        tables: list[tuple[dict[str, Any], dict[str, Split]]] = [({"states": "trained"}, splits)]
        tables += [({"states": "untrained", "initialisation": i}, held) for i, held in enumerate(written.untrained)]
        labelings = {feature: labelings_of(splits, rank_run, feature, own) for feature in rank_run.features}

        count = len(rank_run.depths) * len(rank_run.offsets) * len(rank_run.seeds) * len(tables)
        total, done = count * sum(map(len, labelings.values())), 0

        def advance(probes: int) -> None:
            nonlocal done
            done += probes
            if progress:
                progress("train probes", done, total)

        pieces = folder.pieces(place, step)
        records: list[dict[str, Any]] = []
        for feature, groups in labelings.items():
            for begin in range(0, len(groups), rank_run.labelings_at_once):
                names = tuple(group[0] for group in groups[begin : begin + rank_run.labelings_at_once])
                for kind, held in tables:
                    piece = stored(
                        pieces / f"{feature}-{begin:03d}-{'-'.join(map(str, kind.values()))}.json",
                        {**identity, "labelings": names, "device": device, "dtype": str(dtype)},
                        partial(_piece, kind, splits, held, rank_run.grid(names, (feature,)), rank_run.config, device),
                    )
                    records += piece["records"]
                    advance(len(piece["records"]))
        write_json(target, {"step": step, **identity, "own": own, "labelings": labelings, "records": records})
        remove_pieces(pieces)
        return target


def _piece(
    kind: Mapping[str, Any],
    splits: Mapping[str, Split],
    held: Mapping[str, Split],
    grid: Grid,
    config: ProbeConfig,
    device: str,
) -> dict[str, Any]:
    """The records of some labelings of one feature: labels of the programs in `splits`, states in `held`."""
    rows = {name: gather_rows(splits[name], grid, name, grid.max_rows[name]) for name in PROBE_SPLITS}
    states, parts, tasks = joined(held, rows, "mean", grid)
    results = train_probes(states, tasks, parts, depths=grid.depths, seeds=grid.seeds, config=config, device=device)
    return {"records": [record_of(result, layer="mean", **kind) for result in results]}
