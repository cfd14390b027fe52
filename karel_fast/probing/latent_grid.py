"""The grid of latent causal probing (COLM 2024) on one snapshot, in pieces.

The model reads programs of `Recipe.colm` in its own worlds: 15 actions, uniform over move and the turns, none of which it wrote
and which are longer than any it was trained on. Outputs are withheld. Probes learn the state after an action from what the model
holds some tokens later, on some positions of a program, and are tested on all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from karel_fast.data import Recipe, Tokenizer
from karel_fast.data.tokens.interpreter import program_tokenizer
from karel_fast.model import Transformer, from_hf
from karel_fast.probing.experiments import Split, prepare, trace_programs, train_piece
from karel_fast.probing.latent_settings import ACTIONS, LatentGrid, place_of, positions_of
from karel_fast.probing.measures import measures_of_sums
from karel_fast.probing.pieces import PieceStore, Trained
from karel_fast.probing.settings import SPLITS
from karel_fast.probing.snapshot import specification_samples
from karel_fast.probing.states import write_table
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import read_card, weights_digest
from karel_fast.support.checks import InputError
from karel_fast.support.files import read_json_if_whole, write_json

KIND = "latent-grid"
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class _Cell:
    """One piece's place in the grid. tokens: the offsets that fall together there. model: 0 the trained, from 1 the untrained."""

    withhold: str
    learn_on: str
    tokens: tuple[int, ...]
    back: int
    inside: int
    model: int


def cells_of(grid: LatentGrid, tokens_per_action: int) -> list[_Cell]:
    """All pieces, in an order that goes through one table after the other."""
    tokens_by_place: dict[tuple[int, int], list[int]] = {}
    for offset in grid.token_offsets:
        tokens_by_place.setdefault(place_of(offset, tokens_per_action), []).append(offset)
    return [
        _Cell(withhold, learn_on, tuple(tokens), back, inside, model)
        for withhold in grid.withhold
        for model in range(1 + grid.initialisations)
        for (back, inside), tokens in tokens_by_place.items()
        for learn_on in grid.learn_on
    ]


def recipe_for(trained_on: Recipe, layout: str, context: int, actions: int | None) -> tuple[Recipe, str]:
    """`Recipe.colm` in the worlds of a recipe, and a note where its programs had to be shorter.

    Raises InputError for a number of actions that the model's context does not hold.
    """
    names = ("height", "width", "wall_probability", "marker_probability", "examples", "held_out", "semantics", "seed")
    world = {name: getattr(trained_on, name) for name in names}

    def of(length: int) -> Recipe:
        return Recipe.colm(**world, lengths=(length, length))

    def fits(length: int) -> bool:
        return program_tokenizer(of(length), layout).sequence_length <= context

    most = next((length for length in range(actions or ACTIONS, 2, -1) if fits(length)), 0)
    if most == 0:
        raise InputError(f"the model's context of {context} tokens holds no program of three actions in these worlds")
    if actions is not None and most < actions:
        raise InputError(
            f"the model's context of {context} tokens holds programs of at most {most} actions, not {actions}"
        )
    note = f"programs have {most} actions, not {ACTIONS}: the model's context of {context} tokens holds no more"
    return of(most), note if actions is None and most < ACTIONS else ""


