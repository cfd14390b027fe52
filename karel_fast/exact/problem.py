"""What is asked of the solver: specifications as worlds before and after, and the prior over programs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karel_fast.data.sampling.recipe import Recipe, check_recipe
from karel_fast.data.sampling.samples import Samples
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import whole


@dataclass(frozen=True, slots=True)
class Prior:
    """A length uniform over shortest..longest, then that many actions by weight; fields as in `Recipe`."""

    shortest: int
    longest: int
    action_weights: tuple[int, ...]
    performed: tuple[int, ...]  # action code performed per action code written
    avoid_noops: bool

    @classmethod
    def of(cls, recipe: Recipe) -> Prior:
        """The recipe's. ValueError if its programs have control flow, TypeError for what is no recipe."""
        check_recipe(recipe)
        if not recipe.straight_line:
            raise ValueError(
                "the recipe has control flow (recipe.control), and only straight-line programs can be solved exactly;"
                " use another --recipe, or recipe.replace(control=None); of a model's evaluation leave out ideal"
            )
        return cls(
            *recipe.lengths,
            action_weights=recipe.action_weights,
            performed=tuple(recipe.semantics.table.tolist()),
            avoid_noops=recipe.avoid_noops,
        )

    def lengths_left(self, t: int) -> int:
        """How many of the lengths a program of at least t actions may have."""
        return max(0, self.longest - max(t, self.shortest) + 1)


@dataclass(frozen=True, slots=True)
class Problem:
    """n specifications of `examples` examples each, example-minor, of which the first `shown` are what the reader sees."""

    inputs: Worlds
    outputs: Worlds
    examples: int
    shown: int
    prior: Prior

    def __len__(self) -> int:
        return len(self.inputs) // self.examples

    def worlds(self, i: int, count: int) -> tuple[Worlds, Worlds]:
        """Inputs and outputs of the first `count` examples of specification i."""
        span = slice(i * self.examples, i * self.examples + count)
        return self.inputs[span], self.outputs[span]


def same_specifications(one: Problem, other: Problem) -> bool:
    """Whether a reader who sees the shown examples, as text, is asked the same by both under the same prior."""
    if (len(one), one.shown, one.prior) != (len(other), other.shown, other.prior):
        return False

    def shown(problem: Problem) -> tuple[Worlds, Worlds]:
        chosen = np.arange(len(problem.inputs)).reshape(len(problem), problem.examples)[:, : problem.shown].ravel()
        return problem.inputs[chosen], problem.outputs[chosen]

    pairs = zip(shown(one), shown(other), strict=True)
    return all(mine.walls.shape == theirs.walls.shape and bool(mine.same_text(theirs).all()) for mine, theirs in pairs)


def from_samples(samples: Samples) -> Problem:
    """The samples' specifications under their recipe, held-out examples included."""
    recipe = samples.recipe
    return Problem(samples.inputs, samples.outputs, recipe.worlds_per_sample, recipe.examples, Prior.of(recipe))


def from_worlds(
    inputs: Worlds,
    outputs: Worlds,
    recipe: Recipe,
    examples: int | None,
    held_out: tuple[Worlds, Worlds] | None,
) -> Problem:
    """Specifications of one's own; arguments and errors as for `solve`."""
    prior = Prior.of(recipe)
    shown = recipe.examples if examples is None else whole("examples", examples, 1)
    _check_pair("inputs", inputs, "outputs", outputs)
    if len(inputs) % shown:
        raise ValueError(
            f"{len(inputs)} inputs are no whole number of specifications of {shown} examples each;"
            " say with examples= how many a specification has"
        )
    if held_out is None:
        return Problem(inputs, outputs, shown, shown, prior)
    more_inputs, more_outputs = held_out
    _check_pair("held_out[0]", more_inputs, "held_out[1]", more_outputs)
    count = len(inputs) // shown
    if not count or not len(more_inputs) or len(more_inputs) % count:
        raise ValueError(
            f"held_out has {len(more_inputs)} examples for {count} specifications; give each as many, at least one"
        )
    return Problem(
        _joined(inputs, more_inputs, count), _joined(outputs, more_outputs, count), (len(inputs) + len(more_inputs)) // count,
        shown, prior,
    )  # fmt: skip


def _check_pair(name: str, before: Worlds, other: str, after: Worlds) -> None:
    for which, worlds in ((name, before), (other, after)):
        if not isinstance(worlds, Worlds):
            raise TypeError(f"{which} is {type(worlds).__name__}; make it Worlds, for example by Worlds.from_text")
    if before.walls.shape != after.walls.shape:
        sizes = [f"{len(w)} of {w.height} x {w.width}" for w in (before, after)]
        raise ValueError(
            f"{name} are {sizes[0]} cells and {other} {sizes[1]}; no program changes a world's size: give as many of the"
            " same size"
        )


def _joined(shown: Worlds, held_out: Worlds, count: int) -> Worlds:
    """Both batches' worlds, each specification's shown ones first."""
    all_worlds = Worlds.concatenate([shown, held_out])
    first, second = (np.arange(len(worlds)).reshape(count, -1) for worlds in (shown, held_out))
    return all_worlds[np.concatenate([first, second + len(shown)], axis=1).ravel()]
