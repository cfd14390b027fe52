"""What an ideal reader of a specification knows: every program that satisfies it, counted and weighed by the recipe's prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

from karel_fast.support.lazy import lazy

if TYPE_CHECKING:
    from karel_fast.exact.graph import Graph as Graph
    from karel_fast.exact.ideal_loss import Floor as Floor
    from karel_fast.exact.ideal_loss import floor as floor
    from karel_fast.exact.ideal_states import Ceiling as Ceiling
    from karel_fast.exact.ideal_states import StateCodes as StateCodes
    from karel_fast.exact.ideal_states import ceiling as ceiling
    from karel_fast.exact.solution import Solution as Solution
    from karel_fast.exact.solution import solve as solve
    from karel_fast.exact.solution_files import SolutionSet as SolutionSet
    from karel_fast.exact.solution_files import read_solutions as read_solutions
    from karel_fast.exact.solution_files import write_solutions as write_solutions

_HOME = {
    "Ceiling": "ideal_states",
    "Floor": "ideal_loss",
    "Graph": "graph",
    "Solution": "solution",
    "SolutionSet": "solution_files",
    "StateCodes": "ideal_states",
    "ceiling": "ideal_states",
    "floor": "ideal_loss",
    "read_solutions": "solution_files",
    "solve": "solution",
    "write_solutions": "solution_files",
}

__all__ = sorted(_HOME)


__getattr__, __dir__ = lazy(__name__, _HOME)
