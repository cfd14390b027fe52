"""A plan as flat integer arrays, because functions compiled by Numba take no dataclasses."""

from __future__ import annotations

import math

import numpy as np

from karel_fast.data.sampling import philox, symbols
from karel_fast.data.sampling.numba_kernels import READY, RING
from karel_fast.data.sampling.plan import ControlPlan, Plan
from karel_fast.karel.language import Action, Condition

LANES = 8  # blocks are filled in multiples of this, so that no remainder is left to vectorize


def _blocks(plan: Plan) -> int:
    """Blocks per world: one value more than there are interior cells, for the robot."""
    return ((plan.height - 2) * (plan.width - 2) + 8) // 8


def plan_array(plan: Plan) -> np.ndarray:
    """The plan as int64 integers, in the places that `numba_kernels` names."""
    control = plan.control or ControlPlan((0,) * 4, (0,) * len(Condition), False, 0, 0, 0)
    return np.array(
        [
            plan.worlds, plan.shown, (plan.height - 2) * (plan.width - 2), plan.height * plan.width, plan.wall_end,
            plan.marker_end, plan.shortest, plan.longest, plan.avoid_noops, plan.split, plan.hash_first, plan.hash_last,
            plan.seed & philox.WORD, plan.seed >> 32, plan.max_attempts, 8 * _blocks(plan),
            control.negate, control.depth, control.lowest_count, control.highest_count,
            symbols.IF, symbols.IFELSE, symbols.REPEAT, symbols.ELSE, symbols.NOT, symbols.CONDITION, symbols.OPEN,
            symbols.CLOSE, symbols.COUNT,
            -plan.width, 1, plan.width, -1, *control.statement_weights,
        ],
        np.int64,
    )  # fmt: skip


def plan_words(plan: Plan) -> tuple[np.ndarray, ...]:
    """What depends on the vocabulary, int64: per action its weight, the weights up to it summed, and the effect of the action
    performed for it; per condition the weights up to it summed."""
    effects = [Action(code).effect.byte for code in plan.performed]
    conditions = plan.control.condition_weights if plan.control else (0,) * len(Condition)
    columns = plan.action_weights, np.cumsum(plan.action_weights), effects, np.cumsum(conditions)
    return tuple(np.array(column, np.int64) for column in columns)


def plan_tables(plan: Plan) -> tuple[np.ndarray, ...]:
    """What the kernels looks up.

    Block and stream numbers of the blocks of a sample that are filled at once: its worlds', then its program's first.
    For each cell of a sample's worlds the place in `kinds` that decides it. Places of a world's interior cells; row and
    column of each cell of a world.
    """
    blocks, used = _blocks(plan), _blocks(plan) * plan.worlds
    address = np.zeros((2, -(-(used + READY) // LANES) * LANES), np.uint64)
    address[:, :used] = np.divmod(np.arange(used), blocks)[::-1]
    address[:, used : used + READY] = np.arange(READY), np.full(READY, philox.PROGRAM_STREAM)
    inside = (plan.height - 2, plan.width - 2)
    source = np.full((plan.worlds, plan.height, plan.width), RING, np.uint32)
    first = 8 + 8 * blocks * np.arange(plan.worlds)
    source[:, 1:-1, 1:-1] = first[:, None, None] + np.arange(math.prod(inside)).reshape(inside)
    cells = np.arange(plan.height * plan.width)
    places = cells.reshape(plan.height, plan.width)[1:-1, 1:-1].ravel()
    return *address, source.ravel(), places, *np.divmod(cells, plan.width)
