"""Probing one snapshot of a run from beginning to end: its tables, the grid of probes, and examples for the report.

Each snapshot is a task of its own that writes its own files, so tasks may run in any order, in any process, anywhere
that sees the run folder, and give the same results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from karel_fast.data import Recipe, Samples, generate, import_for
from karel_fast.data.tokens.interpreter import program_tokenizer
from karel_fast.model import Transformer
from karel_fast.probing.ceilings import POOL_WORLDS, ceilings_of_rows, share_of_wrong
from karel_fast.probing.examples import describe_examples
from karel_fast.probing.experiments import (
    Split,
    gather_rows,
    prepare,
    run_experiment,
    trace_programs,
    train_piece,
)
from karel_fast.probing.measures import ceiling_measures
from karel_fast.probing.pieces import PieceStore, remove_pieces
from karel_fast.probing.settings import PROBE_SPLITS, Layers
from karel_fast.probing.settings import ProbeRun as ProbeRun
from karel_fast.probing.states import SPLIT_NAMES, of_stage, write_table
from karel_fast.probing.untrained import untrained_model, untrained_seed
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.side_by_side import examples_place, home, make_room
from karel_fast.runs.snapshots import open_snapshot, read_card, snapshot_path, weights_digest
from karel_fast.support.checks import InputError
from karel_fast.support.checksums import FILES, sums_of
from karel_fast.support.files import read_json_if_whole, remove_temporaries, write_json
from karel_fast.support.locks import alone


def is_done(run: str | Path, step: int, probe_run: ProbeRun, *, own: bool = False) -> bool:
    """Whether the snapshot has been probed with exactly these settings on the weights that it has now; own: as for `probe_snapshot`."""
    folder = RunFolder(run)
    stored = read_json_if_whole(folder.file(_home(folder, step, probe_run, own), step)) or {}
    weights = weights_digest(snapshot_path(run, step))
    return (stored.get("experiment"), stored.get("weights")) == (probe_run.to_json(), weights)


def _home(folder: RunFolder, step: int, probe_run: ProbeRun, own: bool = False) -> str:
    return probe_run.kind if own else home(folder, probe_run.kind, step, {"experiment": probe_run.to_json()})


@dataclass(frozen=True)
class Tables:
    """A snapshot's states, and those of untrained models on the same programs, with what they are of."""

    recipe: Recipe
    splits: dict[str, Split]
    untrained: list[dict[str, Split]]

    def tracer(self, actions: Any, lengths: Any, worlds: Any, semantics: str) -> Any:
        """The meaning the data was made with is the original one of this run."""
        return trace_programs(actions, lengths, worlds, self.recipe.meaning(semantics))


