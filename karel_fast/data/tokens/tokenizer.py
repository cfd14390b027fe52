"""Samples to token rows and back, in any of the layouts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from karel_fast.data.sampling.generation import check_found, check_range, check_threads, generate
from karel_fast.data.sampling.plan import make_plan
from karel_fast.data.sampling.recipe import Recipe, check_recipe
from karel_fast.data.sampling.samples import Samples
from karel_fast.data.tokens.folding import folding_of
from karel_fast.data.tokens.grammar import Grammar, make_grammar
from karel_fast.data.tokens.registry import make_layout
from karel_fast.karel.backends import resolve_backend
from karel_fast.karel.language import Action
from karel_fast.karel.world import Worlds
from karel_fast.support.row_code import RowCode


class Tokenizer:
    """Encodes samples of one recipe. Only the shown examples are written; the held-out ones never are.

    layout: "compact", "rows", "row-pairs" or "reference", or one of your own (`karel_fast.data.tokens.registry`). ValueError, with
    the nearest name, for another.

    Properties: `vocab_size`; `pad_id`, `end_id` (the token that ends a program); `action_ids` (one per action, by its
    code); `prompt_length` (the token after the prompt is the program's first); `sequence_length` (the longest row);
    `program_length` (as much of it as follows the prompt); `row_code` (how rows of worlds are numbered, where one or two
    of them are one token; else None). With a row code, `vocab_size` is the number of vectors that make up all tokens, and
    tokens reach up to `row_code.tokens`.

    `karel_fast.data.tokens.interpreter` has the same rows in another order: outputs after the program.
    """

    def __init__(self, recipe: Recipe, layout: str = "compact") -> None:
        check_recipe(recipe)
        self.recipe = recipe
        self._layout = make_layout(layout, recipe)
        self._code = len(self._layout.template)
        """Where the layout's programs begin, and"""
        self._length = self._code + self._layout.longest_program + 1
        """how long its rows are, before rows of worlds become tokens."""
        self._folding = folding_of(self._layout, self._length)
        self._program_at = int(self._folding.places(np.array([self._code]))[0])

    @property
    def layout(self) -> str:
        """The layout's name."""
        return self._layout.name

    @property
    def tokens(self) -> tuple[str, ...]:
        """The text of every token that is no row of a world, by id."""
        return self._layout.tokens

    @property
    def row_code(self) -> RowCode | None:
        return self._folding.code

    @property
    def vocab_size(self) -> int:
        return self._folding.vocab_size

    @property
    def dtype(self) -> np.dtype:
        """Of token rows: the narrowest that holds every token."""
        return self._folding.dtype

    @property
    def pad_id(self) -> int:
        return self._layout.pad_id

    @property
    def end_id(self) -> int:
        return self._layout.end_id

    @property
    def action_ids(self) -> tuple[int, ...]:
        return tuple(self._layout.token_of_symbol[: len(Action)].tolist())

    @property
    def prompt_length(self) -> int:
        return self._program_at

    @property
    def cell_ids(self) -> range:
        """The tokens of all that a cell can show, where a cell is a token."""
        first = self._layout.first_cell
        return range(first, first + len(self._layout.cell_words))

    @property
    def cell_positions(self) -> np.ndarray:
        """int64 (examples, 2, cells): where in a row the cells of each example's input and output world stand, each cell or all
        that one token stands for together.
        """
        return self._folding.places(self._layout.cell_positions).reshape(-1, 2, self._layout.cells)

    @property
    def cells_per_token(self) -> int:
        return self._folding.cells

    def shown_cells(self, rows: np.ndarray) -> np.ndarray:
        """What the cells of token rows (n, T) show, whole prompts at least: their numbers in `karel_fast.karel.world.CELL_SIGNS`, int64
        (n, examples, 2, cells).
        """
        return self._folding.shown(rows[:, self.cell_positions])

    @property
    def tokens_per_action(self) -> int:
        """How many tokens an action of a straight-line program takes."""
        return self._layout.tokens_per_action

    @property
    def output_positions(self) -> np.ndarray:
        """int64 (examples * cells,): where in a row the cells of the output worlds stand."""
        return self.cell_positions[:, 1].ravel()

    @cached_property
    def sequence_length(self) -> int:
        return len(self._folding.kept)

    @property
    def program_length(self) -> int:
        """Tokens of a row after its prompt, the end's included."""
        return self.sequence_length - self.prompt_length

    @property
    def empty_prompt(self) -> np.ndarray:
        """int64 (prompt_length,): a prompt with every cell shown as empty floor."""
        return self._folding.fold(self._layout.template[None])[0].astype(np.int64)

    # -- encoding -----------------------------------------------------------------------------------------------------

    def encode(self, samples: Samples, *, backend: str | None = None, threads: int | None = None) -> np.ndarray:
        """`dtype` (n, sequence_length): prompt, program, end token, then padding.

        `backend` "cpp" encodes in the core, if that can write the layout's programs; the other two in NumPy, which gives the
        same rows.
        """
        self._check(samples)
        if resolve_backend(backend) == "cpp" and self._layout.program_writer:
            return self._arranged(self._encode_cpp(samples, check_threads(threads)))
        out = np.full((len(samples), self._length), self.pad_id, self._folding.plain_dtype)
        out[:, : self._code] = self._specifications(samples)
        self._layout.write_programs(samples.symbols, samples.lengths, out[:, self._code :])
        return self._arranged(out)

    def generate(
        self, split: str, start: int, count: int, *, backend: str | None = None, threads: int | None = None
    ) -> np.ndarray:
        """The rows `encode(generate(recipe, split, start, count))`, faster where worlds need not be kept.

        The core then draws only the shown worlds and writes each sample's row at once. Errors as for `generate`.
        """
        start, count = check_range(start, count)
        if resolve_backend(backend) == "cpp" and self._layout.program_writer and self.recipe.straight_line:
            from karel_fast import _core

            plan = make_plan(self.recipe, split)
            rows, lengths = _core.sample_tokens(
                plan, self._layout, self._length, self._wide, start, count, check_threads(threads)
            )
            check_found(lengths, start, self.recipe, split)
            return self._arranged(rows)
        samples = generate(self.recipe, split, start, count, backend=backend, threads=threads)
        return self.encode(samples, backend=backend, threads=threads)

    def _arranged(self, rows: np.ndarray) -> np.ndarray:
        """The layout's rows, or prompts, as this tokenizer has them."""
        return self._folding.fold(rows)

    @property
    def _wide(self) -> bool:
        return self._folding.plain_dtype == np.uint16

    def _encode_cpp(self, samples: Samples, threads: int) -> np.ndarray:
        from karel_fast import _core

        before, after = samples.inputs, samples.outputs
        return _core.encode_samples(
            self._layout, self._length, self._wide, samples.recipe.worlds_per_sample,
            np.ascontiguousarray(samples.symbols), np.ascontiguousarray(samples.lengths), before.walls, before.markers,
            before.robot, after.walls, after.markers, after.robot, threads,
        )  # fmt: skip

    def encode_prompts(self, samples: Samples) -> np.ndarray:
        """`dtype` (n, prompt_length): everything before the program's first token."""
        self._check(samples)
        return self._arranged(self._specifications(samples))

    def _specifications(self, samples: Samples) -> np.ndarray:
        inputs, outputs = samples.shown()
        out = np.empty((len(samples), self._code), self._folding.plain_dtype)
        out[:] = self._layout.template
        positions = self._layout.cell_positions
        # No samples give no hint at how long a row of them is.
        cells = np.stack([_cells(inputs), _cells(outputs)], axis=1).reshape(len(samples), len(positions))
        out[:, positions] = cells + self._layout.first_cell
        return out

    def action_positions(self, samples: Samples) -> np.ndarray:
        """int64 (n, Lmax): where in its row the token stands that predicts each action (the one before it); -1 padded.

        ValueError for recipes with control flow, whose written actions are not those performed.
        """
        self._check(samples)
        actions = samples.actions
        first = self._program_at + self._layout.tokens_before_action - 1
        positions = first + self._layout.tokens_per_action * np.arange(actions.shape[1])
        return np.where(np.arange(actions.shape[1]) < samples.lengths[:, None], positions, -1)

    def _check(self, samples: Samples) -> None:
        mine, theirs = self.recipe, samples.recipe
        if mine is theirs:
            return
        shape = lambda r: (r.height, r.width, r.examples, r.control, r.lengths[1])  # noqa: E731
        if shape(mine) != shape(theirs):
            raise ValueError(
                "these samples are of a recipe with another world size, number of examples, control flow or longest "
                "program than the tokenizer's: make Tokenizer(samples.recipe)"
            )

    # -- decoding -----------------------------------------------------------------------------------------------------

    def decode(self, row: Sequence[int] | np.ndarray) -> str:
        """The text of a row of token ids, without its padding. ValueError for an id outside the vocabulary."""
        ids = [int(i) for i in row]
        there_are = self._folding.tokens
        for place, token in enumerate(ids):
            if not 0 <= token < there_are:
                raise ValueError(f"token {token} at position {place} is outside 0..{there_are - 1}")
        ids = [i for i in ids if i != self.pad_id]
        return self._layout.text(self._folding.unfold(ids))

    def symbols(self, program: Sequence[int] | np.ndarray) -> list[int]:
        """The symbols (`karel_fast.data.sampling.symbols`) of a program's tokens, those after the prompt."""
        return self._layout.symbols(program)

    def grammar(self) -> Grammar:
        """The tables that keep a decoder to well-formed programs."""
        return make_grammar(self._layout).widened(self.vocab_size)

    def to_hf(self) -> Any:
        """A `transformers.PreTrainedTokenizerFast` that gives the same ids for the texts that `decode` gives.

        ValueError for a layout that has no list of all its tokens.
        """
        if self._folding.code is not None:
            raise ValueError(f"the {self.layout} layout's tokens cannot be listed, as Hugging Face tokenizers do")
        from karel_fast.data.tokens.hf_tokenizer import make_hf_tokenizer

        return make_hf_tokenizer(self._layout)

    def __repr__(self) -> str:
        return f"<{self.layout} tokenizer of {self.vocab_size} tokens, rows of {self.sequence_length}>"


def _cells(worlds: Worlds) -> np.ndarray:
    """What each interior cell shows (see `Worlds.cells`): uint8 (N, cells)."""
    return worlds.cells()[:, 1:-1, 1:-1].reshape(len(worlds), (worlds.height - 2) * (worlds.width - 2))
