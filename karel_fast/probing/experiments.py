"""The grid of probes over one snapshot's hidden states, with its baselines and interventions.

Rows come from three disjoint sets of specifications: probes learn on train, choose their epoch on validation, are
reported on test. Under another semantics the *same* written programs are run again with actions performed
differently; the hidden states stay what they were. If a probe reads the altered states as well as the original ones,
it is the probe that computes them; the difference is what the model itself represents (Jin & Rinard, ICML 2024,
section 5).

Baselines: `majority` (in every record), shuffled labels, a control task (see `controls`), and the states of untrained
models on the same programs, all under every meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from karel_fast.karel.language.semantics import resolve_semantics
from karel_fast.probing.clusters import cluster_sums, write_clusters
from karel_fast.probing.controls import control_tasks, forms_of, on_its_side, shuffled_tasks
from karel_fast.probing.differences import differences as differences
from karel_fast.probing.differences import differences_in_differences
from karel_fast.probing.features import Setting, TraceArrays, label_set, resolve_feature
from karel_fast.probing.measures import measures
from karel_fast.probing.pieces import Piece, PieceStore, Trained, joined_pieces, pieces_of
from karel_fast.probing.places import place_sums
from karel_fast.probing.probes.storage import write_probes
from karel_fast.probing.probes.training import TEST, TRAIN, VALIDATION, ProbeResult, Task, train_probes
from karel_fast.probing.settings import PROBE_SPLITS as PROBE_SPLITS
from karel_fast.probing.settings import Grid as Grid
from karel_fast.probing.settings import ProbeConfig
from karel_fast.probing.table import HiddenTable
from karel_fast.support.checks import InputError

if TYPE_CHECKING:
    from karel_fast.karel.world import Worlds

FORMAT = 2
_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}

Tracer = Callable[[np.ndarray, np.ndarray, Any, Any], TraceArrays]
"""(actions (n, L) padded with 255, lengths (n,), worlds of n * E, semantics) -> a trace."""


@dataclass(frozen=True)
class Split:
    """A table of hidden states and the input worlds its programs are run on: n * E, example-minor."""

    table: HiddenTable
    inputs: Worlds


def trace_programs(actions: np.ndarray, lengths: np.ndarray, worlds: Any, semantics: Any) -> TraceArrays:
    """Run written programs under a semantics and keep every state (`karel_fast.trace`).

    semantics: what `karel_fast.trace` takes, or pairs like "move>turn_left+turn_left>move" (written>performed).
    """
    from karel_fast.karel.execution import trace
    from karel_fast.karel.language import CompiledPrograms

    return trace(CompiledPrograms.from_actions(actions, lengths), worlds, semantics=resolve_semantics(semantics))


@dataclass(frozen=True)
class Rows:
    """The rows of one split that an experiment uses: their place in the table, and labels by (semantics, offset,
    feature).
    """

    rows: np.ndarray
    sample: np.ndarray
    action: np.ndarray
    labels: Mapping[tuple[str, int, str], np.ndarray]  # each (rows, E, heads)
    stopped: int  # runs that a limit or a crash ended early


def setting_of(split: Split) -> Setting:
    """What decides the classes of its labels: the worlds' size, and the most actions of a program."""
    return Setting(split.inputs.height, split.inputs.width, split.table.max_actions)


