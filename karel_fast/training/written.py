"""Programs that a model wrote, run on the specifications that it wrote them for."""

from __future__ import annotations

import numpy as np

from karel_fast.data import Recipe, Samples, Tokenizer
from karel_fast.data.sampling.symbols import from_symbols
from karel_fast.karel.execution import check
from karel_fast.karel.language import CompiledPrograms, compile
from karel_fast.karel.world import Worlds
from karel_fast.model.decode import Generated


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
    shown = _right(programs, *samples.shown(), recipe)
    shown = shown if active is None else shown | ~active
    held_out = np.all(_right(programs, *samples.held_out(), recipe), axis=1) if recipe.held_out else None
    return np.all(shown, axis=1), held_out


def _right(programs: CompiledPrograms, inputs: Worlds, outputs: Worlds, recipe: Recipe) -> np.ndarray:
    """bool (n, examples)."""
    return check(programs, inputs, outputs, semantics=recipe.semantics).reshape(len(programs), -1)
