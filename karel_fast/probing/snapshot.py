"""Probing one snapshot of a run from beginning to end: its tables, the grid of probes, and examples for the report.

Each snapshot is a task of its own that writes its own files, so tasks may run in any order, in any process, anywhere
that sees the run folder, and give the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from karel_fast.data import Recipe, Samples, Tokenizer, generate
from karel_fast.model import Transformer
from karel_fast.probing.examples import describe_examples
from karel_fast.probing.experiments import Split, gather_rows, joined, run_experiment, trace_programs
from karel_fast.probing.probes.training import ProbeWeights, train_probes
from karel_fast.probing.settings import SPLITS, Grid, Layers
from karel_fast.probing.settings import ProbeRun as ProbeRun
from karel_fast.probing.states import SPLIT_NAMES, write_table
from karel_fast.probing.steering import steer
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import open_snapshot, read_card, snapshot_path, weights_digest
from karel_fast.support.files import read_json_if_whole, write_json


def is_done(run: str | Path, step: int, probe_run: ProbeRun) -> bool:
    """Whether the snapshot's probing file holds exactly this experiment on the weights that the snapshot has now."""
    path = RunFolder(run).file(probe_run.kind, step)
    stored = read_json_if_whole(path) or {}
    weights = weights_digest(snapshot_path(run, step))
    return (stored.get("experiment"), stored.get("weights")) == (probe_run.to_json(), weights)


