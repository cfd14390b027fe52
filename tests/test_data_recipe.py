"""Recipes: presets, JSON, exact probabilities, and every choice that cannot be drawn."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import karel_fast as kf
from karel_fast import Semantics
from karel_fast.data import ControlFlow, Recipe
from karel_fast.data.sampling.plan import make_plan
from karel_fast.data.sampling.recipe import PRESETS, SPLITS
from karel_fast.karel.language import resolve_semantics


@st.composite
def recipes(draw, control=None):
    """Small recipes of every kind; `control` forces or forbids control flow."""
    low = draw(st.integers(1, 6))
    weights = draw(st.tuples(*[st.integers(0, 5)] * 5).filter(any))
    with_control = draw(st.booleans()) if control is None else control
    flow = None
    if with_control:
        flow = ControlFlow(
            *draw(st.tuples(*[st.integers(0, 3)] * 4).filter(any)),
            condition_weights=draw(st.tuples(*[st.integers(0, 2)] * 5).filter(any)),
            negate=draw(st.booleans()),
            depth=draw(st.integers(1, 3)),
            repeat_counts=draw(st.sampled_from([(0, 0), (2, 5), (1, 12)])),
        )
    return Recipe(
        height=draw(st.sampled_from([3, 4, 8, 11])),
        width=draw(st.sampled_from([3, 5, 8, 9])),
        wall_probability=draw(st.sampled_from([0, 0.1, 0.5, 0.99])),
        marker_probability=draw(st.sampled_from([0, 0.1, 1])),
        examples=draw(st.integers(1, 3)),
        held_out=draw(st.integers(0, 2)),
        lengths=(low, low + draw(st.integers(0, 4))),
        action_weights=weights,
        avoid_noops=not with_control and draw(st.booleans()),
        control=flow,
        semantics=draw(st.sampled_from(["original", "flip", "adversarial"])),
        seed=draw(st.integers(0, 2**64 - 1)),
    )


def test_paper_preset_is_the_paper():
    paper = Recipe.paper()
    assert (paper.height, paper.width, paper.examples, paper.held_out, paper.lengths) == (8, 8, 5, 5, (6, 10))
    assert paper.action_weights == (5, 3, 3, 2, 2)
    assert paper.exact_probabilities() == {
        "wall": Fraction(6554, 65536),
        "marker": Fraction(5898, 58982),
        "move": Fraction(5, 15),
        "turn_left": Fraction(3, 15),
        "turn_right": Fraction(3, 15),
        "pick_marker": Fraction(2, 15),
        "put_marker": Fraction(2, 15),
    }


def test_other_presets():
    assert Recipe.paper_short().lengths == (1, 10)
    assert Recipe.colm().lengths == (15, 15)
    assert Recipe.colm().action_weights == (1, 1, 1, 0, 0)
    assert Recipe.preset("control-flow", seed=3) == Recipe.control_flow(seed=3)
    assert len({Recipe.preset(name).hash for name in PRESETS}) == len(PRESETS)


def test_hash_is_stable():
    assert Recipe.paper().hash == "9a95ce6c8eaa25be"
    assert Recipe.paper(seed=1).hash != Recipe.paper().hash


@given(recipes())
@settings(max_examples=50)
def test_json_round_trip(recipe):
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.hash == recipe.hash


def test_semantics_of_ones_own_in_json():
    recipe = Recipe(semantics=Semantics(move="turn_left"))
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_forms_of_weights():
    assert Recipe(action_weights="uniform").action_weights == (1, 1, 1, 1, 1)
    assert Recipe(action_weights={"move": 2, "put_marker": 1}).action_weights == (2, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"wall_probability": 1.0}, "wall_probability is 1"),
        ({"wall_probability": 10**400}, "wall_probability is about 1e400; give a number from 0 to 1"),
        ({"seed": 10**5000}, "seed is about 1e5000"),
        ({"wall_probability": 0.999999}, "no free cell"),
        ({"wall_probability": 1e-9}, "finer than"),
        ({"marker_probability": -0.1}, "marker_probability is -0.1"),
        ({"marker_probability": float("nan")}, "marker_probability is nan"),
        ({"lengths": (5, 3)}, "5..3 is empty"),
        ({"lengths": (0, 3)}, "lengths"),
        ({"lengths": (1, 999)}, "999"),
        ({"action_weights": (0, 0, 0, 0, 0)}, "all 0"),
        ({"action_weights": (1, 1, 1, 1, -1)}, "put_marker"),
        ({"action_weights": "even"}, "uniform"),
        ({"action_weights": {"jump": 1}}, "jump"),
        ({"height": 2, "width": 2}, "height is 2"),
        ({"width": 65}, "width is 65"),
        ({"examples": 0}, "examples is 0"),
        ({"held_out": -1}, "held_out is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**64}, "seed"),
        ({"split_by": "hash"}, "split_by"),
        ({"split_shares": (0, 0, 0)}, "split_shares"),
        ({"semantics": "sideways"}, "sideways"),
        ({"control": ControlFlow(), "avoid_noops": True}, "avoid_noops"),
        ({"control": {"deepness": 3}}, "deepness"),
    ],
)
def test_impossible_recipes(changes, says):
    with pytest.raises(ValueError, match=says):
        Recipe(**changes)


@pytest.mark.parametrize(
    "changes",
    [{"height": 8.0}, {"seed": True}, {"lengths": 5}, {"action_weights": 3}, {"avoid_noops": 1}, {"control": 3},
     {"wall_probability": "0.1"}, {"semantics": 5}],
)  # fmt: skip
def test_wrong_types(changes):
    with pytest.raises(TypeError, match=next(iter(changes))):
        Recipe(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"if_weight": 0, "ifelse_weight": 0}, "every statement weight"),
        ({"condition_weights": (0,) * 5}, "condition_weights"),
        ({"depth": 9}, "depth is 9"),
        ({"repeat_counts": (5, 2)}, "5..2"),
        ({"repeat_counts": (1, 100)}, "100"),
        ({"max_steps": 0}, "max_steps is 0"),
    ],
)
def test_impossible_control_flow(changes, says):
    with pytest.raises(ValueError, match=says):
        ControlFlow(**changes)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"colour": 1}', '{"lengths": [5, 3]}', "{"])
def test_text_that_is_no_recipe(text):
    with pytest.raises(ValueError, match=r"recipe|lengths"):
        Recipe.from_json(text)


def test_program_splits_cover_all_hashes_once():
    recipe = Recipe(split_by="program", split_shares=(7, 2, 1))
    plans = [make_plan(recipe, split) for split in SPLITS]
    assert plans[0].hash_first == 0
    assert plans[-1].hash_last == 1 << 32
    assert all(a.hash_last == b.hash_first for a, b in pairwise(plans))


def test_split_without_a_share():
    with pytest.raises(ValueError, match="val"):
        make_plan(Recipe(split_by="program", split_shares=(9, 0, 1)), "val")


@pytest.mark.parametrize(
    "use",
    [
        lambda recipe: kf.data.generate(recipe),
        kf.data.Tokenizer,
        lambda recipe: kf.data.write_shards(recipe, "train", "nowhere", count=1),
        lambda recipe: kf.exact.solve(*[kf.Worlds.from_text(["####\n#>.#\n####"])] * 2, recipe=recipe, examples=1),
        lambda recipe: kf.exact.SolutionSet(recipe, "test", 5),
        lambda recipe: kf.data.import_for(recipe, "nowhere"),
    ],
)
def test_a_preset_s_name_is_no_recipe(use):
    for wrong, named in (("colm", "colm"), ("papper", "paper"), ({"height": 8}, "paper")):
        with pytest.raises(TypeError, match=rf"recipe is .*; give a Recipe, such as .*Recipe.preset\('{named}'\)"):
            use(wrong)


def test_unknown_split_and_preset():
    with pytest.raises(ValueError, match="dev"):
        make_plan(Recipe(), "dev")
    with pytest.raises(ValueError, match="paper"):
        Recipe.preset("huge")


def test_numbers_of_numpy():
    plain = Recipe(height=5, lengths=(2, 4), action_weights=(5, 3, 3, 2, 2), marker_probability=0.25, seed=3)
    same = Recipe(
        height=np.int64(5), lengths=np.array([2, 4]), action_weights=np.array([5, 3, 3, 2, 2]),
        marker_probability=np.float32(0.25), seed=np.uint8(3),
    )  # fmt: skip
    assert same.to_json() == plain.to_json()
    for wrong in ({"marker_probability": "0.5"}, {"marker_probability": True}, {"lengths": np.ones((2, 1))}):
        with pytest.raises(TypeError, match=next(iter(wrong))):
            Recipe(**wrong)


def test_original_is_the_recipes_own_meaning():
    recipe = Recipe.paper(semantics="map8")
    assert recipe.meaning("original") == recipe.semantics == resolve_semantics("map8")
    assert recipe.meaning("identity") == resolve_semantics("identity") != recipe.semantics
    assert recipe.meaning(recipe.semantics) == recipe.semantics
    with pytest.raises(ValueError, match="unknown semantics"):
        recipe.meaning("mine")
