"""The `reference` layout: the original authors' text, whose spaces, newlines and braces are tokens of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from karel_fast.data.sampling.extent import StatementCosts
from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.symbols import CLOSE, CONDITION, COUNT, ELSE, IF, IFELSE, NOT, OPEN, REPEAT, WHILE
from karel_fast.data.tokens.layout import Layout
from karel_fast.data.tokens.symbol_grammar import DONE, START, Edges, State, symbol_edges
from karel_fast.karel.language import Action
from karel_fast.karel.language.vocabulary import ACTION_NAMES, CONDITION_NAMES
from karel_fast.karel.world import MOST_SHOWN, ROBOT_SIGNS

INDENT, NEWLINE, SPACE, RIGHT_PAREN = "  ", "\n", " ", ")"

_SIGN_WORDS = {"^": "__up__", ">": "__right__", "v": "__down__", "<": "__left__"}


def line_costs(level: int) -> StatementCosts:
    """Tokens of statements on lines of their own, inside `level` - 1 blocks: a line is its indents and a newline, too."""
    close = level + 1  # its brace includes one indent
    return StatementCosts(
        action=level + 2,
        condition_block=level + 5 + close,
        negation=1,
        repeat_block=level + 5 + close,
        orelse=level + 3 + close,
    )


class ReferenceLayout(Layout):
    """The original's text. A statement a line, indented two spaces a level.

    A block ends in a line of its own; its brace and the last two spaces before it are one token, which keeps the brace
    that ends the program apart.
    """

    name = "reference"
    cell_words = (
        "__space__",
        *(f"__{count}_Marker__" for count in range(1, MOST_SHOWN + 1)),
        "__wall__",
        *(_SIGN_WORDS[sign] for sign in ROBOT_SIGNS),
    )
    program_writer = "lines"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.indent, self.newline = self.token_ids[INDENT], self.token_ids[NEWLINE]
        # A straight-line recipe has no blocks, hence no such parenthesis, and nothing asks for its token.
        self.right_paren = self.token_ids.get(RIGHT_PAREN, self.pad_id)
        self.line_tokens = (self.indent, self.newline, self.right_paren)

    def words(self, recipe: Recipe) -> Mapping[int, str]:
        words = {code: f"{name}()" for code, name in enumerate(ACTION_NAMES)}
        if recipe.control is not None:
            words |= {IF: "if(", IFELSE: "ifelse(", WHILE: "while(", REPEAT: "repeat(", ELSE: "else", NOT: "not "}
            words |= {CONDITION + code: f"{name}()" for code, name in enumerate(CONDITION_NAMES)}
            words |= {OPEN: " {", CLOSE: "  }"}
            words |= {COUNT + count: str(count) for count in range(recipe.control.repeat_counts[1] + 1)}
        return words

    def vocabulary(self) -> Sequence[str]:
        head = ("<PAD>", "}", "Examples:", "Code:", "def", "run()", " {", INDENT, SPACE, NEWLINE)
        # The head has " {", since every program begins with one; a parenthesis takes its place among the symbols.
        symbols = [RIGHT_PAREN if symbol == OPEN else word for symbol, word in self.symbol_words.items()]
        examples = range(self.recipe.examples)
        return (
            *head, *self.cell_words, *symbols, *(f"Input{k}" for k in examples), *(f"Output{k}" for k in examples)
        )  # fmt: skip

    def prompt(self) -> Sequence[str]:
        row = [SPACE, self.cell_words[0]] * (self.recipe.width - 2) + [NEWLINE]
        world = row * (self.recipe.height - 2)
        words = ["Examples:", NEWLINE, NEWLINE]
        for k in range(self.recipe.examples):
            words += [f"Input{k}", NEWLINE, *world, f"Output{k}", NEWLINE, *world]
        return [*words, NEWLINE, "Code:", NEWLINE, "def", SPACE, "run()", " {", NEWLINE]

    # -- programs -------------------------------------------------------------------------------------------------------

    @property
    def longest_program(self) -> int:
        statements, control = self.recipe.lengths[1], self.recipe.control
        if control is None:
            return statements * line_costs(1).action
        return control.longest_program(statements, line_costs)

    def encode_program(self, symbols: Sequence[int]) -> list[int]:
        out: list[int] = []
        depth = 1
        paren = False  # the block that opens next has a condition or count in parentheses
        for symbol in symbols:
            token = self.token(symbol)
            if symbol < IF:
                out += [*[self.indent] * depth, token, self.newline]
            elif symbol <= ELSE:
                out += [*[self.indent] * depth, token]
                paren = symbol != ELSE
            elif symbol == OPEN:
                out += [*[self.right_paren] * paren, token, self.newline]
                depth += 1
            elif symbol == CLOSE:
                depth -= 1
                out += [*[self.indent] * (depth - 1), token, self.newline]
            else:  # `not`, a condition or a repeat count
                out.append(token)
        return out

    def write_programs(self, symbols: np.ndarray, lengths: np.ndarray, rows: np.ndarray) -> None:
        """As in the base class, straight-line programs all at once."""
        if not self.recipe.straight_line:
            super().write_programs(symbols, lengths, rows)
            return
        used = self.used(symbols, lengths)
        lines = np.array([self.encode_program([action]) for action in range(len(Action))])
        tokens = np.where(used[:, :, None], lines[np.where(used, symbols, 0)], self.pad_id)
        width = symbols.shape[1] * self.tokens_per_action
        rows[:, :width] = tokens.reshape(len(rows), width)
        rows[np.arange(len(rows)), self.tokens_per_action * lengths] = self.end_id

    # -- the grammar ----------------------------------------------------------------------------------------------------

    # A state is a place, the open blocks and whether the innermost body has a statement, as of symbols; a number for a
    # place says how many indents of a line are written. Or it is ("force", tokens that must come, the state after them).
    start_state: ClassVar[State] = (0, *START[1:])

    def edges(self, state: State) -> Edges:
        if state == DONE:
            yield self.pad_id, DONE
            return
        place, blocks, nonempty = state
        if place == "force":
            tokens, target = state[1:]
            yield tokens[0], _forced(tokens[1:], target)
        elif isinstance(place, int):
            yield from self._line_edges(place, blocks, nonempty)
        elif place == "else":
            tokens = (*[self.indent] * len(blocks), self.token(ELSE), self.token(OPEN), self.newline)
            yield tokens[0], _forced(tokens[1:], (0, blocks, False))
        elif place == "open":
            yield self.right_paren, _forced((self.token(OPEN), self.newline), (0, blocks, False))
        else:  # condition, negated, count
            for symbol, target in symbol_edges(self.recipe, state):
                yield self.token(symbol), target

    def _line_edges(self, written: int, blocks: str, nonempty: bool) -> Edges:
        """After `written` indents: a statement needs one per block plus one, a closing line two fewer plus its brace."""
        depth = len(blocks) + 1
        if written < depth:
            yield self.indent, (written + 1, blocks, nonempty)
        if nonempty and not blocks and written == 0:
            yield self.end_id, DONE
        if nonempty and blocks and written == depth - 2:
            (target,) = (t for s, t in symbol_edges(self.recipe, ("statement", blocks, True)) if s == CLOSE)
            yield self.token(CLOSE), _forced((self.newline,), _line_state(target))
        if written == depth:
            for symbol, target in symbol_edges(self.recipe, ("statement", blocks, False)):
                yield self.token(symbol), _forced((self.newline,), _line_state(target)) if symbol < IF else target

    # -- texts ----------------------------------------------------------------------------------------------------------

    def text(self, ids: Sequence[int]) -> str:
        return "".join(self.tokens[i] for i in ids)

    def split_text(self, tokenizer: Any) -> None:
        """Cut at the longest token that fits."""
        from tokenizers import AddedToken, Regex, decoders, pre_tokenizers

        longest_first = sorted(self.tokens, key=len, reverse=True)
        pattern = Regex("|".join(re.escape(token).replace("\\\n", "\n") for token in longest_first))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, "isolated")
        tokenizer.decoder = decoders.Fuse()
        # Special tokens, as the brace that ends a program is, are cut out of the text first: so must the other brace.
        close = self.symbol_words.get(CLOSE)
        if close is not None:
            tokenizer.add_tokens([AddedToken(close, normalized=False)])


def _forced(tokens: tuple[int, ...], target: State) -> State:
    """The state in which these tokens must come before `target`."""
    return ("force", tokens, target) if tokens else target


def _line_state(state: State) -> State:
    """A state among symbols as one among lines: a statement begins a line."""
    return (0, *state[1:]) if state[0] == "statement" else state
