"""The solver in plain Python: short, slow, and the specification that the compiled one must equal.

Programs are merged as soon as they have done the same to every world, and nothing else is clever: no node is left out. Prior
probabilities are fractions, so only the last step to floating point rounds.

The three functions at the end are those of `karel_fast._core`: same names, arguments and results.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karel_fast.data.sampling.symbols import PAD
from karel_fast.exact.graph import END
from karel_fast.exact.problem import Problem
from karel_fast.karel.backends.reference import State
from karel_fast.karel.language import Action
from karel_fast.karel.status import Status
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import InputError


@dataclass
class Node:
    """All programs of one number of actions that did the same to every world; what follows is of the ways to go on from here."""

    states: list[State]
    total: int = 0  # of the weights that the next action is drawn with
    children: list[Node | None] = field(default_factory=lambda: [None] * END)
    satisfied: bool = False
    count: int = 0
    ways: list[Fraction] = field(
        default_factory=lambda: [Fraction(0)] * (END + 1)
    )  # prior mass by next action, and of the end
    best: Fraction = Fraction(0)
    entropy: float = 0.0
    shortest: int = -1
    shortest_count: int = 0

    @property
    def mass(self) -> Fraction:
        return sum(self.ways, Fraction(0))


def explore(problem: Problem, i: int, examples: int, max_states: int) -> list[list[Node]]:
    """The nodes of specification i's first `examples` examples, by number of actions, each summed up."""
    prior = problem.prior
    inputs, outputs = problem.worlds(i, examples)
    layers = [[Node([State.of(world) for world in inputs])]]
    for t in range(prior.longest + 1):
        nodes_by_state: dict[tuple, Node] = {}
        for node in layers[t]:
            node.satisfied = t >= prior.shortest and all(map(shows, node.states, outputs))
            if t < prior.longest:
                grow(node, problem, nodes_by_state)
        layers.append(list(nodes_by_state.values()))
        if sum(map(len, layers)) > max_states:
            raise InputError(
                f"specification {i}: programs of up to {prior.longest} actions reach more than max_states = {max_states}"
                f" states (after {t + 1} actions); solve shorter lengths, or raise max_states if there is memory"
            )
    layers.pop()
    for node in (node for layer in reversed(layers) for node in layer):
        sum_up(node, problem)
    return layers


def grow(node: Node, problem: Problem, nodes_by_state: dict[tuple, Node]) -> None:
    """Gives the node its children, of which those in `nodes_by_state` are shared."""
    after = [[after_action(state, action) for state in node.states] for action in Action]
    weights = drawn_with(problem, node.states, after)
    node.total = sum(weights)
    for written, weight in enumerate(weights):
        states = after[problem.prior.performed[written]]
        running = [state for state in states if state is not None]
        if weight and len(running) == len(states):  # else the run does not end well in every world
            node.children[written] = nodes_by_state.setdefault(tuple(map(key, running)), Node(running))


def drawn_with(problem: Problem, before: list[State], after: list[list[State | None]]) -> list[int]:
    """The weights of the actions written where the shown worlds are `before`, and would be after[performed]."""
    prior = problem.prior
    weights = list(prior.action_weights)
    if prior.avoid_noops:
        changes = [
            any(new is None or key(new) != key(old) for old, new in zip(before[: problem.shown], states, strict=False))
            for states in after
        ]
        useful = [weight * changes[performed] for weight, performed in zip(weights, prior.performed, strict=True)]
        weights = useful if sum(useful) else weights
    return weights


def sum_up(node: Node, problem: Problem) -> None:
    """What follows a node whose children are summed up."""
    if node.satisfied:
        node.ways[END] = node.best = Fraction(1, problem.prior.lengths_left(0))
        node.count = node.shortest_count = 1
        node.shortest = 0
    for action, child in enumerate(node.children):
        if child is None or not child.count:
            node.children[action] = None
            continue
        chance = Fraction(problem.prior.action_weights[action], node.total)
        node.count += child.count
        node.ways[action] = chance * child.mass
        node.best = max(node.best, chance * child.best)
        if node.shortest < 0 or child.shortest + 1 < node.shortest:
            node.shortest, node.shortest_count = child.shortest + 1, 0
        if child.shortest + 1 == node.shortest:
            node.shortest_count += child.shortest_count
    for way, child in zip(node.ways, [*node.children, None], strict=True):
        if way:
            share = float(way / node.mass)
            node.entropy += share * ((child.entropy if child else 0.0) - math.log(share))


