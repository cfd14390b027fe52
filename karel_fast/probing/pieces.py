"""A grid of probes in pieces that are kept as soon as they are trained, so that a long one goes on where it stopped.

A piece is all probes of one layer, one model (the trained, or one of the untrained), one meaning and one offset. Probes know
nothing of one another, so pieces may be trained in any order and in any process. Only the last bits of a cross entropy tell
them from the grid trained at once: a matrix product rounds by its shape.

    FOLDER/piece-0007.json   {"experiment", "weights", "records"}
    FOLDER/piece-0007.npz    the records' sums per test program
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from karel_fast.probing.clusters import read_clusters, write_clusters
from karel_fast.probing.differences import Clusters
from karel_fast.probing.measures import SUMS
from karel_fast.probing.places import UNREADABLE, Places, read_places
from karel_fast.probing.probes.types import ProbeWeights
from karel_fast.runs.contents import check_result
from karel_fast.runs.folder import RunFolder
from karel_fast.support.files import read_json_if_whole, write_json


@dataclass(frozen=True)
class Piece:
    """number: its place among the grid's pieces. layer: its place among the tables' layers. model: 0 the trained one, from
    1 the untrained. tasks: places of its tasks among the model's. records: where its records belong in the whole.
    """

    number: int
    layer: int
    model: int
    tasks: tuple[int, ...]
    records: np.ndarray
    divided: bool


@dataclass(frozen=True)
class Trained:
    """A piece's records, and their sums per test program and per place in a program."""

    records: list[dict[str, Any]]
    clusters: Clusters
    places: Places
    weights: Sequence[ProbeWeights | None] = ()  # of each record, if they were to be kept


def pieces_of(
    keys: Sequence[Sequence[Mapping[str, object]]], layers: int, probes: int, divided: bool
) -> Iterator[Piece]:
    """Every piece of a grid.

    keys: per model, those of its tasks. probes: how many each task has (depths x seeds). divided: by meaning and offset;
    else a piece is all of a layer and a model.
    """
    number = before = 0
    for layer in range(layers):
        for model, of_model in enumerate(keys):
            groups: dict[object, list[int]] = {}
            for place, key in enumerate(of_model):
                groups.setdefault((key["semantics"], key["offset"]) if divided else None, []).append(place)
            for tasks in groups.values():
                records = before + (np.array(tasks)[:, None] * probes + np.arange(probes)).ravel()
                yield Piece(number, layer, model, tuple(tasks), records, divided)
                number += 1
            before += len(of_model) * probes


def remove_pieces(folder: Path) -> None:
    """Remove a folder of pieces whose whole has been written, now or by a call that was killed right after that."""
    shutil.rmtree(folder, ignore_errors=True)


def is_finished(folder: RunFolder, place: str, step: int, identity: Mapping[str, Any]) -> bool:
    """Whether a result is there that was made with exactly this (JSON values); pieces that a kill left beside it are removed."""
    found = read_json_if_whole(folder.file(place, step)) or {}
    finished = all(found.get(key) == value for key, value in identity.items())
    if finished:
        remove_pieces(folder.pieces(place, step))
    return finished


class PieceStore:
    """The pieces of one experiment in a folder. identity: what the experiment is; a piece of another one is not there."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self.identity = dict(identity)

    def get(self, number: int, records: int) -> Trained | None:
        """The piece, if it is there and whole: of this experiment, with so many records. Any other is trained again."""
        path = self._path(number)
        stored = read_json_if_whole(path) or {}
        if any(stored.get(name) != value for name, value in self.identity.items()):
            return None
        sums = path.with_suffix(".npz")
        places = read_places(sums)
        if places is None:
            return None
        try:
            check_result(stored, "probing", path)
            trained = Trained(stored["records"], read_clusters(sums), places)
        except UNREADABLE:
            return None
        lengths = {len(trained.records), *map(len, trained.clusters.sums.values()), *map(len, places.sums.values())}
        return trained if lengths == {records} else None

    def put(self, number: int, trained: Trained) -> None:
        """Keep a piece. The JSON file comes last: it says that the piece is whole."""
        path = self._path(number)
        write_clusters(path.with_suffix(".npz"), trained.clusters, trained.places, exact=True)
        write_json(path, {**self.identity, "records": trained.records})

    def clear(self) -> None:
        """`remove_pieces` of the folder."""
        remove_pieces(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"piece-{number:04d}.json"


def joined_pieces(pieces: Sequence[tuple[Piece, Trained]]) -> Trained:
    """The whole, its records in the order they would have without pieces."""
    count = sum(len(piece.records) for piece, _ in pieces)
    records: list[dict[str, Any]] = [{}] * count
    weights: list[ProbeWeights | None] = [None] * count
    actions, places = (
        pieces[0][1].clusters.actions,
        pieces[0][1].places.places,
    )  # the test rows', so those of every piece
    sums = {name: np.zeros((count, len(actions))) for name in SUMS}
    by_place = {name: np.zeros((count, len(places))) for name in SUMS}
    for piece, trained in pieces:
        for place, record in zip(piece.records, trained.records, strict=True):
            records[place] = record
        for place, kept in zip(piece.records if trained.weights else (), trained.weights, strict=True):
            weights[place] = kept
        for name in SUMS:
            sums[name][piece.records] = trained.clusters.sums[name]
            by_place[name][piece.records] = trained.places.sums[name]
    return Trained(records, Clusters(actions, sums), Places(places, by_place), weights)