def write_tables(
    run: str | Path,
    snapshot: str | Path,
    probe_run: ProbeRun,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch_size: int = 256,
    compile_model: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> Tables:
    """Fill the tables that an experiment needs, or go on with them; see `probe_snapshot`."""
    folder = RunFolder(run)
    card = read_card(snapshot)
    step = int(card["step"])
    if not card.get("recipe"):
        raise ValueError(f"{snapshot} does not say what it was trained on; train with a recipe to probe it")
    trained_on = Recipe.from_json(card["recipe"])
    model = open_snapshot(snapshot, program_tokenizer(trained_on, card["layout"])).to(device).eval()
    recipe = trained_on.with_shortest(probe_run.shortest)
    tokenizer = program_tokenizer(recipe, card["layout"])
    layers: Layers = list(range(model.states)) if probe_run.layers == "all" else probe_run.layers

    def tables(
        model: Transformer,
        source: str,
        written_splits: dict[str, Split] | None = None,
        initialisation: int | None = None,
    ) -> dict[str, Split]:
        splits = {}
        for split in PROBE_SPLITS:
            count = probe_run.programs[split]
            of_file = None if probe_run.specifications is None else samples_of(probe_run, recipe, split)
            stage = f"{'read' if written_splits else 'write'} {split} programs"
            table = write_table(
                folder.table(step, _table_name(probe_run, split, initialisation, dtype)),
                model,
                tokenizer,
                split,
                count,
                start=probe_run.first(split),
                layers=layers,
                source=source,
                specifications=of_file,
                programs=probe_run.programs_from,
                same_programs_as=written_splits[split].table if written_splits else None,
                withhold=probe_run.withhold,
                unfinished=probe_run.grid.unfinished,
                batch_size=batch_size,
                dtype=dtype,
                compile_model=compile_model,
                progress=of_stage(progress, stage, count),
            )
            inputs = written_splits[split].inputs if written_splits else samples_of(probe_run, recipe, split).shown()[0]
            splits[split] = Split(table, inputs)
        return splits

    source = _source(snapshot)
    if probe_run.specifications is not None:
        source += f", specifications {probe_run.specifications_digest}"
    splits = tables(model, source)
    untrained = []
    for number in range(probe_run.initialisations if probe_run.untrained else 0):
        told = f"untrained {untrained_seed(card, number)}, programs of {source}"
        untrained.append(tables(untrained_model(model, card, number), told, splits, number))
    return Tables(recipe, splits, untrained)


def probe_snapshot(
    run: str | Path,
    snapshot: str | Path,
    probe_run: ProbeRun,
    *,
    own: bool = False,
    save_probes: bool = False,
    device: str = "cpu",
    progress: Callable[[str, int, int], None] | None = None,
    **decoding: Any,
) -> Path:
    """Decode, probe, write RUN/probing/step-*.json (and examples); returns that file. Done already: nothing happens.

    Results of other settings stay, and these go beside them; own: these are the run's own settings, so the others are moved
    aside (see `karel_fast.runs.side_by_side`). save_probes: also write the probes' weights beside them (`kf.probing.load_probes`);
    where only these are missing, the probes are trained again.
    progress is called with (stage, done, of how many). decoding: dtype, batch_size, compile_model, as in `write_tables`.
    Tables are kept, and with `probe_run.pieces` every piece of the grid, so a killed run goes on from them.
    """
    folder = RunFolder(run)
    step = int(read_card(snapshot)["step"])
    place = _home(folder, step, probe_run, own)
    target = folder.file(place, step)
    if is_done(run, step, probe_run, own=own) and (not save_probes or folder.probes(place, step).is_file()):
        remove_pieces(folder.pieces(place, step))
        return target
    with alone(target):
        if own:
            make_room(folder, probe_run.kind, step, {"experiment": probe_run.to_json()}, examples=True)
        return _probe(folder, snapshot, probe_run, place, step, save_probes, device, progress, decoding)


def _probe(
    folder: RunFolder,
    snapshot: str | Path,
    probe_run: ProbeRun,
    place: str,
    step: int,
    save_probes: bool,
    device: str,
    progress: Callable[[str, int, int], None] | None,
    decoding: Mapping[str, Any],
) -> Path:
    run, target, probes = folder.path, folder.file(place, step), folder.probes(place, step)
    if not save_probes:
        probes.unlink(missing_ok=True)  # of weights that the snapshot no longer has
    tables = write_tables(run, snapshot, probe_run, device=device, progress=progress, **decoding)
    splits = tables.splits
    done = 0
    count = probe_run.grid.size(len(splits["train"].table.layers), len(tables.untrained))

    def advance(probes: int) -> None:
        nonlocal done
        done += probes
        if progress:
            progress("train probes", done, count)

    store = _pieces(folder, step, snapshot, probe_run, place) if probe_run.pieces else None
    result = run_experiment(
        splits,
        probe_run.grid,
        config=probe_run.config,
        device=device,
        untrained=tables.untrained,
        clusters=folder.sums(place, step),
        probes=probes if save_probes else None,
        tracer=tables.tracer,
        progress=advance,
        store=store,
    )
    if probe_run.ideal:
        add_ceilings(result, tables, probe_run)
    if probe_run.examples and probe_run.programs_from == "written":
        samples = samples_of(probe_run, tables.recipe, "test")
        depth = list(probe_run.grid.depths.items())[-1]
        examples = describe_examples(
            splits, samples, count=probe_run.examples, features=probe_run.grid.features, depth=depth, config=probe_run.config,
            device=device, tracer=tables.tracer,
        )  # fmt: skip
        shown = folder.file(examples_place(place, probe_run.kind), step)
        remove_temporaries(shown)
        write_json(shown, {"step": step, **examples})
    # Last, because this file says that the snapshot is done.
    beside = [folder.sums(place, step), *([probes] if save_probes else [])]
    files = sums_of(target.parent, [path.name for path in beside])
    stored = {"step": step, "experiment": probe_run.to_json(), "weights": weights_digest(snapshot), **result}
    write_json(target, {**stored, FILES: files})
    if store:
        store.clear()
    return target


def add_ceilings(result: dict[str, Any], tables: Tables, probe_run: ProbeRun) -> None:
    """Adds what ideal readers know to an experiment's records, or a note that says why not."""
    recipe, grid = tables.recipe, probe_run.grid
    if not recipe.straight_line:
        result["notes"].append(
            "no ceilings: the recipe has control flow, and only straight-line programs can be solved exactly"
        )
        return
    test = tables.splits["test"]
    rows = gather_rows(test, grid, "test", grid.max_rows["test"], tables.tracer)
    known, notes = ceilings_of_rows(
        samples_of(probe_run, recipe, "test"),
        specification_samples(recipe, "train", math.ceil(POOL_WORLDS / recipe.examples)),
        test.table,
        rows.sample,
        rows.action,
        rows.labels,
        last_state=grid.last_state,
        doubt=share_of_wrong(tables.splits["train"].table, grid.outcome),
    )
    result["notes"] += notes
    for record in result["records"]:
        key = (record["semantics"], record["offset"], record["feature"])
        if record["labels"] == "true" and key in known:
            record |= ceiling_measures(record, known[key])


def pieces_left(
    run: str | Path, snapshot: str | Path, probe_run: ProbeRun, *, device: str = "cpu", **decoding: Any
) -> list[int]:
    """Fill the tables of a snapshot, and say which pieces of its grid are not there yet."""
    tables = write_tables(run, snapshot, probe_run, device=device, **decoding)
    folder, step = RunFolder(run), int(read_card(snapshot)["step"])
    store = _pieces(folder, step, snapshot, probe_run, _home(folder, step, probe_run))
    pieces = prepare(tables.splits, probe_run.grid, tables.untrained, tables.tracer).pieces(divided=True)
    return [piece.number for piece in pieces if store.get(piece.number, len(piece.records)) is None]


def probe_piece(
    run: str | Path, snapshot: str | Path, probe_run: ProbeRun, number: int, *, device: str = "cpu", **decoding: Any
) -> None:
    """Train one piece of a snapshot's grid and keep it; `probe_snapshot` joins them."""
    tables = write_tables(run, snapshot, probe_run, device=device, **decoding)
    folder, step = RunFolder(run), int(read_card(snapshot)["step"])
    store = _pieces(folder, step, snapshot, probe_run, _home(folder, step, probe_run))
    prepared = prepare(tables.splits, probe_run.grid, tables.untrained, tables.tracer)
    store.put(number, train_piece(prepared, prepared.pieces(divided=True)[number], probe_run.config, device))


def _pieces(folder: RunFolder, step: int, snapshot: str | Path, probe_run: ProbeRun, place: str) -> PieceStore:
    identity = {"experiment": probe_run.to_json(), "weights": weights_digest(snapshot)}
    return PieceStore(folder.pieces(place, step), identity)


def _source(snapshot: str | Path) -> str:
    """Whose states a table holds. A table of other weights is refused, so a run trained anew keeps no old states."""
    return f"{Path(snapshot).name} {weights_digest(snapshot)}"


def _table_name(probe_run: ProbeRun, split: str, initialisation: int | None, dtype: torch.dtype) -> str:
    """Everything that a user may ask for anew has its own table."""
    parts = [
        split,
        str(probe_run.programs[split]),
        f"from-{probe_run.first(split)}" if probe_run.first(split) else "",
        "" if probe_run.layers == "mean" else _layers_name(probe_run.layers),
    ]
    parts += [
        "bf16" if dtype == torch.bfloat16 else "",
        "" if initialisation is None else f"untrained-{initialisation}",
    ]
    if probe_run.programs_from == "reference":
        parts += ["reference", probe_run.withhold or ""]
    parts += [
        f"shortest-{probe_run.shortest}" if probe_run.shortest else "",
        f"file-{probe_run.specifications_digest}" if probe_run.specifications else "",
        "unfinished" if probe_run.grid.unfinished else "",
    ]
    return "-".join(part for part in parts if part)


def _layers_name(layers: Layers) -> str:
    return "layers-" + (layers if isinstance(layers, str) else "-".join(map(str, layers)))


def samples_of(probe_run: ProbeRun, recipe: Recipe, split: str) -> Samples:
    """The specifications of a probing split: the recipe's own, or those of the file that the settings name. InputError for a file
    that does not fit, as `import_for`, or that has too few.
    """
    count, first = probe_run.programs[split], probe_run.first(split)
    if probe_run.specifications is None:
        return specification_samples(recipe, split, count, first)
    found, asked = import_for(recipe, probe_run.specifications), sum(probe_run.programs.values())
    if len(found) < asked:
        few = max(1, len(found) // 12)
        raise InputError(
            f"{probe_run.specifications} holds {len(found)} specifications, and programs asks for {asked}, of all splits together: "
            f"give fewer, such as --programs train={max(1, len(found) - 2 * few)},validation={few},test={few}"
        )
    return found[first : first + count]


def specification_samples(recipe: Recipe, split: str, count: int, start: int = 0) -> Samples:
    """Specifications start .. start+count-1 of a probing split."""
    return generate(recipe, split=SPLIT_NAMES[split], start=start, count=count)
