"""A recipe and a split, boiled down to the integers that every sampler backend draws with."""

from __future__ import annotations

from dataclasses import dataclass

from karel_fast.data.sampling.recipe import Recipe, check_recipe, split_code

MAX_ATTEMPTS = 100_000  # at one program, before the recipe is called impossible


@dataclass(frozen=True, slots=True)
class ControlPlan:
    """The part of a plan that programs with control flow need."""

    statement_weights: tuple[int, ...]  # of if, ifelse, while, repeat
    condition_weights: tuple[int, ...]
    negate: bool
    depth: int
    lowest_count: int
    highest_count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All integers; see `Recipe` for what they mean."""

    height: int
    width: int
    worlds: int  # E
    shown: int
    wall_end: int  # a 16-bit value below it is a wall,
    marker_end: int  # else below it a marker
    shortest: int
    longest: int
    symbol_width: int
    action_weights: tuple[int, ...]
    performed: tuple[int, ...]  # action code performed per action code written
    avoid_noops: bool
    split: int
    hash_first: int  # programs whose hash is in hash_first .. hash_last-1 belong to the split
    hash_last: int
    seed: int
    max_attempts: int
    control: ControlPlan | None  # None for straight-line recipes


def make_plan(recipe: Recipe, split: str) -> Plan:
    """ValueError if the split is unknown or has no share of the programs, TypeError for what is no recipe."""
    check_recipe(recipe)
    code = split_code(split)
    first, last = 0, 1 << 32
    if recipe.split_by == "program":
        shares, total = recipe.split_shares, sum(recipe.split_shares)
        first, last = ((sum(shares[:k]) << 32) // total for k in (code, code + 1))
        if first == last:
            raise ValueError(f"split {split!r} has no share of the programs: split_shares are {shares}")
    control = None
    if recipe.control is not None:
        c = recipe.control
        control = ControlPlan(c.statement_weights, c.condition_weights, c.negate, c.depth, *c.repeat_counts)
    return Plan(
        height=recipe.height,
        width=recipe.width,
        worlds=recipe.worlds_per_sample,
        shown=recipe.examples,
        wall_end=recipe.wall_threshold,
        marker_end=recipe.wall_threshold + recipe.marker_threshold,
        shortest=recipe.lengths[0],
        longest=recipe.lengths[1],
        symbol_width=recipe.symbol_width,
        action_weights=recipe.action_weights,
        performed=tuple(recipe.semantics.table.tolist()),
        avoid_noops=recipe.avoid_noops,
        split=code,
        hash_first=first,
        hash_last=last,
        seed=recipe.seed,
        max_attempts=MAX_ATTEMPTS,
        control=control,
    )
