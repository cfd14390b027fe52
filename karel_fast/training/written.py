"""Programs that a model wrote, run on the specifications that it wrote them for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karel_fast.data import Recipe, Samples, Tokenizer
from karel_fast.data.sampling.symbols import from_symbols
from karel_fast.karel.execution import check
from karel_fast.karel.language import CompiledPrograms, Program, compile
from karel_fast.karel.world import Worlds
from karel_fast.model.decode import Generated

CANDIDATES = 1000
CHOOSING_SAMPLES = 500


def generated_programs(tokenizer: Tokenizer, generated: Generated) -> CompiledPrograms:
    """What was written, ready to run, without text in between. With control flow, a program that did not end is
    empty.
    """
    if tokenizer.recipe.straight_line:
        return CompiledPrograms.from_actions(generated.actions, generated.lengths)
    rows = zip(generated.tokens, generated.finished, strict=True)
    return compile([from_symbols(tokenizer.symbols(tokens) if finished else []) for tokens, finished in rows])


def satisfied(
    programs: CompiledPrograms, samples: Samples, active: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """For each sample, whether its program maps every shown input to its output (see `kf.check`), and every held-out one
    (None if there are none). active: bool (n, recipe.examples), the shown ones that count.
    """
    recipe = samples.recipe
    shown = _right(programs, *samples.shown(), recipe).reshape(len(samples), -1)
    shown = shown if active is None else shown | ~active
    if not recipe.held_out:
        return np.all(shown, axis=1), None
    held_out = _right(programs, *samples.held_out(), recipe).reshape(len(samples), -1)
    return np.all(shown, axis=1), np.all(held_out, axis=1)


def one_for_all(
    programs: CompiledPrograms, candidates: Sequence[int], samples: Samples, active: np.ndarray | None = None
) -> tuple[Program, float]:
    """The program that, written for every specification, would satisfy most of them, and the share of them that it satisfies: the base
    rate of the share that a model satisfies.

    It is one of `programs`: of the first CANDIDATES of these places (at least one), the best on the first CHOOSING_SAMPLES specifications.
    Its share is of all, those included. active: see `satisfied`.
    """
    inputs, outputs = samples.shown()
    recipe = samples.recipe
    ignored = np.zeros((len(samples), recipe.examples), bool) if active is None else ~active

    def share(program: Program, count: int) -> float:
        worlds = count * recipe.examples
        right = _right(program, inputs[:worlds], outputs[:worlds], recipe).reshape(count, -1)
        return float(np.all(right | ignored[:count], axis=1).mean())

    tried = [programs.program(place) for place in candidates[:CANDIDATES]]
    best = max(tried, key=lambda program: share(program, min(len(samples), CHOOSING_SAMPLES)))
    return best, share(best, len(samples))


def _right(programs: CompiledPrograms | Program, inputs: Worlds, outputs: Worlds, recipe: Recipe) -> np.ndarray:
    """bool: of each world."""
    return check(programs, inputs, outputs, semantics=recipe.semantics, max_steps=recipe.step_limit)
