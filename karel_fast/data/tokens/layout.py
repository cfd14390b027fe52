"""What a token layout is: a vocabulary, a prompt template, and a rule for programs.

The prompt has the same length for every sample of a recipe: a template whose cell places are filled in. Cells are
written as in the text form of worlds, so the robot hides the markers under it and nine markers also stand for more.

A program is a row of symbols (`karel_fast.data.sampling.symbols`). As the base class has it, each symbol is one token,
and texts are words with white space between them. A subclass gives the words; one that writes programs another way also
gives `encode_program`, `edges` and what else depends on it. `docs/extending-layouts.md` has an example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.symbols import PAD
from karel_fast.data.tokens.symbol_grammar import DONE, END, START, Edges, State, symbol_edges
from karel_fast.karel.language import Action

MOST_TOKENS = 2**16
SYMBOLS = 256  # the values that a byte of a symbol row may have


class Layout(ABC):
    """How samples of one recipe are written as tokens. ValueError for a vocabulary or template that does not hold up.

    tokens: the text of every token, by id. The first pads, the second ends a program.
    template: int64 (prompt_length,), the prompt with every cell shown as empty.
    cell_positions: int64 (examples * 2 * cells,), where cells stand in it: example by example, input before output.
    token_of_symbol: int64 (256,), the token of each symbol; pad_id for symbols without one.
    symbol_of_token: uint8 (vocabulary,), the other way round; 255 for tokens that are no symbol's.
    """

    name: ClassVar[str]

    cell_words: ClassVar[tuple[str, ...]]
    """The tokens of what a cell can show, in the order of `karel_fast.karel.world.CELL_SIGNS`."""

    program_writer: ClassVar[str | None] = None
    """How programs are written, if in a way that the compiled core knows: "symbols" (each symbol's token, in turn), "lines" (a
    statement a line, see `line_tokens`), or None: the core then leaves the rows to Python.
    """

    line_tokens: tuple[int, int, int] = (0, 0, 0)
    """For the core's "lines": indent, end of a line, and what follows a block's condition or count."""

    rows_per_token: ClassVar[int | None] = None
    """Of how many rows of a world the tokenizer makes one token (`karel_fast.data.tokens.folding`); None: a cell is a token. All else
    here is of the tokens before that. The cells of one token must stand next to each other.
    """

    pad_id: ClassVar[int] = 0
    end_id: ClassVar[int] = 1

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.symbol_words = dict(self.words(recipe))
        self.tokens = tuple(self.vocabulary())
        self.token_ids = {token: i for i, token in enumerate(self.tokens)}
        self._check_vocabulary()
        self.first_cell = self.token_ids[self.cell_words[0]]
        self.template = np.array([self.token_ids[word] for word in self.prompt()], np.int64)
        self.cell_positions = np.flatnonzero(self.template == self.first_cell)
        self.token_of_symbol = np.full(SYMBOLS, self.pad_id, np.int64)
        self.symbol_of_token = np.full(len(self.tokens), PAD, np.uint8)
        for symbol, word in self.symbol_words.items():
            self.token_of_symbol[symbol] = self.token_ids[word]
            self.symbol_of_token[self.token_ids[word]] = symbol
        self.columns = recipe.width - 2  # interior cells in a row,
        self.cells = (recipe.height - 2) * self.columns  # and in a world
        self._check_cells()
        self._check_writer()

    # -- what a subclass gives ------------------------------------------------------------------------------------------

    @abstractmethod
    def words(self, recipe: Recipe) -> Mapping[int, str]:
        """The token of every symbol that a program of the recipe may have. Called once, before all else."""

    @abstractmethod
    def vocabulary(self) -> Sequence[str]:
        """All tokens, by id: padding, the end of a program, and among the rest `cell_words` in one piece."""

    @abstractmethod
    def prompt(self) -> Sequence[str]:
        """The tokens before a program, with every cell shown as empty, that is as `cell_words[0]`."""

    # -- programs -------------------------------------------------------------------------------------------------------

    @property
    def longest_program(self) -> int:
        """The most tokens that a program of the recipe takes, without the one that ends it."""
        return self.recipe.symbol_width

    def encode_program(self, symbols: Sequence[int]) -> list[int]:
        """The tokens of a program, before the one that ends it. ValueError for a symbol without a token."""
        return [self.token(symbol) for symbol in symbols]

    def token(self, symbol: int) -> int:
        """The symbol's token. ValueError if it has none."""
        token = int(self.token_of_symbol[symbol])
        if token == self.pad_id:
            raise ValueError(
                f"a program has symbol {symbol}, for which the {self.name} layout of this recipe has no token: "
                "make Tokenizer(samples.recipe)"
            )
        return token

    def symbols(self, tokens: Sequence[int] | np.ndarray) -> list[int]:
        """The symbols of a program's tokens: the inverse of `encode_program`. Padding and the end token say nothing."""
        symbols = self.symbol_of_token[np.asarray(tokens, np.int64)]
        return symbols[symbols != PAD].tolist()

    def write_programs(self, symbols: np.ndarray, lengths: np.ndarray, rows: np.ndarray) -> None:
        """Write programs, uint8 (n, W) and int32 (n,), and the tokens that end them into rows of padding, (n, T).

        ValueError if a symbol has no token, or a program takes more tokens than `longest_program` promised.
        """
        if self.program_writer == "symbols":
            used = self.used(symbols, lengths)
            rows[:, : symbols.shape[1]] = np.where(used, self.token_of_symbol[symbols], self.pad_id)
            rows[np.arange(len(rows)), lengths] = self.end_id
            return
        for program, length, row in zip(symbols, lengths, rows, strict=True):
            tokens = [*self.encode_program(program[:length].tolist()), self.end_id]
            if len(tokens) > len(row):
                raise ValueError(
                    f"a program takes {len(tokens)} tokens with its end, but the {self.name} layout's rows have room for "
                    f"{len(row)}: correct {type(self).__name__}.longest_program"
                )
            row[: len(tokens)] = tokens

    def used(self, symbols: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """bool (n, W): where the symbols of programs stand. ValueError if one of them has no token."""
        used = np.arange(symbols.shape[1]) < lengths[:, None]
        missing = symbols[used & (self.token_of_symbol[symbols] == self.pad_id)]
        if len(missing):
            self.token(int(missing[0]))  # raises
        return used

    @cached_property
    def tokens_per_action(self) -> int:
        """Tokens of each action in a program without control flow."""
        return len(self.encode_program([Action.MOVE]))

    @cached_property
    def tokens_before_action(self) -> int:
        """How many of an action's tokens stand before the one that says which action it is."""
        return self.encode_program([Action.MOVE]).index(self.token(Action.MOVE))

    # -- the grammar ----------------------------------------------------------------------------------------------------

    start_state: ClassVar[State] = START

    def edges(self, state: State) -> Edges:
        """The tokens that may follow in a program, with the states they lead to; after its end, padding for ever."""
        if state == DONE:
            yield self.pad_id, DONE
        for symbol, target in symbol_edges(self.recipe, state):
            yield self.end_id if symbol == END else self.token(symbol), target

    # -- texts ----------------------------------------------------------------------------------------------------------

    def text(self, ids: Sequence[int]) -> str:
        """The text of tokens, which `split_text` splits into them again."""
        return " ".join(self.tokens[i] for i in ids)

    def split_text(self, tokenizer: Any) -> None:
        """Tell a `tokenizers.Tokenizer` over the vocabulary how a text is split into tokens, and how they are joined."""
        from tokenizers import pre_tokenizers

        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    # -- what the core needs to place cells -----------------------------------------------------------------------------

    @cached_property
    def cell_step(self) -> int:
        """Tokens from a cell to the next in its row; 1 where a row has one cell."""
        return int(self.cell_positions[1] - self.cell_positions[0]) if self.columns > 1 else 1

    @cached_property
    def row_step(self) -> int:
        """Tokens from a row's first cell to the next row's; 1 where a world has one row."""
        return int(self.cell_positions[self.columns] - self.cell_positions[0]) if self.cells > self.columns else 1

    @cached_property
    def grid_starts(self) -> list[int]:
        """Where each grid's first cell stands: input, output, input, .."""
        return self.cell_positions[:: self.cells].tolist()

    # -- checks ---------------------------------------------------------------------------------------------------------

    def _check_vocabulary(self) -> None:
        if len(self.token_ids) < len(self.tokens):
            twice = next(token for i, token in enumerate(self.tokens) if self.token_ids[token] != i)
            raise ValueError(f"the {self.name} layout's vocabulary has {twice!r} twice; give every token its own text")
        if len(self.tokens) > MOST_TOKENS:
            raise ValueError(
                f"the {self.name} layout has {len(self.tokens)} tokens; at most {MOST_TOKENS} fit in a row"
            )
        for word in (*self.cell_words, *self.symbol_words.values()):
            if word not in self.token_ids:
                raise ValueError(f"the {self.name} layout's vocabulary lacks {word!r}; add it to vocabulary()")
        first = self.token_ids[self.cell_words[0]]
        if self.tokens[first : first + len(self.cell_words)] != self.cell_words:
            raise ValueError(
                f"the {self.name} layout's vocabulary must have its cell_words next to each other, in order"
            )

    def _check_cells(self) -> None:
        wanted = self.recipe.examples * 2 * self.cells
        if len(self.cell_positions) != wanted:
            raise ValueError(
                f"the {self.name} layout's prompt shows {len(self.cell_positions)} cells; this recipe has {wanted} "
                "(the interior of the input and the output of every example)"
            )
        places = np.arange(self.cells)
        grid = places // self.columns * self.row_step + places % self.columns * self.cell_step
        if not np.array_equal(self.cell_positions, np.add.outer(self.grid_starts, grid).ravel()):
            raise ValueError(f"the {self.name} layout's prompt must space the cells of every world alike")

    def _check_writer(self) -> None:
        writer = next(kind for kind in type(self).__mro__ if {"encode_program", "program_writer"} & vars(kind).keys())
        if self.program_writer not in (None, "symbols") and "program_writer" not in vars(writer):
            raise ValueError(
                f"{writer.__name__} writes programs its own way (encode_program) and inherits program_writer = {self.program_writer!r}, "
                "which the compiled core goes by: set program_writer to None"
            )
        symbols = list(self.symbol_words)
        if self.program_writer == "symbols" and self.encode_program(symbols) != self.token_of_symbol[symbols].tolist():
            raise ValueError(
                f"the {self.name} layout writes other tokens than each symbol's: set program_writer to None"
            )
