"""The ideal readers in plain Python: every program of the prior is listed and run. The specification of the compiled ones.

The two functions at the end are those of `karel_fast._core`: same names, arguments and results.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from karel_fast.exact.problem import Problem
from karel_fast.exact.reference import after_action, drawn_with, shows
from karel_fast.karel.backends.reference import State
from karel_fast.karel.language import Action

if TYPE_CHECKING:
    from karel_fast.exact.ideal_states import Question, StateCodes

Actions = tuple[int, ...]
Answer = NDArray[np.float64]


@dataclass(frozen=True)
class Listed:
    """Specification i's shown worlds, and the chance of every program under its prior and its posterior."""

    problem: Problem
    i: int

    def state(self, actions: Actions, e: int, performed: Actions) -> State | None:
        """World e after the actions; None if its run stopped."""
        state: State | None = State.of(self.problem.worlds(self.i, self.problem.shown)[0][e])
        for action in actions:
            state = state and after_action(state, Action(performed[action]))
        return state

    def drawing(self, before: Actions, actions: Actions) -> float:
        """The prior chance that these actions follow those before, in a program that is long enough."""
        chance = 1.0
        for t in range(len(before), len(before) + len(actions)):
            written = (*before, *actions)
            prior = self.problem.prior
            states = [self.state(written[:t], e, prior.performed) for e in range(self.problem.shown)]
            running = [state for state in states if state is not None]
            weights = drawn_with(self.problem, running, [[after_action(s, a) for s in running] for a in Action])
            chance *= weights[written[t]] / sum(weights)
        return chance

    def satisfied(self, program: Actions) -> bool:
        outputs = self.problem.worlds(self.i, self.problem.shown)[1]
        states = [self.state(program, e, self.problem.prior.performed) for e in range(self.problem.shown)]
        return all(state is not None and shows(state, output) for state, output in zip(states, outputs, strict=True))

    def beliefs(self) -> tuple[dict[Actions, float], dict[Actions, float]]:
        """Every program's chance under the prior, and under the posterior (all 0 if none satisfies)."""
        prior = self.problem.prior
        drawn = {
            program: self.drawing((), program) / prior.lengths_left(0)
            for length in range(prior.shortest, prior.longest + 1)
            for program in sequences(length)
        }
        right = {program: chance * (chance > 0 and self.satisfied(program)) for program, chance in drawn.items()}
        mass = sum(right.values())
        return drawn, {program: chance / mass if mass else 0.0 for program, chance in right.items()}

    def weights(
        self,
        states: StateCodes,
        chances: Mapping[Actions, float],
        prefix: Actions,
        least: int,
        place: tuple[int, int, int, Actions],
    ) -> dict[int, float]:
        """The weight of each label, of programs of at least so many actions that begin with the prefix.

        place: (number of the state, feature, world, action performed per action written).
        """
        t, f, e, performed = place
        found: dict[int, float] = defaultdict(float)
        for program, chance in chances.items():
            if chance and program[: len(prefix)] == prefix and len(program) >= least:
                state = self.state(program[:t], e, performed)
                if state is not None:
                    world = self.i * self.problem.shown + e
                    found[code_of(state, states, world, f, self.problem.inputs.width)] += chance
        return found


def sequences(length: int) -> Iterator[Actions]:
    return itertools.product(range(len(Action)), repeat=length)


def code_of(state: State, states: StateCodes, world: int, feature: int, width: int) -> int:
    pose = (state.row * width + state.column) * 4 + state.direction
    level = min(int(state.markers[state.row][state.column]), states.codes.shape[3] - 1)
    return int(states.codes[world, feature, pose, level])


def labelled(weights: Mapping[int, float]) -> dict[int, float]:
    """Without the states that have no label, of which the reader knows that they are not asked about."""
    return {code: weight for code, weight in weights.items() if code >= 0}


def answer(
    weights: Mapping[int, float], actual: int, heads: int, classes: int, spread: float = 0.0
) -> tuple[float, float]:
    """A reader's chance to be right about the actual label, and its loss in bits. `spread` more weight lies on all labels alike."""
    total, best = sum(weights.values()), max(weights.values(), default=0.0)
    likeliest = [code for code, weight in weights.items() if weight > 0 and math.isclose(weight, best, rel_tol=1e-9)]
    loss = 0.0
    for head in range(heads):
        digit = [
            weight
            for code, weight in weights.items()
            if code // classes**head % classes == actual // classes**head % classes
        ]
        chance = (sum(digit) + spread / classes) / (total + spread) if total + spread else 0.0
        loss += -math.log2(chance) if chance else math.inf
    return (1 / len(likeliest) if actual in likeliest else 0.0), loss