def probe_latent_grid(
    run: str | Path,
    snapshot: str | Path,
    grid: LatentGrid,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    batch_size: int = 256,
    compile_model: bool = True,
    progress: Progress | None = None,
) -> Path:
    """Train the grid, write RUN/latent-grid/step-*.json; returns that file. Done already: nothing happens.

    rows: one per withholding, training positions, token offset, feature, meaning, depth and states, with lists over probe seeds of
    accuracy, majority and lift on all test positions, and of lift on `seen` and `unseen` ones (those learnt on, and the others).
    notes: what could not be done, and why. Every piece is kept when it is trained, so a killed call goes on. progress is called
    with (stage, done, of how many).
    """
    folder = RunFolder(run)
    card = read_card(snapshot)
    step = int(card["step"])
    target = folder.file(KIND, step)
    weights = weights_digest(snapshot)
    identity = {"experiment": grid.to_json(), "weights": weights, "precision": str(dtype)}
    found = read_json_if_whole(target) or {}
    if all(found.get(key) == value for key, value in identity.items()):
        return target
    if not card.get("recipe"):
        raise ValueError(f"{snapshot} does not say what it was trained on; train with a recipe to probe it")
    trained_on = Recipe.from_json(card["recipe"])
    model = from_hf(snapshot).to(device).eval()
    recipe, note = recipe_for(trained_on, card["layout"], model.config.n_positions, grid.actions)
    tokenizer = program_tokenizer(recipe, card["layout"])
    actions = recipe.lengths[1]
    store = PieceStore(folder.pieces(KIND, step), identity)
    cells = cells_of(grid, tokenizer.tokens_per_action)
    each = len(grid.features) * len(grid.depths) * len(grid.semantics) * len(grid.seeds)
    rows: list[dict[str, Any]] = []
    notes = [note] if note else []
    held: tuple[Any, dict[str, Split]] = (None, {})
    for number, cell in enumerate(cells):
        trained = store.get(number)
        learn_on = positions_of(cell.learn_on, actions)
        if trained is None:
            wanted = (cell.withhold, cell.model, cell.inside)
            if held[0] != wanted:
                source = f"{Path(snapshot).name} {weights}" if not cell.model else f"untrained {cell.model - 1}"
                reader = model if not cell.model else _untrained(model, cell.model - 1)
                held = (wanted, dict(_splits(
                    folder, step, reader, tokenizer, grid, cell, source, dtype, batch_size, compile_model, progress
                )))  # fmt: skip
            prepared = prepare(held[1], grid.grid(-cell.back, learn_on, actions), tracer=partial(_trace, recipe))
            trained = train_piece(prepared, prepared.pieces(divided=False)[0], grid.config, device)
            store.put(number, trained)
        rows += _rows(cell, trained, learn_on)
        if progress:
            progress("train probes", (number + 1) * each, len(cells) * each)
        if not any(record["accuracy"] is not None for record in trained.records):
            notes.append(
                f"{', '.join(map(str, cell.tokens))} tokens, learnt on {cell.learn_on}: programs of {actions} actions have no such state"
            )
    write_json(target, {
        "step": step, **identity, "recipe": recipe.hash, "actions": actions, "layout": card["layout"],
        "probes": len(cells) * each, "rows": rows, "notes": list(dict.fromkeys(notes)),
    })  # fmt: skip
    store.clear()
    return target


def _trace(recipe: Recipe, actions: Any, lengths: Any, worlds: Any, semantics: str) -> Any:
    return trace_programs(actions, lengths, worlds, recipe.semantics if semantics == "original" else semantics)


def _untrained(model: Transformer, seed: int) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(model.config).to(model.wte.weight.device).eval()


def _splits(
    folder: RunFolder,
    step: int,
    model: Transformer,
    tokenizer: Tokenizer,
    grid: LatentGrid,
    cell: _Cell,
    source: str,
    dtype: torch.dtype,
    batch_size: int,
    compile_model: bool,
    progress: Progress | None,
) -> Iterator[tuple[str, Split]]:
    """The tables of one reader, withholding and place inside an action."""
    recipe = tokenizer.recipe
    for split in SPLITS:
        count, start = grid.programs[split], grid.test_start if split == "test" else 0
        kind = "-".join(map(str, (split, count, start, recipe.hash, cell.withhold, cell.inside, cell.model)))
        bits = "-bf16" if dtype == torch.bfloat16 else ""
        table = write_table(
            folder.table(step, f"{KIND}-{kind}{bits}"), model, tokenizer, split, count, start=start, source=source,
            programs="reference", withhold=cell.withhold, after=cell.inside, batch_size=batch_size, dtype=dtype,
            compile_model=compile_model,
            progress=partial(_report, progress, f"read {split} programs", count),
        )  # fmt: skip
        yield split, Split(table, specification_samples(recipe, split, count, start).shown()[0])


def _report(progress: Progress | None, stage: str, of: int, done: int) -> None:
    if progress:
        progress(stage, done, of)


def _rows(cell: _Cell, trained: Trained, learn_on: Sequence[int]) -> list[dict[str, Any]]:
    """One row per probe but the seed, for every token offset of the cell."""
    # The state that is asked for is that after the action `back` places before the row's.
    seen = np.isin(trained.places.places[:, 0] - cell.back, learn_on)
    lifts = {
        name: measures_of_sums({key: sums[:, mask].sum(1) for key, sums in trained.places.sums.items()})["lift"]
        for name, mask in (("seen", seen), ("unseen", ~seen))
    }
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, record in enumerate(trained.records):
        groups.setdefault((record["feature"], record["semantics"], record["depth"]), []).append(index)
    states: Mapping[str, Any] = (
        {"states": "untrained", "initialisation": cell.model - 1} if cell.model else {"states": "trained"}
    )
    return [
        {
            "withhold": cell.withhold, "learn_on": cell.learn_on, "tokens": tokens, "actions_back": cell.back,
            "feature": feature, "semantics": semantics, "depth": depth, **states,
            **{name: [trained.records[i][name] for i in members] for name in ("accuracy", "majority", "lift", "bits")},
            **{name: [_known(values[i]) for i in members] for name, values in lifts.items()},
        }
        for tokens in cell.tokens
        for (feature, semantics, depth), members in groups.items()
    ]  # fmt: skip


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
