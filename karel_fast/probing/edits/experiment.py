"""The whole set of edits on one snapshot, in pieces that are kept: RUN/steering/step-*.json."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.data.tokens.interpreter import program_tokenizer
from karel_fast.model import Transformer
from karel_fast.probing.edits.erasing import METHODS, Erasing
from karel_fast.probing.edits.exchange import Exchange
from karel_fast.probing.edits.groups import group_names
from karel_fast.probing.edits.pairs import DRAWN, counterfactual_pairs
from karel_fast.probing.edits.rotation import learn_rotation
from karel_fast.probing.edits.scores import record_of
from karel_fast.probing.edits.subspace_rows import Site, choose_site, subspace_rows, untrained_rows
from karel_fast.probing.edits.subspaces import principal_basis
from karel_fast.probing.pieces import is_finished, remove_pieces
from karel_fast.probing.steer_settings import SteerConfig
from karel_fast.probing.untrained import untrained_model
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.side_by_side import home
from karel_fast.runs.snapshots import open_snapshot, read_card, weights_digest
from karel_fast.support.checks import InputError
from karel_fast.support.files import write_json
from karel_fast.support.locks import alone
from karel_fast.support.stored import stored

KIND = "steering"
Report = Callable[[str, int, int], None]


def steer_snapshot(
    run: str | Path,
    snapshot: str | Path,
    config: SteerConfig,
    *,
    device: str = "cpu",
    batch_size: int = 256,
    progress: Report | None = None,
) -> Path:
    """Edit the snapshot's states and say what it then writes; returns the file. Done already: nothing happens.

    The file holds the settings, `sites` (where each kind's subspaces are), `solved` (the share of each kind's test pairs that
    the model solves both sides of) and `records`. Pieces are kept until all are there, so a killed call goes on. progress is called
    with (stage, done, of how many).
    Raises InputError for a layer or rank that the model does not have, ValueError for a recipe with control flow.
    """
    folder = RunFolder(run)
    card = read_card(snapshot)
    step = int(card["step"])
    identity = {"experiment": config.to_json(), "weights": weights_digest(snapshot)}
    place = home(folder, KIND, step, {"experiment": config.to_json()})
    target = folder.file(place, step)
    if is_finished(folder, place, step, identity):
        return target
    tokenizer = program_tokenizer(Recipe.from_json(card["recipe"]), card["layout"])
    model = open_snapshot(snapshot, tokenizer).to(device).eval()
    check_model(config, model)
    work = _Work(model, card, tokenizer, config, batch_size, progress or (lambda *_: None))
    pieces = folder.pieces(place, step)

    def piece(name: str, make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        return stored(pieces / f"{name}.json", {**identity, "device": device}, make)

    with alone(target):
        result: dict[str, Any] = {"sites": {}, "solved": {}, "records": [], "notes": []}
        for kind in config.kinds:
            _add(result, piece(f"map-{kind}", partial(work.map, kind, "test")))
        for kind in config.subspace_kinds:
            if kind not in result["solved"]:
                continue
            choice = piece(f"choice-{kind}", partial(work.choice, kind))
            if not choice["site"]:
                result["notes"] += choice["notes"]
                continue
            site = Site(**choice["site"])
            learned = piece(f"rotation-{kind}", partial(work.rotation, kind, site))
            frames = {name: torch.tensor(frame) for name, frame in learned["frames"].items()}
            found = piece(f"subspaces-{kind}", partial(work.subspaces, kind, site, frames))
            result["sites"][kind] = choice["site"]
            _add(result, choice)
            _add(result, found)
        if config.erased:
            _add(result, piece("erasure", work.erasure))
        write_json(target, {"step": step, **identity, **result})
        remove_pieces(pieces)
    return target


def check_model(config: SteerConfig, model: Transformer) -> None:
    """Raises InputError for a layer or a rank that the model does not have."""
    blocks, width = len(model.h), model.config.n_embd
    if not isinstance(config.layers, str) and max(config.layers) >= blocks:
        raise InputError(
            f"layers has {max(config.layers)}: of this model, states 0..{blocks - 1} go through a block after an edit"
        )
    if max(config.ranks) > width:
        raise InputError(f"ranks has {max(config.ranks)}: this model's states have {width} dimensions")


def _add(result: dict[str, Any], piece: Mapping[str, Any]) -> None:
    result["records"] += piece["records"]
    result["notes"] += piece.get("notes", [])
    result["solved"] |= piece.get("solved", {})


class _Work:
    """What the pieces are made with."""

    def __init__(
        self,
        model: Transformer,
        card: Mapping[str, Any],
        tokenizer: Tokenizer,
        config: SteerConfig,
        batch_size: int,
        progress: Report,
    ) -> None:
        self.model, self.card, self.tokenizer, self.config, self.progress = model, card, tokenizer, config, progress
        self.batch_size = batch_size
        self.layers = list(range(len(model.h))) if isinstance(config.layers, str) else list(config.layers)
        self._kept: tuple[tuple[str, str, int], Exchange] | None = None

    @cached_property
    def groups(self) -> tuple[str, ...]:
        return group_names(self.tokenizer.recipe.examples)

    def exchange(self, kind: str, split: str, most: int) -> Exchange:
        """The first pairs that are solved; only the last such exchange is kept, for its states."""
        if self._kept is None or self._kept[0] != (kind, split, most):
            self.progress(f"{kind}: {split} pairs", 0, 1)
            start = self.config.test_start if split == "test" else 0
            pairs = counterfactual_pairs(
                self.tokenizer.recipe,
                kind,
                split,
                start,
                math.ceil(DRAWN[kind] * most),
                given=self.config.given,
                seed=self.config.seed,
            )
            self._kept = (
                (kind, split, most),
                Exchange(self.model, self.tokenizer, pairs, most, batch_size=self.batch_size),
            )
        return self._kept[1]

    def map(self, kind: str, split: str) -> dict[str, Any]:
        """Whole states exchanged, layer by layer and group by group."""
        most = self.config.map_pairs if split == "test" else self.config.choice_pairs
        try:
            exchange = self.exchange(kind, split, most)
        except ValueError as error:
            return {"records": [], "notes": [f"{kind}: {error}"]}
        what = {"experiment": "interchange" if split == "test" else "choice", "kind": kind}
        places = [
            (layer, name)
            for name in self.groups
            if name == "none" or exchange.groups[name].any()
            for layer in self.layers[: 1 if name == "none" else None]
        ]
        records = []
        for number, (layer, name) in enumerate(places):
            edit = exchange.swapped(layer, exchange.groups[name])
            records.append(record_of(exchange, exchange.outcome(edit), **what, layer=layer, group=name))
            self.progress(f"{kind}: layers x tokens, {split}", number + 1, len(places))
        return {"records": records, "solved": {kind: exchange.solved} if split == "test" else {}}

    def choice(self, kind: str) -> dict[str, Any]:
        """The same on the val split, and the site that it leads to."""
        found = self.map(kind, "val")
        if not found["records"]:
            return {**found, "site": None}
        groups = self.exchange(kind, "val", self.config.choice_pairs).groups
        return {**found, "site": vars(choose_site(found["records"], groups, self.config.carries))}

    def rotation(self, kind: str, site: Site) -> dict[str, Any]:
        """The learned frames at the site's tokens and at those that carry nothing."""
        config, exchange = self.config, self.exchange(kind, "train", self.config.train_pairs)
        frames = {}
        for name, group in (("learned", site.group), ("learned elsewhere", site.wrong_group)):
            mask = exchange.groups[group]
            frame = learn_rotation(
                exchange, site.layer, mask, principal_basis(exchange, site.layer, mask, max(config.ranks)), config.ranks,
                steps=config.rotation_steps, batch_size=config.rotation_batch, learning_rate=config.rotation_rate,
                seed=config.seed,
                progress=partial(self._rotated, f"{kind}: {name} rotation"),
            )  # fmt: skip
            frames[name] = frame.tolist()
        return {"frames": frames}

    def _rotated(self, stage: str, done: int) -> None:
        self.progress(stage, done, self.config.rotation_steps)

    def subspaces(self, kind: str, site: Site, frames: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Every subspace's row, and the controls'."""
        config = self.config
        train = self.exchange(kind, "train", config.train_pairs)
        exchange = self.exchange(kind, "test", config.test_pairs)
        untrained = untrained_model(self.model, self.card, config.seed)
        fresh, more = untrained_rows(exchange, site, untrained)
        rows = subspace_rows(exchange, train, site, dict(frames), config.ranks, config.seed)
        records = []
        for of, found in ((exchange, rows), (fresh, more)):
            for what, edit in found:
                what = {"control": False, "source": "pair", **what}
                records.append(record_of(of, of.outcome(edit), experiment="subspace", kind=kind, **what))
                self.progress(f"{kind}: subspaces", len(records), 17 + 7 * len(config.ranks))
        return {"records": records}

    def erasure(self) -> dict[str, Any]:
        """The direction made unreadable."""
        config, recipe = self.config, self.tokenizer.recipe
        work = Erasing(
            self.model, self.tokenizer, generate(recipe, "train", 0, config.erasure_train),
            generate(recipe, "test", config.test_start, config.erased), seed=config.seed,
        )  # fmt: skip
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            self.progress("erasure", done, len(METHODS) * (len(self.layers) + 1))

        return {"records": work.records(self.layers, advance)}