def asked(question: Question, i: int) -> Iterator[tuple[int, int, int, int, int]]:
    """(action, meaning, number of the offset, feature, world) of every label of program i."""
    for place in np.argwhere(question.labels[i] >= 0).tolist():
        k, m, j, f, e = place
        yield k, m, j, f, e


def empty(question: Question) -> tuple[Answer, Answer]:
    return np.zeros(question.labels.shape[:-1]), np.zeros(question.labels.shape[:-1])


def read_specifications(
    problem: Problem, states: StateCodes, question: Question, max_states: int, threads: int
) -> tuple[Answer, Answer, Answer, Answer]:
    """Right and loss with and without the prefix. `max_states` and `threads` have no meaning here."""
    both, alone = empty(question), empty(question)
    by_weight = replace(problem, prior=replace(problem.prior, avoid_noops=False))
    doubt = question.doubt
    for i, length in enumerate(question.lengths.tolist()):
        listed, plain = Listed(problem, i), Listed(by_weight, i)
        written = tuple(question.actions[i, :length].tolist())
        drawn, believed = listed.beliefs()
        mixed = {program: (1 - doubt) * believed[program] + doubt * drawn[program] for program in drawn}
        drawn_plainly, _ = plain.beliefs()
        mixed_plainly = {program: (1 - doubt) * believed[program] + doubt * drawn_plainly[program] for program in drawn}
        for k, m, j, f, e in asked(question, i):
            t = k + 1 + int(question.offsets[j])
            place = (t, f, e, tuple(question.performed[m].tolist()))
            actual, heads, classes = (
                int(question.labels[i, k, m, j, f, e]),
                int(states.heads[f]),
                int(states.classes[f]),
            )

            prefix = written[:k]
            if t <= k:
                right, loss = 1.0, 0.0
            else:
                weights = listed.weights(states, mixed, prefix, t + question.rest, place)
                if not sum(weights.values()):
                    more = {(*prefix, *after): listed.drawing(prefix, after) for after in sequences(t - k)}
                    weights = listed.weights(states, more, prefix, t, place)
                right, loss = answer(labelled(weights), actual, heads, classes)
            both[0][i, k, m, j, f] += right
            both[1][i, k, m, j, f] += loss

            weights = listed.weights(states, mixed_plainly, (), max(t + question.rest, k + 1), place)
            if not sum(weights.values()):
                more = {actions: plain.drawing((), actions) for actions in sequences(t)}
                weights = listed.weights(states, more, (), t, place)
            right, loss = answer(labelled(weights), actual, heads, classes)
            alone[0][i, k, m, j, f] += right
            alone[1][i, k, m, j, f] += loss
    return *both, *alone


def read_prefixes(
    pool: Problem, states: StateCodes, question: Question, max_states: int, threads: int
) -> tuple[Answer, Answer]:
    """Right and loss of the reader that sees no specification. `max_states` and `threads` have no meaning here."""
    right, loss = empty(question)
    for i, length in enumerate(question.lengths.tolist()):
        written = tuple(question.actions[i, :length].tolist())
        for k, m, j, f, e in asked(question, i):
            t = k + 1 + int(question.offsets[j])
            performed = tuple(question.performed[m].tolist())
            prefix = written[:k]
            expected = [Listed(pool, s) for s in range(len(pool))]
            shares = [each.drawing((), prefix) for each in expected]
            shares = [share / sum(shares) for share in shares] if sum(shares) else [1 / len(pool)] * len(pool)
            weights: dict[int, float] = defaultdict(float)
            for each, share in zip(expected, shares, strict=True):
                for after in sequences(max(0, t - k)) if share else ():
                    chance = share * each.drawing(prefix, after)
                    for world in range(pool.shown) if chance else ():
                        state = each.state((*prefix, *after)[:t], world, performed)
                        if state is not None:
                            code = code_of(state, states, each.i * pool.shown + world, f, pool.inputs.width)
                            weights[code] += chance
            found = answer(
                labelled(weights),
                int(question.labels[i, k, m, j, f, e]),
                int(states.heads[f]),
                int(states.classes[f]),
                1 / len(pool),
            )
            right[i, k, m, j, f] += found[0]
            loss[i, k, m, j, f] += found[1]
    return right, loss
