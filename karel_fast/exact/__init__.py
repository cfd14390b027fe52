"""What an ideal reader of a specification knows: every program that satisfies it, counted and weighed by the recipe's prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from karel_fast.support.lazy import lazy

if TYPE_CHECKING:
    from karel_fast.exact.contender import Contender as Contender
    from karel_fast.exact.contender import contend as contend
    from karel_fast.exact.graph import Graph as Graph
    from karel_fast.exact.ideal_loss import Floor as Floor
    from karel_fast.exact.ideal_loss import floor as floor
    from karel_fast.exact.ideal_states import Ceiling as Ceiling
    from karel_fast.exact.ideal_states import StateCodes as StateCodes
    from karel_fast.exact.ideal_states import ceiling as ceiling
    from karel_fast.exact.solution import Solution as Solution
    from karel_fast.exact.solution import solve as solve

_HOME = {
    "Ceiling": "ideal_states",
    "Contender": "contender",
    "Floor": "ideal_loss",
    "Graph": "graph",
    "Solution": "solution",
    "StateCodes": "ideal_states",
    "ceiling": "ideal_states",
    "contend": "contender",
    "floor": "ideal_loss",
    "solve": "solution",
}

__all__ = sorted(_HOME)


__getattr__, __dir__ = lazy(__name__, _HOME)