def after_action(state: State, action: Action) -> State | None:
    """The state after an action performed; None if the action ends the run (a put onto 255 markers)."""
    new = state.copy()
    return new if new.perform(action, crash=False) == Status.OK else None


def key(state: State) -> tuple:
    """Equal for equal states of one world."""
    return state.row, state.column, state.direction, tuple(map(tuple, state.markers))


def shows(state: State, output: Worlds) -> bool:
    """Whether the state looks like the output."""
    world = Worlds(
        walls=np.array([state.walls]),
        markers=np.array([state.markers], np.uint8),
        robot=np.array([[state.row, state.column, state.direction]], np.uint8),
    )
    return bool(world.same_text(output)[0])


def shortest_program(root: Node) -> list[int]:
    """The first, in order of action codes, of the shortest."""
    actions: list[int] = []
    node = root
    while node.shortest > 0:
        steps = [(a, child) for a, child in enumerate(node.children) if child and child.shortest + 1 == node.shortest]
        action, node = steps[0]
        actions.append(action)
    return actions


def mode(root: Node, problem: Problem) -> list[int]:
    """The most probable program; of equals the one that ends first, then the first in order of action codes."""
    actions: list[int] = []
    node = root
    while not (node.satisfied and node.best == node.ways[END]):
        weights = problem.prior.action_weights
        steps = [
            (a, child)
            for a, child in enumerate(node.children)
            if child and Fraction(weights[a], node.total) * child.best == node.best
        ]
        action, node = steps[0]
        actions.append(action)
    return actions


def positions(layers: list[list[Node]]) -> tuple[list[float], list[float]]:
    """By number of actions, the posterior chance of a program to have that many or more, and that times the mean entropy of
    what comes next."""
    (root,) = layers[0]
    visits = {id(root): Fraction(1)}
    reach, entropy = [], []
    for layer in layers:
        visited = [node for node in layer if id(node) in visits]
        reach.append(float(sum(visits[id(node)] for node in visited)))
        entropy.append(0.0)
        for node in visited:
            for way, child in zip(node.ways, [*node.children, None], strict=True):
                if way:
                    chance = way / node.mass
                    entropy[-1] -= float(visits[id(node)] * chance) * math.log(chance)
                    visits[id(child)] = visits.get(id(child), Fraction(0)) + visits[id(node)] * chance
    return reach, entropy


def generalises(problem: Problem, i: int, actions: list[int]) -> bool:
    """Whether a program turns specification i's held-out inputs into their outputs."""
    inputs, outputs = problem.worlds(i, problem.examples)
    for world, output in zip(inputs[problem.shown :], outputs[problem.shown :], strict=True):
        state: State | None = State.of(world)
        for action in actions:
            state = state and after_action(state, Action(problem.prior.performed[action]))
        if state is None or not shows(state, output):
            return False
    return True


def prior_after(problem: Problem, i: int, actions: list[int]) -> list[float]:
    """The prior over the next action and the end, given the actions so far."""
    prior, t = problem.prior, len(actions)
    lengths_left = prior.lengths_left(t)
    end = 1.0 if lengths_left == 0 else 1 / lengths_left if t >= prior.shortest else 0.0
    running: list[State] = []  # a world whose run ended changes no more
    for world in problem.worlds(i, problem.shown)[0]:
        state: State | None = State.of(world)
        for action in actions:
            state = state and after_action(state, Action(prior.performed[action]))
        if state is not None:
            running.append(state)
    weights = drawn_with(problem, running, [[after_action(state, action) for state in running] for action in Action])
    return [(1 - end) * weight / sum(weights) for weight in weights] + [end]


