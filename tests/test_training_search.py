"""pass@k and beam search of a snapshot: against counting by hand, greedy decoding and each other."""

import itertools
import json
import math

import numpy as np
import pytest
import typer
from evaluated_model import PLAIN, RECIPE, SAMPLES, TOKENIZER, plain_counts, random_weights, shape
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from karel_fast.cli.training import register
from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.model import Transformer
from karel_fast.model.decode import write_programs
from karel_fast.model.sampling import Sampling
from karel_fast.runs.snapshots import write_snapshot
from karel_fast.support.checks import InputError
from karel_fast.training.config import EvaluationConfig, SearchConfig, TrainConfig
from karel_fast.training.evaluate import evaluate
from karel_fast.training.search import ks, pass_at_k, prior_passes, search_metrics

FAST = {"batch_size": 25, "compile_model": False}


@pytest.fixture(scope="module")
def model():
    return random_weights(0)


@given(st.integers(1, 8), st.data())
def test_pass_at_k_counts_subsets(draws, data):
    right = data.draw(st.lists(st.booleans(), min_size=draws, max_size=draws))
    k = data.draw(st.integers(1, draws))
    subsets = list(itertools.combinations(right, k))
    expected = sum(map(any, subsets)) / len(subsets)
    assert pass_at_k(np.array([sum(right)]), draws, k)[0] == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_of_many_draws():
    assert pass_at_k(np.array([0, 200, 1]), 200, 100).tolist() == pytest.approx([0, 1, 0.5])
    exact = 1 - math.comb(190, 20) / math.comb(200, 20)
    assert pass_at_k(np.array([10]), 200, 20)[0] == pytest.approx(exact)
    assert ks(1) == [1]
    assert ks(8) == [1, 2, 4, 8]
    assert ks(10) == [1, 2, 4, 8, 10]
    with pytest.raises(ValueError, match="k=3"):
        pass_at_k(np.array([1]), 2, 3)


def test_draws_counted_by_hand(model):
    metrics = search_metrics(model, TOKENIZER, SAMPLES, SearchConfig(draws=4, temperature=0.9, draw_seed=3), **FAST)
    shown, both = [], []
    steps = TOKENIZER.program_length
    for draw in range(4):
        made = write_programs(
            model, TOKENIZER.encode_prompts(SAMPLES), TOKENIZER.grammar(), steps, sampling=Sampling(0.9, seed=3),
            draw=draw, pad_id=TOKENIZER.pad_id, end_id=TOKENIZER.end_id, compile=False,
        )  # fmt: skip
        for kept, right in zip((shown, both), plain_counts(TOKENIZER, SAMPLES, made), strict=True):
            kept.append(right)
    for name, right in (("pass_at_k", np.array(shown)), ("pass_at_k_generalization", np.array(both))):
        assert metrics[name]["1"] == pytest.approx(right.mean())
        assert metrics[name]["4"] == pytest.approx(right.any(axis=0).mean())
        pairs = [right[list(pair)].any(axis=0).mean() for pair in itertools.combinations(range(4), 2)]
        assert metrics[name]["2"] == pytest.approx(np.mean(pairs))
        assert list(metrics[name]) == ["1", "2", "4"]
    assert 0 < metrics["pass_at_k"]["1"] < metrics["pass_at_k"]["4"] < 1
    assert 1 < metrics["drawn_distinct"] <= 4
    assert json.loads(json.dumps(metrics)) == metrics


def test_a_sample_s_draws_do_not_depend_on_its_company(model):
    search = SearchConfig(draws=2)
    whole = search_metrics(model, TOKENIZER, SAMPLES, search, **FAST)
    parts = [search_metrics(model, TOKENIZER, SAMPLES[a:b], search, **FAST) for a, b in ((0, 20), (20, 60))]
    for name in ("pass_at_k", "pass_at_k_generalization"):
        for k in ("1", "2"):
            assert whole[name][k] == pytest.approx((parts[0][name][k] + 2 * parts[1][name][k]) / 3)


