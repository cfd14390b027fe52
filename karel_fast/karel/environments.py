"""Karel as Gymnasium environments: one world, or many at once. They need the extra `gym`: pip install "karel_fast[gym]"."""

from __future__ import annotations

from typing import Any

import numpy as np

from karel_fast.karel.agents import CHANNELS, Episodes
from karel_fast.karel.language import Action
from karel_fast.karel.pictures import frame
from karel_fast.karel.tasks import Task
from karel_fast.support.checks import InputError, one_of, whole

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'Karel\'s environments need Gymnasium: pip install "karel_fast[gym]"', name="gymnasium"
    ) from error

RENDER_MODES = ("rgb_array", "ansi")
MAX_STEPS = 100
"""Actions of an episode, unless others are asked for: LEAPS's `max_episode_steps`."""


def _observation_space(episodes: Episodes, observations: bool) -> spaces.Space:
    shape = (episodes.height, episodes.width, CHANNELS) if observations else (0,)
    return spaces.MultiBinary(shape) if observations else spaces.Box(0, 1, shape, np.int8)


class KarelEnv(gymnasium.Env):
    """One world. An action is a code of `karel_fast.Action`; an observation is int8 (H, W, 16), see `karel_fast.karel.agents`.

    task: a name of `karel_fast.karel.tasks.TASKS`, or a Task. height, width: of the world, the ring included. max_steps: actions until
    an episode is cut off. on_error: see `Episodes`. render_mode: rgb_array (uint8 (.., .., 3)) or ansi (text).
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        task: str | Task = "explore",
        *,
        height: int | None = None,
        width: int | None = None,
        max_steps: int = MAX_STEPS,
        on_error: str = "leaps",
        render_mode: str | None = None,
        backend: str | None = None,
    ) -> None:
        self._episodes = Episodes(1, task, height=height, width=width, on_error=on_error, threads=1, backend=backend)
        self.max_steps = whole("max_steps", max_steps, 1)
        self.render_mode = None if render_mode is None else one_of("render_mode", render_mode, RENDER_MODES)
        self.action_space = spaces.Discrete(len(Action))
        self.observation_space = _observation_space(self._episodes, True)
        self._begun = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; the same seed gives the same worlds."""
        super().reset(seed=seed)
        if seed is not None or not self._begun:
            self._episodes.seed(int(self.np_random.integers(2**63)))
        self._episodes.begin()
        self._begun = True
        return self._episodes.observations()[0], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Perform an action: observation, reward, whether the task is done, whether the episode is cut off, {}."""
        _check_begun(self._begun)
        reward, done = self._episodes.step(np.array([whole("action", action, 0, len(Action) - 1)]))
        cut = not done[0] and self._episodes.steps[0] >= self.max_steps
        return self._episodes.observations()[0], float(reward[0]), bool(done[0]), bool(cut), {}

    def render(self) -> Any:
        """The world as `render_mode` says; None without one."""
        if self.render_mode is None:
            return None
        world = self.world
        return frame(world) if self.render_mode == "rgb_array" else world.to_text()[0]

    @property
    def world(self) -> Any:
        """Where the robot is: a batch of one world. InputError before the first reset."""
        _check_begun(self._begun)
        return self._episodes.worlds


def _check_begun(begun: bool) -> None:
    if not begun:
        raise InputError("the environment was not reset; call reset() first")


class KarelVectorEnv(VectorEnv):
    """`num_envs` worlds at once. An episode that has ended begins anew with the next step, whose action is not performed
    (Gymnasium's AutoresetMode.NEXT_STEP). Arguments as for `KarelEnv`.

    observations: False leaves them out, for what only looks at rewards or at `worlds`: the space is then empty, (num_envs, 0).
    threads: of the executor, by default all processors that this process may use.
    """

    metadata = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int,
        task: str | Task = "explore",
        *,
        height: int | None = None,
        width: int | None = None,
        max_steps: int = MAX_STEPS,
        on_error: str = "leaps",
        observations: bool = True,
        render_mode: str | None = None,
        threads: int | None = None,
        backend: str | None = None,
    ) -> None:
        self._episodes = Episodes(
            num_envs, task, height=height, width=width, on_error=on_error, threads=threads, backend=backend
        )
        self.num_envs = self._episodes.count
        self.max_steps = whole("max_steps", max_steps, 1)
        self.observations = observations
        self.render_mode = None if render_mode is None else one_of("render_mode", render_mode, RENDER_MODES)
        self.single_action_space = spaces.Discrete(len(Action))
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.single_observation_space = _observation_space(self._episodes, observations)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._ended = np.zeros(self.num_envs, bool)
        self._begun = False

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin all episodes; the same seed, one number for all, gives the same worlds."""
        if seed is not None and not hasattr(seed, "__index__"):
            raise InputError("seed is one number for all worlds; they are drawn from one stream")
        super().reset(seed=seed)
        if seed is not None or not self._begun:
            self._episodes.seed(int(self.np_random.integers(2**63)))
        self._episodes.begin()
        self._begun = True
        self._ended = np.zeros(self.num_envs, bool)
        return self._seen(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Perform an action in each world: observations, rewards float64, done, cut off, {}."""
        _check_begun(self._begun)
        anew = self._ended
        some = anew.any()
        if some:
            self._episodes.begin_again(anew)
        reward, done = self._episodes.step(actions, anew if some else None)
        if some:
            reward, done = np.where(anew, np.float32(0), reward), done & ~anew
        cut = ~done & (self._episodes.steps >= self.max_steps)
        self._ended = done | cut
        return self._seen(), reward.astype(np.float64), done, cut, {}

    def _seen(self) -> Any:
        return self._episodes.observations() if self.observations else np.empty((self.num_envs, 0), np.int8)

    def render(self) -> Any:
        """Each world as `render_mode` says, in a tuple; None without one."""
        if self.render_mode is None:
            return None
        worlds = self.worlds
        return tuple(frame(world) for world in worlds) if self.render_mode == "rgb_array" else tuple(worlds.to_text())

    @property
    def worlds(self) -> Any:
        """Where the robots are: a batch of `num_envs` worlds. InputError before the first reset."""
        _check_begun(self._begun)
        return self._episodes.worlds
