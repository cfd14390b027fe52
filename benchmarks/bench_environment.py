"""Karel as environments for agents: steps of many 8x8 worlds at once, with LEAPS's observations and without.

The limit is a copy of what a step makes anew: the worlds' markers and robots, and the observations. Peers are one world stepped alone, and
MiniGrid's empty room of as many cells, another task of the same kind, which observes 7x7 cells in every step. XLand-MiniGrid is not
measured: it is made for an accelerator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from conftest import Compare, Contender, memcpy

import karel_fast as kf
from karel_fast.karel.agents import Episodes

gymnasium = pytest.importorskip("gymnasium")
COUNTS = {"quick": 256}
MANY, SEEN = 65_536, 4_096  # observations of more worlds do not fit a processor's cache
STEPS = 8


@pytest.fixture(scope="module")
def count(size: str) -> Callable[[int], int]:
    return lambda most: COUNTS.get(size, most)


def actions(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 5, count) for _ in range(STEPS)]


def stepping(envs: kf.KarelVectorEnv) -> Callable[[], None]:
    chosen = actions(envs.num_envs)
    envs.reset(seed=0)

    def step() -> None:
        for each in chosen:
            envs.step(each)

    return step


def assert_equals_reference() -> None:
    ours, theirs = Episodes(64), Episodes(64, backend="reference")
    for episodes in (ours, theirs):
        episodes.seed(1)
        episodes.begin()
    for each in actions(64):
        ours.step(each)
        theirs.step(each)
        assert ours.worlds == theirs.worlds


def alone() -> tuple[Callable[[], None], int]:
    env, steps = kf.KarelEnv(max_steps=10**9), 200
    env.reset(seed=0)
    chosen = np.random.default_rng(0).integers(0, 5, steps)

    def step() -> None:
        for action in chosen:
            env.step(action)

    return step, steps


def minigrid() -> tuple[Callable[[], None] | None, int]:
    """Steps of MiniGrid's empty room, and how many; None where it is not installed."""
    steps = 200
    try:
        import minigrid  # noqa: F401  # it registers its environments
    except ImportError:
        return None, steps
    env = gymnasium.make("MiniGrid-Empty-8x8-v0", max_steps=10**9).unwrapped
    env.reset(seed=0)
    chosen = np.random.default_rng(0).integers(0, 3, steps)  # turns and moves; in the corner of the goal it goes on

    def step() -> None:
        for action in chosen:
            env.step(action)

    return step, steps


@pytest.mark.benchmark(group="environment")
def bench_steps(compare: Compare, count: Callable[[int], int]) -> None:
    """Rewards and worlds only."""
    assert_equals_reference()
    envs = kf.KarelVectorEnv(count(MANY), observations=False)
    worlds, (step, steps) = envs.reset(seed=0) and envs.worlds, alone()
    units = STEPS * envs.num_envs
    compare(
        stepping(envs),
        {
            "memcpy of markers and robots": _times(memcpy([worlds.markers, worlds.robot])),
            "one world alone": Contender(step, at_least=True, scale=units / steps),
        },
        units=units, unit="steps", target_rate=20e6,
    )  # fmt: skip


@pytest.mark.benchmark(group="environment")
def bench_steps_with_observations(compare: Compare, count: Callable[[int], int]) -> None:
    envs = kf.KarelVectorEnv(count(SEEN))
    seen, _ = envs.reset(seed=0)
    (own, own_steps), (other, other_steps) = alone(), minigrid()
    units = STEPS * envs.num_envs
    compare(
        stepping(envs),
        {
            "memcpy of observations": _times(memcpy([seen, envs.worlds.markers, envs.worlds.robot])),
            "one world alone": Contender(own, at_least=True, scale=units / own_steps),
            "MiniGrid, an empty room of 8x8": Contender(other, at_least=True, scale=units / other_steps),
        },
        units=units, unit="steps", target_rate=2e6,
    )  # fmt: skip


def _times(copy: Contender) -> Contender:
    """As much copying as all steps of a measurement do."""
    return Contender(copy.action, scale=STEPS)
