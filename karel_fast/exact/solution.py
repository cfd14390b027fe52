"""`solve`: everything that an ideal reader of specifications knows about their programs."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from karel_fast.data.sampling.generation import check_threads
from karel_fast.data.sampling.recipe import Recipe
from karel_fast.data.sampling.samples import Programs, Samples
from karel_fast.exact.graph import END, Graph
from karel_fast.exact.problem import Problem, from_samples, from_worlds
from karel_fast.karel.backends import BackendUnavailableError, available_backends, resolve_backend
from karel_fast.karel.language import Program, parse
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import one_of, whole

BACKENDS = ("cpp", "reference")
MAX_STATES = 4_000_000
HIGHEST_MAX_STATES = 250_000_000
GRAPHS_KEPT = 16


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What `solve` returns for n specifications. "Satisfying" programs are those that the prior can draw and that turn every
    shown input into its output, as a specification shows it (`Worlds.same_text`).

    counts: int64 (n,), satisfying programs.
    mass: float64 (n,), their prior probability.
    shortest: int32 (n,), actions of the shortest; -1 if there is none.
    shortest_counts: int64 (n,), how many are that short.
    entropy: float64 (n,), nats of a program given its specification; NaN if there is none.
    mode_mass: float64 (n,), prior probability of the most probable one.
    generalises: float64 (n,), the chance that a program drawn from the posterior also satisfies the held-out examples: 1 where
        there are none of these, NaN if no program satisfies the shown ones.
    mode_generalises: bool (n,), whether the program in `modes` does.
    reach: float64 (n, longest + 1), the posterior chance of a program to have at least 0, 1, .. actions, NaN if there is none.
    token_entropy: float64 (n, longest + 1), `reach` times the mean entropy of what comes next, in nats: an action or the end. It adds
        up to `entropy`, and `karel_fast.exact.floor` makes the loss that no model can beat of it.
    states: int64 (n,), joint states of the shown worlds that the search kept: what it cost.
    """

    problem: Problem
    counts: NDArray[np.int64]
    mass: NDArray[np.float64]
    shortest: NDArray[np.int32]
    shortest_counts: NDArray[np.int64]
    entropy: NDArray[np.float64]
    mode_mass: NDArray[np.float64]
    generalises: NDArray[np.float64]
    mode_generalises: NDArray[np.bool_]
    reach: NDArray[np.float64]
    token_entropy: NDArray[np.float64]
    states: NDArray[np.int64]
    shortest_actions: NDArray[np.uint8] = field(repr=False)
    mode_actions: NDArray[np.uint8] = field(repr=False)
    mode_lengths: NDArray[np.int32] = field(repr=False)
    _backend: str = field(repr=False)
    _max_states: int = field(repr=False)
    _threads: int = field(repr=False)
    _graphs: dict[int, Graph] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.counts)

    def __repr__(self) -> str:
        solvable = int((self.counts > 0).sum())
        return f"<solution of {len(self)} specifications, {solvable} of which some program satisfies>"

    @property
    def shortest_programs(self) -> Programs:
        """List-like of n programs: the first, in order of action codes, of the shortest; the empty program if there is none."""
        return Programs(self.shortest_actions, np.maximum(self.shortest, 0))

    @property
    def modes(self) -> Programs:
        """List-like of n programs, the most probable ones; of equals the shortest, then the first in order of action codes. The
        empty program if there is none."""
        return Programs(self.mode_actions, np.maximum(self.mode_lengths, 0))

    def graph(self, i: int) -> Graph:
        """Specification i's satisfying programs as a graph, solved again; the last few are kept. IndexError if there is no such i."""
        if not 0 <= (i if i >= 0 else i + len(self)) < len(self):
            raise IndexError(f"specification {i} of {len(self)}")
        i %= len(self)
        if i not in self._graphs:
            arrays = solver_of(self._backend).solve_graph(self.problem, i, self._max_states)
            if len(self._graphs) == GRAPHS_KEPT:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[i] = Graph(self.problem.prior, **arrays)
        return self._graphs[i]

    def posterior(self, i: int, prefix: Program | str | Sequence[int] = ()) -> NDArray[np.float64]:
        """float64 (6,): of specification i, the posterior over the next action after a prefix, in code order, then the end.

        prefix: a straight-line program, its source, or its action codes.

        After a prefix that no satisfying program has, the specification says nothing more, and what is returned is the prior
        after that prefix: what a reader believes who holds that the specification might, with a chance however small, have
        nothing to do with the program. `prefix_mass` tells the two apart. At the longest length and beyond it, the end is
        certain.
        """
        actions = prefix_actions(prefix)
        graph = self.graph(i)
        node = graph.node(actions)
        if node is not None:
            return graph.posterior(node)
        problem = self.problem
        one = Problem(*problem.worlds(i % len(self), problem.shown), problem.shown, problem.shown, problem.prior)
        row, length = np.array([actions], np.uint8), np.array([len(actions)], np.int32)
        return solver_of(self._backend).solve_along(one, row, length, self._max_states, 1)[0][0, -1]

    def prefix_mass(self, i: int, prefix: Program | str | Sequence[int]) -> float:
        """The posterior probability that specification i's program begins with the prefix; 0 if no satisfying program does."""
        graph = self.graph(i)
        actions = prefix_actions(prefix)
        if graph.node(actions) is None:
            return 0.0
        chance, node = 1.0, 0
        for action in actions:
            chance *= float(graph.posterior(node)[action])
            node = int(graph.children[node, action])
        return chance

    def programs(self, i: int) -> Iterator[Program]:
        """All satisfying programs of specification i, in the order of their action codes, a program before those that continue it."""
        return self.graph(i).programs()

    def along(self, actions: ArrayLike, lengths: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """The posteriors after every prefix of one program per specification.

        actions: integers (n, L), codes of one program each, padded with anything; lengths: integers (n,).

        Returns posteriors float64 (n, L+1, 6), as `posterior` gives them, NaN past a program's length, and int32 (n,) the length
        of the longest prefix that some satisfying program has, -1 where no program satisfies the specification.
        """
        rows, sizes = program_rows(actions, lengths, len(self))
        arrays = solver_of(self._backend).solve_along(self.problem, rows, sizes, self._max_states, self._threads)
        return arrays[0], arrays[1]


def solve(
    inputs: Samples | Worlds,
    outputs: Worlds | None = None,
    *,
    recipe: Recipe | None = None,
    examples: int | None = None,
    held_out: tuple[Worlds, Worlds] | None = None,
    max_states: int = MAX_STATES,
    backend: str | None = None,
    threads: int | None = None,
) -> Solution:
    """Solves n specifications exactly: which programs satisfy them, and how probable these are under the recipe's prior.

    inputs: `Samples`, whose recipe and held-out examples are used; or the worlds before, with
    outputs: the worlds after, as many of the same size, and
    recipe: the prior over programs. Its lengths, action weights, semantics and `avoid_noops` count; its splits have no say, nor
        has its size of worlds.
    examples: of one's own worlds, how many in a row make a specification; by default recipe.examples.
    held_out: of one's own worlds, (inputs, outputs) of further examples that the reader does not see, as many for each.
    max_states: states that one specification may take, those of all worlds together and those of each world counted; up to 200 bytes
        each, on every thread. One that needs more ends with an error, before it is short of memory.
    backend: "cpp", "reference" (plain Python, for small recipes), or None for the best available.
    threads: how many to use, by default all processors that this process may use. The results do not depend on it.

    Raises TypeError or ValueError for arguments that cannot be used: worlds of different sizes, a recipe with control flow, a
    specification of more than max_states states or of 2**63 programs or more. One that no program satisfies is no error: its count
    is 0. Ctrl-C stops it within a second.
    """
    if isinstance(inputs, Samples):
        given = {"outputs": outputs, "recipe": recipe, "examples": examples, "held_out": held_out}
        extra = [name for name, value in given.items() if value is not None]
        if extra:
            raise TypeError(
                f"samples bring their own {', '.join(extra)}; leave {'it' if len(extra) == 1 else 'them'} out"
            )
        problem = from_samples(inputs)
    else:
        if outputs is None or recipe is None:
            raise TypeError("give samples, or inputs, outputs and recipe=, for example recipe=Recipe.paper()")
        problem = from_worlds(inputs, outputs, recipe, examples, held_out)
    limit = whole("max_states", max_states, 1, HIGHEST_MAX_STATES)
    name = solver_backend(backend)
    n_threads = check_threads(threads)
    return Solution(
        problem,
        **solver_of(name).solve(problem, limit, n_threads),
        _backend=name,
        _max_states=limit,
        _threads=n_threads,
    )


def solver_of(backend: str) -> ModuleType:
    """The module with a backend's `solve`, `solve_graph` and `solve_along`."""
    return importlib.import_module("karel_fast._core" if backend == "cpp" else "karel_fast.exact.reference")


def prefix_actions(prefix: Program | str | Sequence[int]) -> tuple[int, ...]:
    """The action codes. ValueError if the prefix has control flow or a code that is no action."""
    program = parse(prefix) if isinstance(prefix, str) else prefix
    if not isinstance(program, Program):
        program = Program.from_actions(program)
    if program.actions is None:
        raise ValueError(
            "the prefix has control flow, which no program of a straight-line recipe has; give its actions only"
        )
    return tuple(map(int, program.actions))


def solver_backend(backend: str | None) -> str:
    """The name of the backend to use, with a warning if the default is the slow one. KAREL_FAST_BACKEND names one here, too."""
    if backend is None and os.environ.get("KAREL_FAST_BACKEND"):
        named = resolve_backend()  # which refuses a name that is none
        backend = named if named in BACKENDS else None  # numba has no solver
    if backend is None:
        if "cpp" in available_backends():
            return "cpp"
        warnings.warn(
            "the compiled core is missing, so specifications are solved in plain Python, slowly", RuntimeWarning, 3
        )
        return "reference"
    name = one_of("backend", backend, BACKENDS)
    if name not in available_backends():
        raise BackendUnavailableError(f"backend {name!r} cannot be used: the compiled core is missing")
    return name


def program_rows(actions: ArrayLike, lengths: ArrayLike, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """One program per specification as the compiled code takes them, checked."""
    rows, sizes = np.asarray(actions), np.asarray(lengths)
    if rows.ndim != 2 or len(rows) != count or rows.dtype.kind not in "iu":
        raise ValueError(
            f"actions has shape {rows.shape} and type {rows.dtype}; give integers, one row for each of {count} specifications"
        )
    if sizes.shape != (count,) or sizes.dtype.kind not in "iu":
        raise ValueError(f"lengths has shape {sizes.shape} and type {sizes.dtype}; give {count} integers")
    if ((sizes < 0) | (sizes > rows.shape[1])).any():
        i = int(((sizes < 0) | (sizes > rows.shape[1])).argmax())
        raise ValueError(f"lengths[{i}] is {sizes[i]}; a row of actions holds 0 to {rows.shape[1]}")
    wrong = ((rows < 0) | (rows >= END)) & (np.arange(rows.shape[1]) < sizes[:, None])
    if wrong.any():
        i, k = np.argwhere(wrong)[0]
        raise ValueError(f"actions[{i}, {k}] is {rows[i, k]}; the codes are 0 to {END - 1} (see karel_fast.Action)")
    return np.ascontiguousarray(rows, np.uint8), np.ascontiguousarray(sizes, np.int32)
