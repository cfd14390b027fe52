"""Rows for a model that plays the interpreter: it is given inputs and code, and writes outputs.

They are the rows of the `compact` layout with their columns in another order:

    input <cells> input <cells> .. code <symbols> <end> <pad> .. | output <cells> output <cells> ..

Everything before the bar is the prompt. Programs of every length have the same room, filled up with padding, so that outputs
stand at the same places in every row.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.samples import Samples
from karel_fast.data.tokens.grammar import Grammar
from karel_fast.data.tokens.registry import LAYOUTS
from karel_fast.data.tokens.tokenizer import Tokenizer
from karel_fast.support.checks import InputError, one_of

INTERPRETER = "interpreter"
"""What stands for a layout where these rows are meant: in presets, on the command line, in a snapshot's card."""

NAMES = (*LAYOUTS, INTERPRETER)
"""Every layout by name, and these rows."""


class InterpreterTokenizer(Tokenizer):
    """As `Tokenizer`, but the prompt is inputs and program, and what follows it are the outputs.

    So `prompt_length` is where the first output begins, `grammar` allows a cell wherever one belongs, and training with
    loss="outputs" or "program" has the outputs for its targets and nothing else.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe, "compact")
        ends = super().cell_positions[:, :, -1].ravel() + 1
        worlds = np.split(np.arange(self.sequence_length), ends)
        *worlds, program = worlds
        self._order = np.concatenate([*worlds[::2], program, *worlds[1::2]])
        self._place = np.argsort(self._order)
        self._outputs = sum(map(len, worlds[1::2]))

    @property
    def layout(self) -> str:
        return INTERPRETER

    @property
    def prompt_length(self) -> int:
        return self.sequence_length - self._outputs

    @property
    def cell_positions(self) -> np.ndarray:
        return self._place[super().cell_positions]

    def encode_prompts(self, samples: Samples) -> np.ndarray:
        """uint8 or uint16 (n, prompt_length): inputs and program."""
        return self.encode(samples)[:, : self.prompt_length]

    def action_positions(self, samples: Samples) -> np.ndarray:
        positions = super().action_positions(samples)
        return np.where(positions >= 0, self._place[positions], -1)

    def grammar(self) -> Grammar:
        """The tables that keep a decoder to output worlds: any cell at a cell's place, and no choice elsewhere."""
        steps, vocabulary = self._outputs, self.vocab_size
        allowed = np.zeros((steps + 1, vocabulary), bool)
        template = self._layout.template[self._order[self.prompt_length :]]
        allowed[np.arange(steps), template] = True
        allowed[self.output_positions - self.prompt_length, self.cell_ids.start : self.cell_ids.stop] = True
        allowed[steps, self.pad_id] = True
        states = np.arange(steps + 1, dtype=np.int32)[:, None]
        next_state = np.where(allowed, np.minimum(states + 1, steps), states).astype(np.int32)
        return Grammar(next_state, allowed, 0, np.full(vocabulary, -1, np.int8))

    def _arranged(self, rows: np.ndarray) -> np.ndarray:
        return np.take(rows, self._order, axis=1)


def make_tokenizer(recipe: Recipe, layout: str) -> Tokenizer:
    """The tokenizer of a layout, or for "interpreter" the one whose model writes outputs. ValueError for another name."""
    one_of("layout", layout, NAMES)
    return InterpreterTokenizer(recipe) if layout == INTERPRETER else Tokenizer(recipe, layout)


def program_tokenizer(recipe: Recipe, layout: str) -> Tokenizer:
    """The tokenizer of a layout whose model writes programs. InputError for "interpreter", ValueError for another name."""
    if layout == INTERPRETER:
        raise InputError(
            "the model's layout is interpreter: it writes outputs, not programs, so there is none to probe"
        )
    return Tokenizer(recipe, layout)


def is_interpreter(tokenizer: Any) -> bool:
    """Whether a model of this tokenizer writes outputs, and no programs."""
    return isinstance(tokenizer, InterpreterTokenizer)
