"""The vocabulary: what a word may mean, and that the compiled core has the same words."""

import numpy as np
import pytest

from karel_fast.data import Recipe
from karel_fast.karel import backends
from karel_fast.karel.language import Action, Condition, Semantics
from karel_fast.karel.language.bytecode import Op
from karel_fast.karel.language.vocabulary import ACTION_NAMES, CONDITION_NAMES, Effect, Sense


def test_the_core_has_the_same_words():
    core = pytest.importorskip("karel_fast._core")
    actions, conditions = core.vocabulary()
    assert actions == [(name, action.effect.byte) for name, action in zip(ACTION_NAMES, Action, strict=True)]
    assert conditions == [
        (name, condition.sense.byte) for name, condition in zip(CONDITION_NAMES, Condition, strict=True)
    ]


def test_codes_follow_one_another():
    assert [int(op) for op in Op] == list(range(len(Action), len(Action) + len(Op)))


@pytest.mark.parametrize(
    "parts", [{}, {"turns": 4}, {"turns": -1}, {"moves": True, "turns": 1}, {"puts": True, "picks": True}]
)
def test_an_effect_is_exactly_one_thing(parts):
    with pytest.raises(ValueError, match="exactly one"):
        Effect(**parts)


def test_a_sense_looks_at_one_of_four_cells():
    with pytest.raises(ValueError, match="quarter turns"):
        Sense(towards=4, found=True)


@pytest.mark.parametrize("backend", backends.available_backends())
def test_an_unknown_action_code_is_refused(backend):
    import karel_fast as kf

    compiled = kf.compile("def run() { move() }")
    table = np.full(len(Action), len(Action), np.uint8)
    with pytest.raises(ValueError, match=str(len(Action))):
        backends.load_backend(backend).run_batch(compiled, kf.Worlds.random(1, seed=0), table, 10, False, 1)


def test_a_semantics_of_no_action_names_the_nearest():
    with pytest.raises(TypeError, match="did you mean 'move'"):
        Semantics(mvoe="turn_left")


def test_recipes_of_another_vocabulary():
    """With control flow, symbols shift when words are added; straight-line recipes do not notice."""
    text = Recipe.control_flow().to_json()
    with pytest.raises(ValueError, match=f"written for {len(Action) + 1} actions"):
        Recipe.from_json(text.replace('"action_weights": [5', '"action_weights": [0, 5'))
    with pytest.raises(ValueError, match=f"written for {len(Condition) + 1} conditions"):
        Recipe.from_json(text.replace('"condition_weights": [1', '"condition_weights": [0, 1'))
    assert '"action_weights": [5, 3, 3, 2, 2]' in Recipe.paper().to_json()
