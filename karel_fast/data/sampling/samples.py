"""Samples: what `generate` returns, arrays first and programs only when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np

from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.symbols import from_symbols
from karel_fast.karel.language import CompiledPrograms, Program, compile
from karel_fast.karel.world import Worlds


class Programs(Sequence[Program]):
    """A list-like view of symbol rows; each program is built when it is looked at."""

    def __init__(self, symbols: np.ndarray, lengths: np.ndarray) -> None:
        self._symbols, self._lengths = symbols, lengths

    def __len__(self) -> int:
        return len(self._lengths)

    @overload
    def __getitem__(self, index: int) -> Program: ...
    @overload
    def __getitem__(self, index: slice) -> Programs: ...
    def __getitem__(self, index: int | slice) -> Program | Programs:
        if isinstance(index, slice):
            return Programs(self._symbols[index], self._lengths[index])
        return from_symbols(self._symbols[index, : self._lengths[index]].tolist())

    def __iter__(self) -> Iterator[Program]:
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Programs):
            return bool(
                np.array_equal(self._lengths, other._lengths) and all(a == b for a, b in zip(self, other, strict=True))
            )
        return isinstance(other, list | tuple) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} programs>"


@dataclass(frozen=True, eq=False)
class Samples:
    """n samples: a program each and E = recipe.worlds_per_sample world pairs each.

    `symbols` is uint8 (n, W), padded with 255 (see `karel_fast.data.sampling.symbols`; for straight-line recipes these are the
    action codes), `lengths` int32 (n,) symbols per program. `inputs` and `outputs` are batches of n*E worlds,
    example-minor: sample i's examples are worlds i*E .. i*E+E-1, the shown ones first.
    """

    recipe: Recipe
    split: str
    start: int
    symbols: np.ndarray
    lengths: np.ndarray
    inputs: Worlds
    outputs: Worlds

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def actions(self) -> np.ndarray:
        """uint8 (n, Lmax) action codes padded with 255. ValueError for recipes with control flow."""
        if not self.recipe.straight_line:
            raise ValueError("these programs have control flow, not one row of actions: use .programs or .symbols")
        return self.symbols

    @property
    def programs(self) -> Programs:
        """List-like of n programs, made on access."""
        return Programs(self.symbols, self.lengths)

    @cached_property
    def compiled(self) -> CompiledPrograms:
        """The n programs ready for `run` and `trace`."""
        if self.recipe.straight_line:
            return CompiledPrograms.from_actions(self.symbols, self.lengths)
        return compile(list(self.programs))

    def shown(self) -> tuple[Worlds, Worlds]:
        """(inputs, outputs) of the shown examples: n*recipe.examples worlds each, example-minor."""
        return self._examples(0, self.recipe.examples)

    def held_out(self) -> tuple[Worlds, Worlds]:
        """(inputs, outputs) of the held-out examples: n*recipe.held_out worlds each, example-minor."""
        return self._examples(self.recipe.examples, self.recipe.worlds_per_sample)

    def _examples(self, first: int, last: int) -> tuple[Worlds, Worlds]:
        count = self.recipe.worlds_per_sample

        def pick(worlds: Worlds) -> Worlds:
            def part(array: np.ndarray) -> np.ndarray:
                grouped = array.reshape(len(self), count, *array.shape[1:])[:, first:last]
                return np.ascontiguousarray(grouped.reshape(-1, *array.shape[1:]))

            return Worlds._trusted(part(worlds.walls), part(worlds.markers), part(worlds.robot))

        return pick(self.inputs), pick(self.outputs)

    def __getitem__(self, rows: slice) -> Samples:
        """Consecutive samples, e.g. samples[100:200], as Samples with the right `start` and no copies."""
        if not isinstance(rows, slice):
            raise TypeError(f"samples are indexed by slices, not {rows!r}: use .programs[i] or samples[i : i + 1]")
        first, last, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("samples are consecutive: a slice of them cannot have a step")
        last = max(first, last)
        count = self.recipe.worlds_per_sample

        def part(worlds: Worlds) -> Worlds:
            span = slice(first * count, last * count)
            return Worlds._trusted(worlds.walls[span], worlds.markers[span], worlds.robot[span])

        return Samples(
            self.recipe, self.split, self.start + first, self.symbols[first:last], self.lengths[first:last],
            part(self.inputs), part(self.outputs),
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<{len(self)} samples {self.split}[{self.start}:{self.start + len(self)}] of recipe {self.recipe.hash}>"
