"""Which symbols may follow in a program: the grammar that every layout's own refines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.symbols import CLOSE, CONDITION, COUNT, ELSE, IF, IFELSE, NOT, OPEN, REPEAT, WHILE
from karel_fast.karel.language import Action

State: TypeAlias = tuple[Any, ...]  # hashable
Edges: TypeAlias = Iterable[tuple[int, State]]

# A state is (place, open blocks, whether the innermost body has a statement). The open blocks are a string, outermost
# first: "b" for one that just closes, "e" for an ifelse's first body, which an `else` follows.
START: State = ("statement", "", False)
DONE: State = ("done",)

END = -1
"""Stands for the end of the program, which has no symbol."""


def first_misfit(recipe: Recipe, symbols: Sequence[int]) -> int | None:
    """The place of the first symbol that the recipe's grammar does not allow, len(symbols) if the program may not end there; None for a
    program of the recipe.
    """
    state = START
    for place, symbol in enumerate([*symbols, END]):
        following = dict(symbol_edges(recipe, state))
        if symbol not in following:
            return place
        state = following[symbol]
    return None


def symbol_edges(recipe: Recipe, state: State) -> Edges:
    """The symbols that may come next and the states they lead to; END leads to DONE, from which nothing does.

    A program has at least one statement, as in the original's grammar, no upper length, and only the blocks, conditions,
    repeat counts and depth of the recipe.
    """
    if state == DONE:
        return
    place, blocks, nonempty = state
    control = recipe.control
    if place == "statement":
        yield from ((action, ("statement", blocks, True)) for action in range(len(Action)))
        if control is not None and len(blocks) < control.depth:
            for symbol, weight in zip((IF, IFELSE, WHILE, REPEAT), control.statement_weights, strict=True):
                if weight:
                    inside = "count" if symbol == REPEAT else "condition"
                    yield symbol, (inside, blocks + ("e" if symbol == IFELSE else "b"), False)
        if nonempty and blocks:
            yield CLOSE, ("else", blocks[:-1] + "b", False) if blocks[-1] == "e" else ("statement", blocks[:-1], True)
        if nonempty and not blocks:
            yield END, DONE
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
