"""Which tokens may follow in a program, as tables that a decoder uses as a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karel_fast.data.tokens.layout import Layout
from karel_fast.data.tokens.symbol_grammar import State
from karel_fast.karel.language import Action


@dataclass(frozen=True)
class Grammar:
    """A state machine over the tokens that follow the prompt.

    From state s the tokens t with `allowed[s, t]` may come, and lead to `next_state[s, t]` (s itself where not
    allowed). After the token that ends a program only padding follows. `action_of_token` is -1 for other tokens.
    """

    next_state: np.ndarray  # int32 (states, vocabulary)
    allowed: np.ndarray  # bool (states, vocabulary)
    start_state: int
    action_of_token: np.ndarray  # int8 (vocabulary,)

    def widened(self, vocabulary: int) -> Grammar:
        """The same with more tokens, none of which is allowed."""
        more = vocabulary - self.allowed.shape[1]
        if more == 0:
            return self
        states = np.arange(len(self.next_state), dtype=np.int32)[:, None]
        return Grammar(
            np.concatenate([self.next_state, np.repeat(states, more, axis=1)], axis=1),
            np.pad(self.allowed, ((0, 0), (0, more))),
            self.start_state,
            np.pad(self.action_of_token, (0, more), constant_values=-1),
        )


def make_grammar(layout: Layout) -> Grammar:
    """The grammar of a layout's programs: its `edges`, followed from its start state."""
    numbers: dict[State, int] = {layout.start_state: 0}
    table: list[dict[int, int]] = []
    queue = [layout.start_state]
    for here in queue:  # grows while it is read: breadth first
        row: dict[int, int] = {}
        for token, target in layout.edges(here):
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
    symbols = layout.symbol_of_token.astype(np.int16)
    return Grammar(next_state, allowed, 0, np.where(symbols < len(Action), symbols, -1).astype(np.int8))