def probe_snapshot(
    run: str | Path,
    snapshot: str | Path,
    probe_run: ProbeRun,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch_size: int = 256,
    compile_model: bool = True,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Decode, probe, write RUN/probing/step-*.json (and examples); returns that file. Done already: nothing happens.

    progress is called with (stage, done, of how many). Tables are kept, so a killed run or another grid goes on from
    them.
    """
    folder = RunFolder(run)
    card = read_card(snapshot)
    step = int(card["step"])
    target = folder.file(probe_run.kind, step)
    if is_done(run, step, probe_run):
        return target
    if not card.get("recipe"):
        raise ValueError(f"{snapshot} does not say what it was trained on; train with a recipe to probe it")
    recipe = Recipe.from_json(card["recipe"])
    tokenizer = Tokenizer(recipe, layout=card["layout"])
    model = open_snapshot(snapshot, tokenizer).to(device).eval()
    layers: Layers = list(range(model.states)) if probe_run.layers == "all" else probe_run.layers

    def tables(
        model: Transformer,
        source: str,
        written_splits: dict[str, Split] | None = None,
        initialisation: int | None = None,
    ) -> dict[str, Split]:
        splits = {}
        for split in SPLITS:
            count = probe_run.programs[split]
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
                programs=probe_run.programs_from,
                same_programs_as=written_splits[split].table if written_splits else None,
                withhold=probe_run.withhold,
                batch_size=batch_size,
                dtype=dtype,
                compile_model=compile_model,
                progress=partial(_report, progress, stage, count),
            )
            inputs = (
                written_splits[split].inputs
                if written_splits
                else specification_samples(recipe, split, count, probe_run.first(split)).shown()[0]
            )
            splits[split] = Split(table, inputs)
        return splits

    source = _source(snapshot)
    splits = tables(model, source)
    untrained = []
    for seed in range(probe_run.initialisations if probe_run.untrained else 0):
        torch.manual_seed(seed)
        fresh = Transformer(model.config).to(device).eval()
        untrained.append(tables(fresh, f"untrained {seed}, programs of {source}", splits, seed))
    done = 0
    count = probe_run.grid.size(len(splits["train"].table.layers), len(untrained))

    def advance(probes: int) -> None:
        nonlocal done
        done += probes
        if progress:
            progress("train probes", done, count)

    def tracer(actions: Any, lengths: Any, worlds: Any, semantics: str) -> Any:
        # The meaning the data was made with is the original one of this run.
        return trace_programs(actions, lengths, worlds, recipe.semantics if semantics == "original" else semantics)

    result = run_experiment(
        splits,
        probe_run.grid,
        config=probe_run.config,
        device=device,
        untrained=untrained,
        clusters=folder.sums(probe_run.kind, step),
        tracer=tracer,
        progress=advance,
    )
    if probe_run.examples and probe_run.programs_from == "written":
        samples = specification_samples(recipe, "test", probe_run.programs["test"], probe_run.first("test"))
        depth = list(probe_run.grid.depths.items())[-1]
        examples = describe_examples(
            splits, samples, count=probe_run.examples, features=probe_run.grid.features, depth=depth, config=probe_run.config,
            device=device, tracer=tracer,
        )  # fmt: skip
        write_json(folder.file("examples", step), {"step": step, **examples})
    # Last, because this file says that the snapshot is done.
    write_json(target, {"step": step, "experiment": probe_run.to_json(), "weights": weights_digest(snapshot), **result})
    return target


def steer_snapshot(
    run: str | Path,
    snapshot: str | Path,
    *,
    layers: Sequence[int] | None = None,
    train: int = 4_000,
    specifications: int = 400,
    strength: float = 1.0,
    device: str = "cpu",
    batch_size: int = 256,
    compile_model: bool = True,
) -> Path:
    """The causal test on one snapshot, for some layers (None: all that can be edited); writes RUN/steering/step-*.json.

    What the file holds of other layers, found with the same settings on the same weights, stays. Steered are test
    specifications that the snapshot solves; with none, the file says so and has no records. The probe of each layer is
    linear and learns on the train split's programs, validated on a tenth as many.
    """
    folder = RunFolder(run)
    card = read_card(snapshot)
    step = int(card["step"])
    recipe = Recipe.from_json(card["recipe"])
    tokenizer = Tokenizer(recipe, layout=card["layout"])
    model = open_snapshot(snapshot, tokenizer).to(device).eval()
    chosen = list(range(len(model.h))) if layers is None else list(layers)
    counts = {"train": train, "validation": max(1, train // 10), "test": specifications}
    splits = {}
    for split in SPLITS:
        table = write_table(
            folder.table(step, f"{split}-{counts[split]}-{_layers_name(chosen)}-steering"),
            model,
            tokenizer,
            split,
            counts[split],
            layers=chosen,
            source=_source(snapshot),
            batch_size=batch_size,
            compile_model=compile_model,
        )
        splits[split] = Split(table, specification_samples(recipe, split, counts[split]).shown()[0])
    test = splits["test"].table
    solved = np.flatnonzero(test.correct & (test.lengths >= 2))
    records: list[dict[str, Any]] = []
    notes = [] if len(solved) else ["the snapshot solved no test specification, so there is no program to steer"]
    if len(solved):
        for layer in chosen:
            probe = direction_probe(splits, layer, recipe.semantics, device)
            if probe is None:
                notes.append(f"layer {layer}: no training row has a label, so there is no probe to steer with")
                continue
            steered = steer(
                model,
                tokenizer,
                specification_samples(recipe, "test", specifications),
                test.actions,
                np.where(test.correct, test.lengths, 0),
                probe,
                layer,
                strength=strength,
            )
            records += [record.to_json() for record in steered]
    target = folder.file("steering", step)
    settings = {
        "weights": weights_digest(snapshot), "strength": strength, "train": train, "specifications": specifications
    }  # fmt: skip
    earlier = read_json_if_whole(target) or {}
    if all(earlier.get(key) == value for key, value in settings.items()):
        anew = tuple(f"layer {layer}:" for layer in chosen)
        records = [r for r in earlier["records"] if r["layer"] not in chosen] + records
        notes = [n for n in earlier["notes"] if not n.startswith(anew) and n not in notes] + notes
    write_json(target, {"step": step, **settings, "records": sorted(records, key=_layer), "notes": notes})
    return target


def _layer(record: dict[str, Any]) -> int:
    return int(record["layer"])


def direction_probe(splits: dict[str, Split], layer: int, semantics: Any, device: str) -> ProbeWeights | None:
    """A linear probe of the direction before each action; None when there is nothing to learn from."""
    grid = Grid(features=("direction",), offsets=(-1,), semantics=("original",), first_state=True)

    def tracer(actions: Any, lengths: Any, worlds: Any, _: Any) -> Any:
        return trace_programs(actions, lengths, worlds, semantics)

    rows = {name: gather_rows(splits[name], grid, name, 50_000, tracer) for name in SPLITS}
    states, parts, tasks = joined(splits, rows, layer, grid)
    results = train_probes(states, tasks, parts, depths={"linear": ()}, seeds=(0,), device=device, keep_weights=True)
    return results[0].weights


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
    return "-".join(part for part in parts if part)


def _layers_name(layers: Layers) -> str:
    return "layers-" + (layers if isinstance(layers, str) else "-".join(map(str, layers)))


def _report(progress: Callable[[str, int, int], None] | None, stage: str, of: int, done: int) -> None:
    if progress:
        progress(stage, done, of)


def specification_samples(recipe: Recipe, split: str, count: int, start: int = 0) -> Samples:
    """Specifications start .. start+count-1 of a probing split."""
    return generate(recipe, split=SPLIT_NAMES[split], start=start, count=count)
