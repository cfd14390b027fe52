"""Specifications of which only some examples tell the truth: which ones, what the others show, and what counts as right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probed_model import make_model

import karel_fast as kf
from karel_fast.data import Recipe, SampleStream, Tokenizer, generate
from karel_fast.data.sampling.active_examples import ActiveExamples
from karel_fast.experiment.preset import load_preset
from karel_fast.support.checks import InputError
from karel_fast.training.config import EvaluationConfig, SearchConfig
from karel_fast.training.evaluate import evaluate
from karel_fast.training.written import satisfied

RECIPE = Recipe(height=5, width=5, examples=3, held_out=1, lengths=(2, 4), seed=7)
SAMPLES = generate(RECIPE, "train", 40, 200)


def outputs(samples):
    """Text of every world, (n, worlds of a sample)."""
    return np.array(samples.outputs.to_text()).reshape(len(samples), -1)


@given(st.integers(0, 3), st.booleans(), st.sampled_from(["input", "random", "flip", "turn_left>move"]))
def test_active_examples_keep_their_outputs(active, random_active, inactive):
    examples = ActiveExamples(active, random_active, inactive)
    mask, shown = examples.mask(SAMPLES), examples.shown(SAMPLES)
    assert (mask.sum(axis=1) == active).all()
    own, now = outputs(SAMPLES), outputs(shown)
    assert (now[:, :3][mask] == own[:, :3][mask]).all()
    assert (now[:, 3] == own[:, 3]).all()
    assert shown.inputs.to_text() == SAMPLES.inputs.to_text()


def test_what_the_others_show():
    inputs = np.array(SAMPLES.inputs.to_text()).reshape(200, -1)
    assert (outputs(ActiveExamples(1).shown(SAMPLES))[:, 1:3] == inputs[:, 1:3]).all()
    flipped = kf.run(SAMPLES.compiled, SAMPLES.inputs, semantics="flip").worlds.to_text()
    two = outputs(ActiveExamples(1, inactive_outputs="flip").shown(SAMPLES))
    assert (two[:, 1:3] == np.array(flipped).reshape(200, -1)[:, 1:3]).all()
    random = outputs(ActiveExamples(0, inactive_outputs="random").shown(SAMPLES))
    assert (random[:, :3] != inputs[:, :3]).mean() > 0.97  # two of these small worlds may be alike


def test_original_is_the_recipe_s_own_meaning():
    samples = generate(RECIPE.replace(semantics="flip"), "train", 0, 200)
    shown = ActiveExamples(1, inactive_outputs="original").shown(samples)
    assert shown.outputs == samples.outputs


def test_where_a_run_under_another_meaning_does_not_end_the_input_stands():
    samples = generate(Recipe.control_flow(height=5, width=5, examples=2, held_out=0), "train", 0, 2000)
    ran = kf.run(samples.compiled, samples.inputs, semantics="map8")
    endless = np.flatnonzero(ran.status != kf.Status.OK)
    endless = endless[endless % 2 == 1]  # the second example, which is not active
    assert len(endless)
    shown = ActiveExamples(1, inactive_outputs="map8").shown(samples)
    assert shown.outputs[endless] == samples.inputs[endless]


def test_nothing_is_changed_by_default_or_with_all_active():
    assert ActiveExamples().shown(SAMPLES) is SAMPLES
    assert ActiveExamples(3, True).shown(SAMPLES) is SAMPLES


def test_which_are_active_depends_on_the_sample_alone():
    examples = ActiveExamples(1, True)
    whole = examples.mask(SAMPLES)
    assert (examples.mask(SAMPLES[30:90]) == whole[30:90]).all()
    assert (whole != examples.mask(generate(RECIPE, "val", 40, 200))).any()
    assert (whole != examples.mask(generate(RECIPE.replace(seed=8), "train", 40, 200))).any()
    # Each of three places is drawn about as often: 5 standard deviations of a share of 2,000.
    shares = examples.mask(generate(RECIPE, "train", 0, 2_000)).mean(axis=0)
    assert np.abs(shares - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 2_000)


def test_streams_show_them(tmp_path):
    tokenizer, examples = Tokenizer(RECIPE), ActiveExamples(2, True, "flip")
    wanted = tokenizer.encode(examples.shown(SAMPLES[:20]))
    assert (SampleStream(tokenizer, batch_size=4, first=40, active=examples).rows(0, 20) == wanted).all()
    kf.data.write_shards(RECIPE, "train", tmp_path, count=60)
    stream = SampleStream(tokenizer, batch_size=4, first=40, active=examples, shards=kf.data.open_shards(tmp_path))
    assert (stream.rows(0, 20) == wanted).all()


def test_programs_are_right_that_are_so_on_active_examples():
    programs = SAMPLES.compiled
    two = ActiveExamples(1, True, "turn_left>turn_right+move>turn_left")
    shown = two.shown(SAMPLES)
    right, held_out = satisfied(programs, shown, two.mask(SAMPLES))
    assert right.all()
    assert held_out.all()
    assert not satisfied(programs, shown)[0].all()


def test_an_evaluation_reads_what_is_shown():
    tokenizer = Tokenizer(RECIPE)
    model, settings = make_model(tokenizer), {"compile_model": False, "free": False}
    plain = evaluate(model, tokenizer, SAMPLES[:40], **settings)
    same = evaluate(model, tokenizer, SAMPLES[:40], active=ActiveExamples(3), **settings)
    assert same.metrics == plain.metrics
    changed = evaluate(model, tokenizer, SAMPLES[:40], active=ActiveExamples(1), **settings)
    assert changed.metrics["loss"] != plain.metrics["loss"]
    assert changed.metrics["reference_mean_length"] == plain.metrics["reference_mean_length"]
    programs = kf.CompiledPrograms.from_actions(changed.generated.actions, changed.generated.lengths)
    first = ActiveExamples(1).mask(SAMPLES[:40])
    wanted = satisfied(programs, SAMPLES[:40], first)[0] & changed.generated.finished
    assert (changed.correct == wanted).all()
    with pytest.raises(ValueError, match="ideal and search are about specifications"):
        evaluate(model, tokenizer, SAMPLES[:4], active=ActiveExamples(1), ideal=True, **settings)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"active_examples": -1}, "active_examples is -1"),
        ({"active_examples": True}, "active_examples"),
        ({"inactive_outputs": "inputs"}, "inactive_outputs is 'inputs'; did you mean 'input'"),
        ({"inactive_outputs": "turn_left>jump"}, "inactive_outputs is 'turn_left>jump'"),
    ],
)
def test_wrong_settings(wrong, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ActiveExamples(**wrong)


def test_more_active_examples_than_there_are():
    for use in (ActiveExamples(4).mask, ActiveExamples(4).shown):
        with pytest.raises(ValueError, match="active_examples is 4, and the recipe shows 3 examples"):
            use(SAMPLES)
    with pytest.raises(ValueError, match="recipe shows 3 examples"):
        SampleStream(Tokenizer(RECIPE), batch_size=2, active=ActiveExamples(4))
    with pytest.raises(InputError, match=r"preset smoke, \[data\]: active_examples is 9"):
        load_preset("smoke", {"data": {"active_examples": 9}})
    with pytest.raises(ValueError, match="ideal is about specifications all of whose examples are true"):
        EvaluationConfig(ideal=True, active=ActiveExamples(1))
    with pytest.raises(ValueError, match="draws is about"):
        EvaluationConfig(search=SearchConfig(draws=3), active=ActiveExamples(1))
