"""Specifications of which only some examples tell the truth: fewer, withheld, random, or two meanings side by side.

From the published code (`active_examples`, `inactive_mode` and `use_alt` of its data/karel.py). What a model learns from them says how
much the examples do for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from karel_fast.data.sampling.generation import generate
from karel_fast.data.sampling.philox import INDEX_BITS
from karel_fast.data.sampling.recipe import split_code
from karel_fast.data.sampling.samples import Samples
from karel_fast.karel.execution import run
from karel_fast.karel.language.semantics import NAMED_SEMANTICS, resolve_semantics
from karel_fast.karel.status import Status
from karel_fast.karel.world import Worlds
from karel_fast.support.checks import nearest
from karel_fast.support.settings import check_used, keep_whole, named, setting

_STAND_INS = ("input", "random")
_FAR = 1 << (INDEX_BITS - 1)  # samples that training never comes to: their worlds stand for random ones


@named
@dataclass(frozen=True, slots=True)
class ActiveExamples:
    """Which shown examples of a specification have their own outputs, the active ones, and what stands in the others' place.

    inactive_outputs: "input" (the input world: nothing is said), "random" (another world of the recipe), or a meaning ("original": the
    recipe's own), under which the program is run for them: with one active example of two, a specification of two meanings. Where such
    a run does not come to its end, the input world stands. Raises ValueError.
    """

    active_examples: int | None = setting(
        None, "Shown examples of a specification that have their own outputs (default: all)."
    )
    random_active: bool = setting(False, "Draw for each sample which ones those are; else the first.")
    inactive_outputs: str = setting(
        "input",
        "Of the other examples: input or random worlds, or a meaning to run the program under (flip, map8, ..).",
    )

    def __post_init__(self) -> None:
        keep_whole(self, ("active_examples",), 0)
        if self.inactive_outputs not in _STAND_INS:
            try:
                resolve_semantics(self.inactive_outputs)
            except ValueError as error:
                known = [*_STAND_INS, *NAMED_SEMANTICS]
                raise ValueError(
                    f"inactive_outputs is {self.inactive_outputs!r}; {nearest(self.inactive_outputs, known)}"
                ) from error
        if self.active_examples is None:
            check_used(self, ("random_active", "inactive_outputs"), "active_examples")

    @property
    def all_active(self) -> bool:
        """Whether nothing is changed, whatever the recipe."""
        return self.active_examples is None

    def check(self, examples: int) -> None:
        """Raise ValueError if a specification has fewer examples than are to be active."""
        if self.active_examples is not None and self.active_examples > examples:
            raise ValueError(
                f"active_examples is {self.active_examples}, and the recipe shows {examples} examples; use at most {examples}"
            )

    def mask(self, samples: Samples) -> np.ndarray:
        """bool (n, recipe.examples): which shown examples are active. A pure function of the samples' recipe, split and numbers."""
        count = samples.recipe.examples
        self.check(count)
        active = count if self.active_examples is None else self.active_examples
        if not self.random_active:
            return np.tile(np.arange(count) < active, (len(samples), 1))
        place = np.array([samples.recipe.seed ^ (split_code(samples.split) << INDEX_BITS)], np.uint64)
        numbers = _mixed(np.arange(samples.start, samples.start + len(samples), dtype=np.uint64) ^ _mixed(place))
        draws = _mixed(numbers[:, None] + np.arange(1, count + 1, dtype=np.uint64))
        return np.asarray(np.argsort(np.argsort(draws, axis=1), axis=1) < active)

    def shown(self, samples: Samples) -> Samples:
        """The samples with other outputs in their inactive examples; held-out examples and programs stay. ValueError as `check`."""
        if self.all_active:
            return samples
        recipe = samples.recipe
        mask = np.ones((len(samples), recipe.worlds_per_sample), bool)
        mask[:, : recipe.examples] = self.mask(samples)
        if mask.all():
            return samples
        own, others = samples.outputs, self._stand_ins(samples)
        keep = mask.ravel()

        def mixed(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
            return np.where(keep.reshape(-1, *[1] * (mine.ndim - 1)), mine, theirs)

        outputs = Worlds(
            walls=mixed(own.walls, others.walls),
            markers=mixed(own.markers, others.markers),
            robot=mixed(own.robot, others.robot),
        )
        return replace(samples, outputs=outputs)

    def _stand_ins(self, samples: Samples) -> Worlds:
        if self.inactive_outputs == "input":
            return samples.inputs
        if self.inactive_outputs == "random":
            return generate(samples.recipe, samples.split, (samples.start + _FAR) % (2 * _FAR), len(samples)).inputs
        performed, limit = samples.recipe.meaning(self.inactive_outputs), samples.recipe.step_limit
        ran = run(samples.compiled, samples.inputs, semantics=performed, max_steps=limit)
        ended, inputs = ran.status == Status.OK, samples.inputs
        return Worlds._trusted(
            inputs.walls,
            np.where(ended[:, None, None], ran.worlds.markers, inputs.markers),
            np.where(ended[:, None], ran.worlds.robot, inputs.robot),
        )


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014), uint64."""
    with np.errstate(over="ignore"):
        z = np.asarray(values, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