def test_greedy_is_a_draw_without_temperature_and_a_beam_of_one(model):
    search = SearchConfig(draws=1, temperature=0, beam_width=1)
    metrics = evaluate(model, TOKENIZER, SAMPLES, free=False, search=search, **PLAIN).metrics
    assert metrics["pass_at_k"] == {"1": metrics["generative_accuracy"]}
    assert metrics["beam_accuracy"] == metrics["beam_any"] == metrics["generative_accuracy"]
    assert metrics["beam_generalization"] == metrics["pass_at_k_generalization"]["1"] == metrics["generalization"]
    assert metrics["beam_log_probability"] < 0
    wide = search_metrics(model, TOKENIZER, SAMPLES, SearchConfig(beam_width=8), **FAST)
    assert wide["beam_any"] >= wide["beam_accuracy"]
    assert wide["beam_any"] > metrics["beam_any"]
    assert "pass_at_k" not in wide
    assert search_metrics(model, TOKENIZER, SAMPLES, SearchConfig(), **FAST) == {}


def test_the_prior_is_other_samples_programs():
    programs = list(SAMPLES.programs)
    found = []
    for shift in (1, 2):
        moved = [list(p.actions) for p in programs[shift:] + programs[:shift]]
        lengths = np.array([len(codes) for codes in moved])
        actions = np.full((len(moved), int(lengths.max())), 255, np.uint8)
        for row, codes in zip(actions, moved, strict=True):
            row[: len(codes)] = codes
        made = type("Made", (), {"actions": actions, "lengths": lengths, "finished": np.ones(len(moved), bool)})
        found.append(plain_counts(TOKENIZER, SAMPLES, made)[0])
    prior = prior_passes(SAMPLES, 2)
    assert prior["1"] == pytest.approx(np.mean(found))
    assert prior["2"] == pytest.approx(np.any(found, axis=0).mean())
    assert prior_passes(SAMPLES[:2], 2) is None


def test_control_flow_and_nothing_held_out():
    recipe = Recipe.control_flow(height=5, width=5, examples=1, held_out=0, lengths=(2, 3))
    tokenizer, samples = Tokenizer(recipe), generate(recipe, "test", 0, 6)
    search = SearchConfig(draws=2, beam_width=2)
    metrics = search_metrics(Transformer(shape(tokenizer)), tokenizer, samples, search, **FAST)
    assert metrics["pass_at_k_generalization"] is metrics["beam_generalization"] is None
    assert metrics["pass_at_k_prior"] is not None


def test_settings():
    assert EvaluationConfig().search == SearchConfig(0, 1.0, 1.0, 0, 0, 0.0)
    for name, value in (
        ("draws", -1), ("top_p", 0), ("top_p", 1.1), ("temperature", float("nan")), ("temperature", "1"),
        ("beam_width", -1), ("length_penalty", 11), ("draw_seed", 2**64),
    ):  # fmt: skip
        with pytest.raises((TypeError, ValueError), match=name):
            SearchConfig(**{name: value})


def test_command(model, tmp_path):
    card = {"recipe": RECIPE.to_json(), "layout": "compact", "train": TrainConfig().to_dict()}
    write_snapshot(tmp_path, 1, model, card, TOKENIZER)
    app = typer.Typer()
    register(app)
    words = ["evaluate", str(tmp_path), "--specifications", "12", "--device", "cpu", "--no-compile-decoding", "--json"]
    done = CliRunner().invoke(app, [*words, "--draws", "3", "--temperature", "0.7", "--beam-width", "2"])
    metrics = json.loads(done.stdout)
    assert (metrics["draws"], metrics["temperature"], metrics["beam_width"]) == (3, 0.7, 2)
    assert list(metrics["pass_at_k"]) == ["1", "2", "3"]
    assert "pass_at_k" not in json.loads(CliRunner().invoke(app, words).stdout)
    wrong = CliRunner().invoke(app, [*words, "--top-p", "0"])
    assert isinstance(wrong.exception, InputError)
    assert "top_p is 0" in str(wrong.exception)