def gather_rows(split: Split, grid: Grid, name: str, most: int, tracer: Tracer = trace_programs) -> Rows:
    """Choose rows of the split `name` and label them for every semantics, offset and feature of the grid.

    Whole programs are drawn in an order that depends on the table's size only, until `most` rows are reached; rows
    that no label falls on are left out.
    """
    table, setting = split.table, setting_of(split)
    if grid.unfinished and not table.unfinished and not table.finished.all():
        raise ValueError(
            f"{table.directory} keeps no states of unfinished programs; fill a table with unfinished=True, or leave out "
            "the grid's unfinished"
        )
    wanted = (table.kept if grid.unfinished else table.finished).copy()
    if grid.outcome != "all":
        wanted &= table.correct if grid.outcome == "correct" else ~table.correct
    wanted &= table.lengths > 0
    if grid.split_by == "program":
        wanted &= on_its_side(table.actions, name)
    all_examples = len(split.inputs) // max(1, table.programs)
    examples = min(1, all_examples) if grid.worlds == "first" else all_examples
    order = np.random.default_rng(0).permutation(table.programs)
    order = order[wanted[order]]
    # A program of L actions has about L - 1 usable rows; a third more than needed are traced and the surplus cut.
    enough = int(np.searchsorted(np.cumsum(np.maximum(table.lengths[order] - 1, 1)), most * 4 // 3 + 1)) + 1
    chosen = np.sort(order[:enough])
    labels: dict[tuple[str, int, str], np.ndarray] = {}
    if len(chosen) == 0:
        none = np.empty(0, np.int64)
        for feature in grid.features:
            shape = (0, max(1, examples), len(resolve_feature(feature).heads))
            labels |= {(s, o, feature): np.empty(shape, np.int8) for s in grid.semantics for o in grid.offsets}
        return Rows(none, none, none, labels, 0)
    lengths = table.lengths[chosen]
    runs = (chosen[:, None] * all_examples + np.arange(examples)).ravel()
    worlds = split.inputs[runs]
    actions = np.ascontiguousarray(table.actions[chosen])
    local_sample, action = np.nonzero(np.arange(table.max_actions) < lengths[:, None])
    stopped = 0
    for semantics in grid.semantics:
        trace = tracer(actions, lengths, worlds, semantics)
        stopped += int((np.asarray(trace.steps) != np.repeat(lengths, examples)).sum())
        for offset in grid.offsets:
            labels_by_feature = label_set(
                trace,
                grid.features,
                offset,
                lengths=lengths,
                setting=setting,
                first_state=grid.first_state,
                last_state=grid.last_state,
            )
            for feature, values in labels_by_feature.items():
                labels[semantics, offset, feature] = values[local_sample, action]
    useful = np.zeros(len(action), bool)
    for values in labels.values():
        useful |= (values >= 0).any((1, 2))
    if name in grid.actions:
        useful &= np.isin(action, grid.actions[name])
    keep = np.flatnonzero(useful)
    if len(keep) > most:
        keep = np.sort(np.random.default_rng(1).permutation(keep)[:most])
    sample = chosen[local_sample[keep]]
    return Rows(
        rows=table.first_row[sample] + action[keep],
        sample=sample,
        action=action[keep],
        labels={k: v[keep] for k, v in labels.items()},
        stopped=stopped,
    )


@dataclass(frozen=True)
class Prepared:
    """Everything of an experiment but the training.

    models: tables of the trained model and of each untrained one. tasks: what is read of each, controls last and of the
    trained model's states only.
    """

    models: tuple[Mapping[str, Split], ...]
    grid: Grid
    gathered: Mapping[str, Rows]
    parts: np.ndarray
    tasks: tuple[Sequence[Task], ...]
    layers: list[int | str]
    test_programs: np.ndarray  # (test rows, L)
    test_after: np.ndarray  # (test rows,) actions of the program after the row's

    def pieces(self, divided: bool) -> list[Piece]:
        """All of its work, see `karel_fast.probing.pieces`."""
        keys = [[task.key for task in tasks] for tasks in self.tasks]
        probes = len(self.grid.depths) * len(self.grid.seeds)
        return list(pieces_of(keys, len(self.layers), probes, divided))


def prepare(
    splits: Mapping[str, Split],
    grid: Grid,
    untrained: Sequence[Mapping[str, Split]] = (),
    tracer: Tracer = trace_programs,
) -> Prepared:
    """Choose the rows, run the programs under every meaning and label them. Raises ValueError, see `run_experiment`."""
    for name in PROBE_SPLITS:
        if name not in splits:
            raise ValueError(f"an experiment needs the splits {', '.join(PROBE_SPLITS)}; {name} is missing")
    layers = list(splits["train"].table.layers)
    for name, split in splits.items():
        if list(split.table.layers) != layers:
            raise ValueError(f"the {name} table holds layers {list(split.table.layers)}, the train table {layers}")

    gathered = {name: gather_rows(splits[name], grid, name, grid.max_rows[name], tracer) for name in PROBE_SPLITS}
    parts = np.concatenate([np.full(len(gathered[name].rows), _PARTS[name]) for name in PROBE_SPLITS])
    setting = setting_of(splits["train"])
    tasks = _tasks(grid, gathered, setting)
    controls: list[Task] = []
    if grid.shuffled:
        controls += shuffled_tasks(tasks, parts)
    if grid.control_task:
        forms = [
            forms_of(splits[name].table.actions, gathered[name].sample, gathered[name].action) for name in PROBE_SPLITS
        ]
        controls += control_tasks(tasks, parts, np.concatenate(forms))
    test, test_rows = splits["test"].table, gathered["test"]
    return Prepared(
        models=(splits, *untrained),
        grid=grid,
        gathered=gathered,
        parts=parts,
        tasks=([*tasks, *controls], *([tasks] * len(untrained))),
        layers=layers,
        test_programs=test.actions[test_rows.sample],
        test_after=test.lengths[test_rows.sample] - 1 - test_rows.action,
    )


def train_piece(
    prepared: Prepared,
    piece: Piece,
    config: ProbeConfig,
    device: str = "cpu",
    progress: Callable[[int], None] | None = None,
    keep_weights: bool = False,
) -> Trained:
    """Train the probes of one piece."""
    tasks = [prepared.tasks[piece.model][i] for i in piece.tasks]
    layer = prepared.layers[piece.layer]
    results = _train(
        prepared.models[piece.model], prepared.gathered, layer, tasks, prepared.parts, prepared.grid, config, device, progress,
        seeds_together=piece.divided, keep_weights=keep_weights,
    )  # fmt: skip
    kind = {"states": "untrained", "initialisation": piece.model - 1} if piece.model else {"states": "trained"}
    records = [record_of(result, layer=layer, **kind) for result in results]
    places = place_sums([result.tally for result in results], prepared.gathered["test"].action, prepared.test_after)
    weights = [result.weights for result in results] if keep_weights else ()
    return Trained(records, cluster_sums(results, prepared.test_programs), places, weights)


def run_experiment(
    splits: Mapping[str, Split],
    grid: Grid,
    *,
    config: ProbeConfig | None = None,
    device: str = "cpu",
    untrained: Sequence[Mapping[str, Split]] = (),
    clusters: Path | None = None,
    probes: Path | None = None,
    tracer: Tracer = trace_programs,
    progress: Callable[[int], None] | None = None,
    store: PieceStore | None = None,
) -> dict[str, Any]:
    """Train the whole grid; returns what a run folder's probing file holds (JSON values, no NaN).

    splits: train, validation and test. untrained: for each untrained model, tables of the same programs with its states,
    in the same order. records: one per probe, with labels "true", "shuffled" or "control", states "trained" or
    "untrained", and the untrained model's number as `initialisation`. differences, differences_in_differences: see
    `karel_fast.probing.differences`. notes: what could not be done, and why. clusters: also write the sums per test
    program and per place in a program there (NumPy's .npz), from which other intervals and measures can be made.
    probes: also write the probes' weights there (`karel_fast.probing.probes.storage`).
    store: keep every piece there as soon as it is trained, and train no piece that it holds.
    Raises ValueError for a missing split or layer, tables that do not fit together, or probes with a store, which keeps no weights.
    """
    config = config or ProbeConfig()
    if probes is not None and store is not None:
        raise InputError("the pieces of a grid keep no weights of probes: leave out pieces, or save_probes")
    prepared = prepare(splits, grid, untrained, tracer)
    done = []
    for piece in prepared.pieces(divided=store is not None):
        trained = store.get(piece.number, len(piece.records)) if store else None
        if trained is None:
            trained = train_piece(prepared, piece, config, device, progress, keep_weights=probes is not None)
            if store:
                store.put(piece.number, trained)
        elif progress:
            progress(len(trained.records))
        done.append((piece, trained))
    whole = joined_pieces(done)
    if clusters is not None:
        write_clusters(clusters, whole.clusters, whole.places)
    if probes is not None:
        write_probes(probes, whole.records, whole.weights)
    gathered = prepared.gathered
    return {
        "format": FORMAT,
        "grid": grid.to_json(),
        "config": config.to_json(),
        "layers": prepared.layers,
        "rows": {name: len(gathered[name].rows) for name in PROBE_SPLITS},
        "programs": {name: len(np.unique(gathered[name].sample)) for name in PROBE_SPLITS},
        "records": whole.records,
        "differences": differences(whole.records, whole.clusters),
        "differences_in_differences": differences_in_differences(whole.records, whole.clusters),
        "notes": _notes(splits, gathered, grid, whole.records),
    }


def joined(
    splits: Mapping[str, Split], rows: Mapping[str, Rows], layer: int | str, grid: Grid
) -> tuple[np.ndarray, np.ndarray, list[Task]]:
    """What `train_probes` takes: the states of one layer, the parts of their rows, and the grid's tasks."""
    parts = np.concatenate([np.full(len(rows[name].rows), _PARTS[name]) for name in PROBE_SPLITS])
    states = np.concatenate(
        [splits[name].table.hidden(rows[name].rows, splits[name].table.layers.index(layer)) for name in PROBE_SPLITS]
    )
    return states, parts, _tasks(grid, rows, setting_of(splits["train"]))


def _tasks(grid: Grid, gathered: Mapping[str, Rows], setting: Setting) -> list[Task]:
    tasks = []
    for semantics in grid.semantics:
        for offset in grid.offsets:
            for name in grid.features:
                joined = np.concatenate([gathered[split].labels[semantics, offset, name] for split in PROBE_SPLITS])
                key = {"feature": name, "offset": offset, "semantics": semantics, "labels": "true"}
                tasks.append(Task(key, joined, resolve_feature(name).classes(setting)))
    return tasks


def _train(
    splits: Mapping[str, Split],
    gathered: Mapping[str, Rows],
    layer: int | str,
    tasks: Sequence[Task],
    parts: np.ndarray,
    grid: Grid,
    config: ProbeConfig,
    device: str,
    progress: Callable[[int], None] | None,
    seeds_together: bool,
    keep_weights: bool,
) -> list[ProbeResult]:
    for name in PROBE_SPLITS:
        if splits[name].table.rows < (gathered[name].rows.max(initial=-1) + 1):
            raise ValueError(f"the untrained model's {name} table does not hold the same programs")
    states = np.concatenate(
        [
            splits[name].table.hidden(gathered[name].rows, splits[name].table.layers.index(layer))
            for name in PROBE_SPLITS
        ]
    )
    return train_probes(
        states,
        tasks,
        parts,
        depths=grid.depths,
        seeds=grid.seeds,
        config=config,
        device=device,
        keep_tallies=True,
        keep_weights=keep_weights,
        seeds_together=seeds_together,
        progress=progress,
    )


def record_of(result: ProbeResult, **extra: object) -> dict[str, Any]:
    """A probe's result as JSON values, with the measures that `karel_fast.probing.measures` defines."""
    on_test = {} if result.best_on_test is None else {"best_on_test": result.best_on_test}
    return {
        **result.key,
        **extra,
        "depth": result.depth,
        "seed": result.seed,
        "accuracy": result.accuracy,
        **on_test,
        "joint": result.joint,
        "validation": result.validation,
        "majority": result.majority,
        "entropy": result.entropy,
        "cross_entropy": result.cross_entropy,
        "temperature": result.temperature,
        **measures(result.accuracy, result.majority, result.entropy, result.cross_entropy),
        "epoch": result.epoch,
        "train_rows": result.rows[0],
        "test_rows": result.rows[2],
        "note": result.note,
    }


def _notes(
    splits: Mapping[str, Split], gathered: Mapping[str, Rows], grid: Grid, records: Sequence[Mapping[str, Any]]
) -> list[str]:
    notes = []
    for name in PROBE_SPLITS:
        table, rows = splits[name].table, gathered[name]
        unfinished = int((~table.finished).sum())
        if not table.correct.any():
            notes.append(f"{name}: the snapshot wrote no correct program")
        if unfinished and not grid.unfinished:
            notes.append(
                f"{name}: {unfinished} of {table.programs} programs were cut off at the length limit and left out"
            )
        if rows.stopped:
            notes.append(
                f"{name}: {rows.stopped} runs stopped before their program's end; states after that are masked"
            )
        lengths = np.unique(table.lengths[table.kept if grid.unfinished else table.finished])
        if len(lengths) == 1:
            notes.append(
                f"{name}: every program has {lengths[0]} actions, so position in the program says all about its end"
            )
        if len(rows.rows) == 0:
            among = f" among {grid.outcome} programs" if grid.outcome != "all" else ""
            at = f" at actions {', '.join(map(str, grid.actions[name]))} (from 0)" if name in grid.actions else ""
            notes.append(f"{name}: no row has a label{among}{at}")
    label_notes = {
        f"{r['feature']} at offset {r['offset']:+d}, {r['semantics']}: {r['note']}" for r in records if r["note"]
    }
    return notes + sorted(label_notes)
