"""One specification's programs as a graph: programs that did the same to every world so far share a node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from karel_fast.exact.problem import Prior
from karel_fast.karel.language import Action, Program

END = len(Action)
"""Where the end stands in a posterior, after the actions."""


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """The S nodes that lie on satisfying programs, in order of their number of actions; node 0 is the empty program's.

    starts: int64 (longest + 2,); the nodes after t actions are starts[t] .. starts[t+1]-1.
    children: int32 (S, 5), the node after each written action; -1 where no satisfying program goes on.
    totals: uint32 (S,), sum of the weights that the next action is drawn with.
    satisfied: bool (S,), whether a program may end here.

    Of the ways to go on from each node until a program ends:
    counts: int64 (S,), how many; mass: float64 (S,), their prior probability, that of the actions before left out;
    entropy: float64 (S,), nats, under the posterior; shortest: int32 (S,), actions of the shortest;
    shortest_counts: int64 (S,), how many are that short.

    A specification that no program satisfies has no nodes.
    """

    prior: Prior
    starts: NDArray[np.int64]
    children: NDArray[np.int32]
    totals: NDArray[np.uint32]
    satisfied: NDArray[np.bool_]
    counts: NDArray[np.int64]
    mass: NDArray[np.float64]
    entropy: NDArray[np.float64]
    shortest: NDArray[np.int32]
    shortest_counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)

    def node(self, prefix: Sequence[int]) -> int | None:
        """The node of a prefix; None if no satisfying program begins with it."""
        node = 0 if len(self) else -1
        for action in prefix:
            if node < 0:
                break
            node = int(self.children[node, action])
        return node if node >= 0 else None

    def chances(self, node: int) -> NDArray[np.float64]:
        """float64 (5,): the prior's chance of each action at a node."""
        return np.array(self.prior.action_weights) / self.totals[node]

    def posterior(self, node: int) -> NDArray[np.float64]:
        """float64 (6,): the posterior over the next action, in code order, and the end."""
        children = self.children[node]
        masses = np.where(children < 0, 0.0, self.mass[children])
        ending = self.satisfied[node] / self.prior.lengths_left(0)
        return np.append(self.chances(node) * masses, ending) / self.mass[node]

    def programs(self) -> Iterator[Program]:
        """Every satisfying program once, in the order of their action codes, a program before those that continue it."""
        stack: list[tuple[int, tuple[int, ...]]] = [(0, ())] if len(self) else []
        while stack:
            node, actions = stack.pop()
            if self.satisfied[node]:
                yield Program.from_actions(actions)
            children = self.children[node].tolist()
            stack += [(child, (*actions, a)) for a, child in reversed(list(enumerate(children))) if child >= 0]
