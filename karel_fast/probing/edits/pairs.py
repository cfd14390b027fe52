"""Counterfactual pairs: a specification, and the same one with something changed, so that another program is demanded.

kind      what is changed, in every example
turned    the robot of the input stands turned by one, two or three quarters; the output stays
moved     the robot of the input stands one cell further, in the same direction in each example; the output stays
marked    one cell of the input holds a marker more or less; the output stays
ending    the outputs are those of another program, which differs from the sample's own in one action
written   nothing: of the program's first actions, which the model is given, one turn is the opposite one

What the program must become is known exactly. The solver of `karel_fast.exact` finds every program that satisfies either
specification, so pairs whose changed one no program satisfies are left out, and so are those where one program satisfies
both ("written": where the same actions could go on from both beginnings).

Shapes: n pairs, E examples, k actions given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from karel_fast.data import Recipe, Samples, generate
from karel_fast.exact import solve
from karel_fast.karel.backends.reference import AHEAD
from karel_fast.karel.execution import check, run
from karel_fast.karel.language import Action, CompiledPrograms
from karel_fast.karel.world import MOST_SHOWN, Worlds
from karel_fast.probing.steer_settings import KINDS
from karel_fast.support.checks import one_of, whole

DRAWN = {"turned": 1.2, "moved": 25.0, "marked": 25.0, "ending": 2.0, "written": 2.5}
"""About how many specifications it takes for a pair of a kind that a good model solves both sides of."""
ASKED = 16
"""Random changes tried of one specification for a marker that some program still makes up for."""
_LEFT, _RIGHT = int(Action.TURN_LEFT), int(Action.TURN_RIGHT)


@dataclass(frozen=True, eq=False)
class Side:
    """One of a pair's two sides: specifications, and the actions that the model is given of each program.

    samples: n, without held-out examples, the whole reference program where there is one. given: uint8 (n, k).
    """

    samples: Samples
    given: np.ndarray

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, rows: np.ndarray) -> Side:
        return Side(_rows_of(self.samples, rows), self.given[rows])

    def satisfied(self, actions: np.ndarray, lengths: np.ndarray, finished: np.ndarray) -> np.ndarray:
        """bool (n,): whether what the model wrote after the given actions ended and does what the specification wants."""
        k = self.given.shape[1]
        whole_programs = CompiledPrograms.from_actions(np.concatenate([self.given, actions], axis=1), lengths + k)
        inputs, outputs = self.samples.shown()
        right = check(whole_programs, inputs, outputs, semantics=self.samples.recipe.semantics)
        return np.asarray(right.reshape(len(self), -1).all(1) & finished)

    def robots(self) -> np.ndarray:
        """uint8 (n, E, 3): row, column and direction of the robots after the given actions."""
        inputs, _ = self.samples.shown()
        k = self.given.shape[1]
        programs = CompiledPrograms.from_actions(self.given, np.full(len(self), k, np.int32))
        after = run(programs, inputs, semantics=self.samples.recipe.semantics).worlds if k else inputs
        return after.robot.reshape(len(self), -1, 3)


@dataclass(frozen=True, eq=False)
class Pairs:
    """n pairs of a kind: the specifications as they are drawn (`base`), and changed (`other`).

    numbers: int64 (n,) of the specifications in their split. drawn: how many were drawn to find them.
    """

    kind: str
    base: Side
    other: Side
    numbers: np.ndarray
    drawn: int

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: np.ndarray) -> Pairs:
        rows = np.arange(len(self))[rows]
        return replace(self, base=self.base[rows], other=self.other[rows], numbers=self.numbers[rows])

    @property
    def clusters(self) -> np.ndarray:
        """int64 (n,): equal for pairs whose specifications were drawn with the same program."""
        return np.unique(self.base.samples.actions, axis=0, return_inverse=True)[1].reshape(-1)


def counterfactual_pairs(
    recipe: Recipe, kind: str, split: str, start: int, count: int, *, given: int = 4, seed: int = 0
) -> Pairs:
    """The pairs of a kind that specifications start .. start+count-1 of a split give, at most one of each.

    given: actions of the program that the model is given, for the kind "written".
    Raises ValueError for an unknown kind, a recipe with control flow, fewer than two or too many actions given.
    """
    one_of("kind", kind, KINDS)
    if not recipe.straight_line:
        raise ValueError(
            "what a changed specification demands is found by the exact solver: no recipe with control flow"
        )
    whole("given", given, 2)
    most = recipe.lengths[0] - 1  # one action at least is left to write
    if kind == "written" and given > most:
        fewer = f"give at most {most}" if most >= 2 else "two are the fewest to be given"
        raise ValueError(
            f"given is {given}, and the recipe's shortest programs have {most + 1} actions: {fewer}, or leave `written` out of --kinds"
        )
    samples = _shown_only(generate(recipe, split, start, count))
    rng = np.random.default_rng([seed, KINDS.index(kind), start])
    changed, keep = _CHANGES[kind](samples, rng, given)
    rows = np.flatnonzero(keep)
    actions = samples.actions[:, :given] if kind == "written" else samples.actions[:, :0]
    pairs = Pairs(kind, Side(samples, actions), changed, start + np.arange(count), count)
    return pairs[rows]


def demanded(base: Samples, other: Samples) -> np.ndarray:
    """bool (n,): whether some program satisfies the other specification, and none of these the first one as well."""
    recipe = base.recipe
    first, second = base.shown(), other.shown()
    alone = solve(*second, recipe=recipe, threads=1).counts > 0
    both = tuple(_interleaved(a, b, recipe.examples) for a, b in zip(first, second, strict=True))
    together = solve(*both, recipe=recipe, examples=2 * recipe.examples, threads=1).counts
    return np.asarray(alone & (together == 0))


def turned(worlds: Worlds, quarters: np.ndarray) -> Worlds:
    """The robots turned clockwise by so many quarters each, (N,)."""
    robot = worlds.robot.copy()
    robot[:, 2] = (robot[:, 2] + quarters) % 4
    return Worlds(walls=worlds.walls, markers=worlds.markers, robot=robot)


_Changed = tuple[Side, np.ndarray]


def _turned(samples: Samples, rng: np.random.Generator, _: int) -> _Changed:
    quarters = rng.integers(1, 4, len(samples)).repeat(samples.recipe.examples)
    return _with_inputs(samples, turned(samples.inputs, quarters))


def _moved(samples: Samples, rng: np.random.Generator, _: int) -> _Changed:
    """Of the four neighbours in random order, the first that is free in every example and demands another program."""
    steps = np.array(AHEAD)
    order = rng.permuted(np.tile(np.arange(4), (len(samples), 1)), axis=1)

    def attempt(number: int) -> tuple[Worlds, np.ndarray]:
        robot = samples.inputs.robot.astype(np.int64)
        robot[:, :2] += steps[order[:, number]].repeat(samples.recipe.examples, axis=0)
        free = ~samples.inputs.walls[np.arange(len(robot)), robot[:, 0], robot[:, 1]]
        robot = np.where(free[:, None], robot, samples.inputs.robot)
        worlds = Worlds(walls=samples.inputs.walls, markers=samples.inputs.markers, robot=robot.astype(np.uint8))
        return worlds, np.asarray(free.reshape(len(samples), -1).all(1))

    return _first_demanded(samples, attempt, 4)


def _marked(samples: Samples, rng: np.random.Generator, _: int) -> _Changed:
    """Of some random choices of a cell in each example, the first that demands another program. The robot's cell, whose
    markers are not shown, walls, and cells of nine markers or more stay as they are."""
    inputs = samples.inputs
    cells = np.arange(len(inputs))
    hidden = inputs.walls.copy()
    hidden[cells, inputs.robot[:, 0], inputs.robot[:, 1]] = True
    free = (~hidden & (inputs.markers < MOST_SHOWN)).reshape(len(inputs), -1)

    def attempt(_: int) -> tuple[Worlds, np.ndarray]:
        chosen = (rng.random(free.shape) * free).argmax(1)
        markers = inputs.markers.reshape(len(inputs), -1).copy()
        less = (markers[cells, chosen] > 0) & (rng.random(len(inputs)) < 0.5)
        change = np.where(less, -1, 1) * free[cells, chosen]
        markers[cells, chosen] = (markers[cells, chosen].astype(np.int64) + change).astype(np.uint8)
        worlds = Worlds(walls=inputs.walls, markers=markers.reshape(inputs.markers.shape), robot=inputs.robot)
        return worlds, (change != 0).reshape(len(samples), -1).all(1)

    return _first_demanded(samples, attempt, ASKED)


def _ending(samples: Samples, rng: np.random.Generator, _: int) -> _Changed:
    rows = np.arange(len(samples))
    place = (rng.random(len(samples)) * samples.lengths).astype(np.int64)
    actions = samples.actions.copy()
    actions[rows, place] = (actions[rows, place] + rng.integers(1, len(Action), len(samples))) % len(Action)
    programs = CompiledPrograms.from_actions(actions, samples.lengths)
    outputs = run(programs, samples.inputs, semantics=samples.recipe.semantics).worlds
    other = replace(samples, symbols=actions, outputs=outputs)
    differs = ~samples.outputs.same_text(outputs).reshape(len(samples), -1)
    return Side(other, actions[:, :0]), demanded(samples, other) & differs.all(1)


def _written(samples: Samples, rng: np.random.Generator, given: int) -> _Changed:
    """One of the turns among the given actions, though not the last of these, is turned round."""
    rows = np.arange(len(samples))
    actions = samples.actions[:, :given].copy()
    turns = np.isin(actions[:, : given - 1], (_LEFT, _RIGHT))
    place = (rng.random(turns.shape) * turns).argmax(1)
    opposite = _LEFT + _RIGHT - actions[rows, place]
    actions[rows, place] = np.where(turns[rows, place], opposite, actions[rows, place])
    shortest, longest = samples.recipe.lengths
    left = samples.recipe.replace(lengths=(max(1, shortest - given), longest - given))

    def from_here(begun: np.ndarray) -> Samples:
        programs = CompiledPrograms.from_actions(begun, np.full(len(begun), given, np.int32))
        worlds = run(programs, samples.inputs, semantics=samples.recipe.semantics).worlds
        return replace(samples, recipe=left, inputs=worlds)

    other = Side(samples, actions)
    return other, turns.any(1) & demanded(from_here(samples.actions[:, :given]), from_here(actions))


_CHANGES: dict[str, Callable[[Samples, np.random.Generator, int], _Changed]] = {
    "turned": _turned,
    "moved": _moved,
    "marked": _marked,
    "ending": _ending,
    "written": _written,
}


def _first_demanded(samples: Samples, attempt: Callable[[int], tuple[Worlds, np.ndarray]], attempts: int) -> _Changed:
    """Per specification the inputs of the first attempt that some other program is demanded by."""
    found: np.ndarray = np.zeros(len(samples), bool)
    kept = samples.inputs
    for number in range(attempts):
        worlds, possible = attempt(number)
        new = ~found & possible & demanded(samples, replace(samples, inputs=worlds))
        kept = _chosen(worlds, kept, new.repeat(samples.recipe.examples))
        found |= new
    return Side(replace(samples, inputs=kept), samples.actions[:, :0]), found


def _with_inputs(samples: Samples, inputs: Worlds) -> _Changed:
    other = replace(samples, inputs=inputs)
    return Side(other, samples.actions[:, :0]), demanded(samples, other)


def _shown_only(samples: Samples) -> Samples:
    inputs, outputs = samples.shown()
    return replace(samples, recipe=samples.recipe.replace(held_out=0), inputs=inputs, outputs=outputs)


def _rows_of(samples: Samples, rows: np.ndarray) -> Samples:
    each = samples.recipe.worlds_per_sample
    worlds = (rows[:, None] * each + np.arange(each)).ravel()
    return Samples(
        samples.recipe, samples.split, samples.start, samples.symbols[rows], samples.lengths[rows],
        samples.inputs[worlds], samples.outputs[worlds],
    )  # fmt: skip


def _chosen(new: Worlds, old: Worlds, which: np.ndarray) -> Worlds:
    def either(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(which.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return Worlds(
        walls=either(new.walls, old.walls), markers=either(new.markers, old.markers), robot=either(new.robot, old.robot)
    )


def _interleaved(first: Worlds, second: Worlds, examples: int) -> Worlds:
    """Specification by specification, the examples of the first batch and then those of the second."""
    numbers = np.arange(len(first)).reshape(-1, examples)
    return Worlds.concatenate([first, second])[np.concatenate([numbers, numbers + len(first)], axis=1).ravel()]