# -- the three functions that every backend has -----------------------------------------------------------------------


def solve(problem: Problem, max_states: int, threads: int) -> dict[str, NDArray[Any]]:
    """The arrays of `Solution`. `threads` has no meaning here."""
    n, longest = len(problem), problem.prior.longest
    out: dict[str, NDArray[Any]] = {
        **{name: np.zeros(n, np.int64) for name in ("counts", "shortest_counts", "states")},
        **{name: np.zeros(n) for name in ("mass", "mode_mass")},
        **{name: np.full(n, np.nan) for name in ("entropy", "generalises")},
        **{name: np.full(n, -1, np.int32) for name in ("shortest", "mode_lengths")},
        **{name: np.full((n, longest), PAD, np.uint8) for name in ("shortest_actions", "mode_actions")},
        **{name: np.full((n, longest + 1), np.nan) for name in ("reach", "token_entropy")},
        "mode_generalises": np.zeros(n, np.bool_),
    }
    for i in range(n):
        layers = explore(problem, i, problem.shown, max_states)
        (root,) = layers[0]
        out["states"][i] = sum(map(len, layers))
        if not root.count:
            continue
        shortest, best = shortest_program(root), mode(root, problem)
        out["counts"][i], out["shortest_counts"][i] = root.count, root.shortest_count
        out["mass"][i], out["mode_mass"][i], out["entropy"][i] = float(root.mass), float(root.best), root.entropy
        out["shortest"][i], out["mode_lengths"][i] = root.shortest, len(best)
        out["shortest_actions"][i, : len(shortest)] = shortest
        out["mode_actions"][i, : len(best)] = best
        out["reach"][i], out["token_entropy"][i] = positions(layers)
        out["mode_generalises"][i] = generalises(problem, i, best)
        both = explore(problem, i, problem.examples, max_states)[0][0]
        out["generalises"][i] = float(both.mass / root.mass)
    return out


def solve_graph(problem: Problem, specification: int, max_states: int) -> dict[str, NDArray[Any]]:
    """The arrays of `Graph`."""
    explored = explore(problem, specification, problem.shown, max_states)
    layers = [[node for node in layer if node.count] for layer in explored]
    nodes = [node for layer in layers for node in layer]
    number = {id(node): k for k, node in enumerate(nodes)}
    children = [[number[id(child)] if child else -1 for child in node.children] for node in nodes]
    return {
        "starts": np.cumsum([0, *map(len, layers)]),
        "children": np.array(children, np.int32).reshape(-1, END),
        "totals": np.array([node.total or sum(problem.prior.action_weights) for node in nodes], np.uint32),
        "satisfied": np.array([node.satisfied for node in nodes], np.bool_),
        "counts": np.array([node.count for node in nodes], np.int64),
        "mass": np.array([float(node.mass) for node in nodes]),
        "entropy": np.array([node.entropy for node in nodes]),
        "shortest": np.array([node.shortest for node in nodes], np.int32),
        "shortest_counts": np.array([node.shortest_count for node in nodes], np.int64),
    }


def solve_along(
    problem: Problem, actions: NDArray[np.uint8], lengths: NDArray[np.int32], max_states: int, threads: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Posteriors float64 (n, L+1, 6) and int32 (n,), as `Solution.along`. `threads` has no meaning here."""
    posteriors = np.full((len(actions), actions.shape[1] + 1, END + 1), np.nan)
    on_track = np.full(len(actions), -1, np.int32)
    for i, length in enumerate(lengths.tolist()):
        program = actions[i, :length].tolist()
        (root,) = explore(problem, i, problem.shown, max_states)[0]
        node: Node | None = root if root.count else None
        for t in range(length + 1):
            if node is None:
                posteriors[i, t] = prior_after(problem, i, program[:t])
                continue
            on_track[i] = t
            posteriors[i, t] = [float(way / node.mass) for way in node.ways]
            if t < length:
                node = node.children[program[t]]
    return posteriors, on_track
