"""Hypothesis strategies that every test file shares: programs with nested control flow, worlds, semantics."""

import numpy as np
from hypothesis import strategies as st

from karel_fast.karel.language import Action, Condition, If, IfElse, Program, Repeat, Semantics, While
from karel_fast.karel.language.vocabulary import ACTION_NAMES
from karel_fast.karel.world import Worlds

actions = st.sampled_from(Action)
conditions = st.sampled_from(Condition)


def _blocks(statements):
    bodies = st.lists(statements, max_size=4).map(tuple)
    return st.one_of(
        st.builds(If, conditions, st.booleans(), bodies),
        st.builds(IfElse, conditions, st.booleans(), bodies, bodies),
        st.builds(While, conditions, st.booleans(), bodies),
        st.builds(Repeat, st.integers(0, 5), bodies),
    )


statements = st.recursive(actions, _blocks, max_leaves=12)
straight_line_programs = st.lists(actions, max_size=12).map(Program.from_actions)
programs = st.lists(statements, max_size=6).map(tuple).map(Program)
semantics = st.fixed_dictionaries(dict.fromkeys(ACTION_NAMES, actions)).map(lambda performed: Semantics(**performed))


@st.composite
def worlds(draw, count=1, min_side=3, max_side=9):
    """A batch of `count` worlds of one size, with markers up to 255, also under the robot."""
    height, width = draw(st.integers(min_side, max_side)), draw(st.integers(min_side, max_side))
    seed = draw(st.integers(0, 2**32 - 1))
    plain = Worlds.random(count, height, width, wall_probability=draw(st.sampled_from([0.0, 0.1, 0.4])), seed=seed)
    levels = draw(st.lists(st.sampled_from([0, 1, 2, 9, 10, 254, 255]), min_size=1, max_size=4))
    markers = np.random.default_rng(seed).choice(np.array(levels, np.uint8), size=plain.markers.shape)
    return Worlds(walls=plain.walls, markers=markers * ~plain.walls, robot=plain.robot)


@st.composite
def batches(draw):
    """One to three programs, straight-line or not, and their worlds: one to three each."""
    kind = draw(st.sampled_from([straight_line_programs, programs]))
    chosen = draw(st.lists(kind, min_size=1, max_size=3))
    return chosen, draw(worlds(count=len(chosen) * draw(st.integers(1, 3))))
