"""The grid of latent causal probing (COLM 2024) on one snapshot, in pieces.

The model reads programs of `Recipe.colm` in its own worlds: 15 actions, uniform over move and the turns, none of which it wrote
and which are longer than any it was trained on. Outputs are withheld. Probes learn the state after an action from what the model
holds some tokens later, on some positions of a program, and are tested on all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from karel_fast.data import Recipe, Tokenizer
from karel_fast.data.tokens.interpreter import program_tokenizer
from karel_fast.model import from_hf
from karel_fast.probing.experiments import Split, prepare, trace_programs, train_piece
from karel_fast.probing.latent_settings import ACTIONS, SHOWN, LatentGrid, place_of, positions_of
from karel_fast.probing.measures import finite, measures_of_sums
from karel_fast.probing.pieces import PieceStore, Trained, is_finished
from karel_fast.probing.settings import PROBE_SPLITS
from karel_fast.probing.snapshot import specification_samples
from karel_fast.probing.states import Progress, of_stage, write_table
from karel_fast.probing.untrained import untrained_model, untrained_seed
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.side_by_side import home
from karel_fast.runs.snapshots import read_card, weights_digest
from karel_fast.support.checks import InputError
from karel_fast.support.files import write_json
from karel_fast.support.locks import alone

KIND = "latent-grid"


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


class LatentJob:
    """The grid of one snapshot as pieces, each of which is kept when it is trained; any process may train any of them.

    target: the file that holds the whole. cells: the pieces' places in the grid. Raises ValueError for a snapshot that does not say
    what it was trained on, InputError as `recipe_for`, and for a model to which these programs' tokens mean something else.
    """

    def __init__(
        self,
        run: str | Path,
        snapshot: str | Path,
        grid: LatentGrid,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        batch_size: int = 256,
        compile_model: bool = True,
    ) -> None:
        self.folder, self.snapshot, self.grid = RunFolder(run), Path(snapshot), grid
        self.device, self.dtype, self.batch_size, self.compile_model = device, dtype, batch_size, compile_model
        card = read_card(snapshot)
        self.step = int(card["step"])
        settings = {"experiment": grid.to_json(), "precision": str(dtype)}
        place = home(self.folder, KIND, self.step, settings)
        self.target = self.folder.file(place, self.step)
        self.weights = weights_digest(snapshot)
        self.identity = {**settings, "weights": self.weights}
        self.is_done = is_finished(self.folder, place, self.step, self.identity)
        if self.is_done:
            return
        if not card.get("recipe"):
            raise ValueError(f"{snapshot} does not say what it was trained on; train with a recipe to probe it")
        self.layout = card["layout"]
        self.card = card
        self.model = from_hf(snapshot).to(device).eval()
        context = self.model.config.n_positions
        trained_on = Recipe.from_json(card["recipe"])
        self.recipe, self.note = recipe_for(trained_on, self.layout, context, grid.actions)
        self.tokenizer = program_tokenizer(self.recipe, self.layout)
        _check_tokens(self.tokenizer, program_tokenizer(trained_on, self.layout), self.snapshot)
        self.actions = self.recipe.lengths[1]
        self.cells = cells_of(grid, self.tokenizer.tokens_per_action)
        self.store = PieceStore(self.folder.pieces(place, self.step), self.identity)
        self._held: tuple[Any, dict[str, Split]] = (None, {})

    def left(self) -> list[int]:
        """The pieces that are not there yet."""
        return [number for number in range(len(self.cells)) if self._kept(number) is None]

    def _kept(self, number: int) -> Trained | None:
        return self.store.get(number, probes_of_piece(self.grid))

    def tables_of(self, number: int) -> tuple[str, int, int]:
        """Which tables a piece reads: pieces with the same answer read the same."""
        cell = self.cells[number]
        return cell.withhold, cell.model, cell.inside

    def splits(self, number: int, progress: Progress | None = None) -> dict[str, Split]:
        """The tables that a piece reads, written if they are not there; the last ones asked for stay in memory."""
        wanted = self.tables_of(number)
        if self._held[0] != wanted:
            self._held = (wanted, dict(self._read(*wanted, progress)))
        return self._held[1]

    def train(self, number: int, progress: Progress | None = None) -> None:
        """Train a piece and keep it."""
        cell = self.cells[number]
        grid = self.grid.grid(-cell.back, positions_of(cell.learn_on, self.actions), self.actions)
        prepared = prepare(self.splits(number, progress), grid, tracer=partial(_trace, self.recipe))
        self.store.put(number, train_piece(prepared, prepared.pieces(divided=False)[0], self.grid.config, self.device))

    def finish(self) -> Path:
        """Join the pieces, all of which must be there, into `target`; returns it."""
        rows: list[dict[str, Any]] = []
        notes = [self.note] if self.note else []
        for number, cell in enumerate(self.cells):
            trained = self._kept(number)
            if trained is None:
                raise ValueError(f"{self.target}: piece {number} has not been trained; train it before finishing")
            rows += _rows(cell, trained, positions_of(cell.learn_on, self.actions))
            if not any(record["accuracy"] is not None for record in trained.records):
                tokens = ", ".join(map(str, cell.tokens))
                notes.append(
                    f"{tokens} tokens, learnt on {cell.learn_on}: programs of {self.actions} actions have no such state"
                )
        write_json(self.target, {
            "step": self.step, **self.identity, "recipe": self.recipe.hash, "actions": self.actions,
            "layout": self.layout, "probes": len(self.cells) * probes_of_piece(self.grid), "rows": rows,
            "notes": list(dict.fromkeys(notes)),
        })  # fmt: skip
        self.store.clear()
        return self.target

    def _read(self, withhold: str, model: int, inside: int, progress: Progress | None) -> Iterator[tuple[str, Split]]:
        """The tables of one reader, withholding and place inside an action."""
        source, reader = f"{self.snapshot.name} {self.weights}", self.model
        if model:
            source = f"untrained {untrained_seed(self.card, model - 1)}"
            reader = untrained_model(self.model, self.card, model - 1)
        bits = "-bf16" if self.dtype == torch.bfloat16 else ""
        for split in PROBE_SPLITS:
            count, start = self.grid.programs[split], self.grid.test_start if split == "test" else 0
            kind = "-".join(map(str, (split, count, start, self.recipe.hash, withhold, inside, model)))
            table = write_table(
                self.folder.table(self.step, f"{KIND}-{kind}{bits}"), reader, self.tokenizer, split, count,
                start=start, source=source, programs="reference", withhold=None if withhold == SHOWN else withhold, after=inside,
                batch_size=self.batch_size, dtype=self.dtype, compile_model=self.compile_model,
                progress=of_stage(progress, f"read {split} programs", count),
            )  # fmt: skip
            yield split, Split(table, specification_samples(self.recipe, split, count, start).shown()[0])


def probes_of_piece(grid: LatentGrid) -> int:
    """How many probes a piece has."""
    return len(grid.features) * len(grid.depths) * len(grid.semantics) * len(grid.seeds)


def probe_latent_grid(
    run: str | Path, snapshot: str | Path, grid: LatentGrid, *, progress: Progress | None = None, **settings: Any
) -> Path:
    """Train the grid, write RUN/latent-grid/step-*.json; returns that file. Done already: nothing happens.

    rows: one per withholding, training positions, token offset, feature, meaning, depth and states, with lists over probe seeds of
    accuracy, majority and lift on all test positions, and of lift on `seen` and `unseen` ones (those learnt on, and the others).
    notes: what could not be done, and why. Every piece is kept when it is trained, so a killed call goes on. progress is called
    with (stage, done, of how many). settings: `LatentJob`'s keywords. Raises as that does.
    """
    job = LatentJob(run, snapshot, grid, **settings)
    if job.is_done:
        return job.target
    with alone(job.target):
        left, each = set(job.left()), probes_of_piece(grid)
        for number in range(len(job.cells)):
            if number in left:
                job.train(number, progress)
            if progress:
                progress("train probes", (number + 1) * each, len(job.cells) * each)
        return job.finish()


def _trace(recipe: Recipe, actions: Any, lengths: Any, worlds: Any, semantics: str) -> Any:
    return trace_programs(actions, lengths, worlds, recipe.meaning(semantics))


def _check_tokens(read: Tokenizer, trained: Tokenizer, snapshot: Path) -> None:
    """Raises InputError unless every token has the number that it had in training.

    The words of control flow come last in the compact layout; in others, example words and rows of cells are numbered after them.
    """
    if (read.row_code, read.tokens) != (trained.row_code, trained.tokens[: len(read.tokens)]):
        raise InputError(
            f"{snapshot} was trained with control flow, and without it the {read.layout} layout numbers its tokens otherwise, so the "
            "model would take them for others: use a model of the compact layout, or one trained without control flow"
        )


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
            **{name: [finite(values[i]) for i in members] for name, values in lifts.items()},
        }
        for tokens in cell.tokens
        for (feature, semantics, depth), members in groups.items()
    ]  # fmt: skip
