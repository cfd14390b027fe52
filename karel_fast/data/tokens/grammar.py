"""Which tokens may follow in a program, as tables that a decoder uses as a mask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.symbols import CLOSE, CONDITION, COUNT, ELSE, IF, IFELSE, NOT, OPEN, REPEAT, WHILE
from karel_fast.data.tokens import layouts
from karel_fast.data.tokens.layouts import Layout

State = tuple[Any, ...]  # see the comments below; all hashable
Edges = Iterable[tuple[int, State]]
DONE: State = ("done",)


@dataclass(frozen=True)
class Grammar:
    """A state machine over the tokens that follow the prompt.

    From state s the tokens t with `allowed[s, t]` may come, and lead to `next_state[s, t]` (s itself where not
    allowed). A program has at least one statement, as in the original's grammar, no upper length, and only the blocks,
    conditions, repeat counts and depth of the recipe; after the token that ends it only padding follows.
    `action_of_token` is -1 for other tokens.
    """

    next_state: np.ndarray  # int32 (states, vocabulary)
    allowed: np.ndarray  # bool (states, vocabulary)
    start_state: int
    action_of_token: np.ndarray  # int8 (vocabulary,)


def make_grammar(recipe: Recipe, layout: Layout) -> Grammar:
    """The grammar of a layout's programs."""
    compact = layout.name == "compact"
    edges: Callable[[State], Edges] = partial(_compact_edges if compact else _reference_edges, recipe, layout)
    start: State = ("statement" if compact else "line", "", False)
    numbers: dict[State, int] = {start: 0}
    table: list[dict[int, int]] = []
    queue = [start]
    for here in queue:  # grows while it is read: breadth first
        row: dict[int, int] = {}
        for token, target in edges(here):
            if target not in numbers:
                numbers[target] = len(numbers)
                queue.append(target)
            row[token] = numbers[target]
        table.append(row)
    shape = len(table), len(layout.tokens)
    next_state = np.repeat(np.arange(shape[0], dtype=np.int32)[:, None], shape[1], axis=1)
    allowed = np.zeros(shape, bool)
    for number, row in enumerate(table):
        for token, successor in row.items():
            allowed[number, token], next_state[number, token] = True, successor
    action_of_token = np.full(shape[1], -1, np.int8)
    action_of_token[layout.first_action : layout.first_action + 5] = range(5)
    return Grammar(next_state, allowed, 0, action_of_token)


# A state is ("place", open blocks, whether the innermost body has a statement). The open blocks are a string, outermost
# first: "b" for one that just closes, "e" for an ifelse's first body, which an `else` follows.


def _symbol_edges(recipe: Recipe, state: State) -> Edges:
    """The grammar over symbols, which both layouts refine; the symbol -1 stands for the end of the program."""
    place, blocks, nonempty = state
    control = recipe.control
    if place == "statement":
        yield from ((action, ("statement", blocks, True)) for action in range(5))
        if control is not None and len(blocks) < control.depth:
            for symbol, weight in zip((IF, IFELSE, WHILE, REPEAT), control.statement_weights, strict=True):
                if weight:
                    inside = "count" if symbol == REPEAT else "condition"
                    yield symbol, (inside, blocks + ("e" if symbol == IFELSE else "b"), False)
        if nonempty and blocks:
            yield CLOSE, ("else", blocks[:-1] + "b", False) if blocks[-1] == "e" else ("statement", blocks[:-1], True)
        if nonempty and not blocks:
            yield -1, DONE
    elif place in ("condition", "negated"):
        assert control is not None
        if place == "condition" and control.negate:
            yield NOT, ("negated", blocks, False)
        for condition, weight in enumerate(control.condition_weights):
            if weight:
                yield CONDITION + condition, ("open", blocks, False)
    elif place == "count":
        assert control is not None
        low, high = control.repeat_counts
        yield from ((COUNT + n, ("open", blocks, False)) for n in range(low, high + 1))
    elif place == "else":
        yield ELSE, ("open", blocks, False)
    elif place == "open":
        yield OPEN, ("statement", blocks, False)


def _compact_edges(recipe: Recipe, layout: Layout, state: State) -> Edges:
    if state == DONE:
        yield layout.pad_id, DONE
        return
    for symbol, target in _symbol_edges(recipe, state):
        yield layout.end_id if symbol < 0 else layouts.COMPACT_SYMBOL + symbol, target


def _reference_edges(recipe: Recipe, layout: Layout, state: State) -> Edges:
    """A state is ("line" | ("indent", n) | place, blocks, nonempty), or (token, rest, state): forced tokens to come."""
    if state == DONE:
        yield layout.pad_id, DONE
        return
    place, blocks, nonempty = state
    newline, indent = layouts.REF_NEWLINE, layouts.REF_INDENT
    if place == "force":  # blocks: tokens to come, nonempty: the state after them
        tokens, target = blocks, nonempty
        yield tokens[0], ("force", tokens[1:], target) if tokens[1:] else target
    elif place == "line":
        # n indents are written; a statement here needs one per block plus one, a closing line two fewer plus its brace.
        yield from _line_edges(recipe, layout, 0, blocks, nonempty)
    elif isinstance(place, int):
        yield from _line_edges(recipe, layout, place, blocks, nonempty)
    elif place == "else":
        tokens = (*(indent,) * len(blocks), layouts.REF_CONTROL + ELSE - IF, layouts.REF_OPEN, newline)[1:]
        yield indent, ("force", tokens, ("line", blocks, False))
    elif place == "open":
        yield layouts.REF_RIGHT_PAREN, ("force", (layouts.REF_OPEN, newline), ("line", blocks, False))
    else:  # condition, negated, count
        for symbol, target in _symbol_edges(recipe, state):
            token = layouts.REF_COUNT + symbol - COUNT if symbol >= COUNT else layouts.REF_CONTROL + symbol - IF
            yield token, target


def _line_edges(recipe: Recipe, layout: Layout, written: int, blocks: str, nonempty: bool) -> Edges:
    newline, indent = layouts.REF_NEWLINE, layouts.REF_INDENT
    depth = len(blocks) + 1
    if written < depth:
        yield indent, (written + 1, blocks, nonempty)
    if nonempty and not blocks and written == 0:
        yield layout.end_id, DONE
    if nonempty and blocks and written == depth - 2:
        ((_, target),) = ((s, t) for s, t in _symbol_edges(recipe, ("statement", blocks, True)) if s == CLOSE)
        after = ("line", *target[1:]) if target[0] == "statement" else target
        yield layouts.REF_CLOSE, ("force", (newline,), after)
    if written == depth:
        for symbol, target in _symbol_edges(recipe, ("statement", blocks, False)):
            if symbol < IF:
                yield layouts.REF_ACTION + symbol, ("force", (newline,), ("line", blocks, True))
            else:
                yield layouts.REF_CONTROL + symbol - IF, target
