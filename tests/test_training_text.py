"""Text against training: every number the long way round, and base rates that bound them."""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from evaluated_model import PLAIN, SAMPLES, TOKENIZER, random_weights, shape

from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.model import Transformer
from karel_fast.training.evaluate import evaluate
from karel_fast.training.text import entropy, length_metrics, token_losses, uniform_program_loss


@pytest.fixture(scope="module")
def model():
    return random_weights(1)


@pytest.fixture(scope="module")
def result(model):
    return evaluate(model, TOKENIZER, SAMPLES, free=False, **PLAIN)


def log_probabilities(model, rows):
    """float64 (n, T - 1): of each row's tokens from the second on."""
    tokens = torch.from_numpy(rows.astype(np.int64))
    with torch.no_grad():
        log = torch.log_softmax(model(tokens)[:, :-1].double(), -1)
    return log.gather(2, tokens[:, 1:, None])[:, :, 0].numpy()


def test_parts_of_the_prompt(model, result):
    rows = TOKENIZER.encode(SAMPLES)
    loss = -log_probabilities(model, rows)
    # Compact rows: input, nine cells, output, nine cells, and so on.
    for k in range(2):
        for name, start in (("input_loss", 1 + 20 * k), ("output_loss", 11 + 20 * k)):
            assert result.metrics[name][k] == pytest.approx(loss[:, start - 1 : start + 8].mean(), rel=1e-4)
    cells = [rows[:, start : start + 9] for start in (11, 31)]
    assert result.metrics["unigram_output_loss"] == pytest.approx(plain_entropy(np.concatenate(cells).ravel().tolist()))
    pairs = [
        (int(a), int(b))
        for s in (1, 21)
        for a, b in zip(rows[:, s : s + 9].flat, rows[:, s + 10 : s + 19].flat, strict=True)
    ]
    given = plain_entropy(pairs) - plain_entropy([a for a, _ in pairs])
    assert result.metrics["copy_output_loss"] == pytest.approx(given)
    assert 0 < given < result.metrics["unigram_output_loss"] < result.metrics["uniform_cell_loss"]
    assert result.metrics["unigram_program_loss"] <= math.log(6)
    assert json.loads(json.dumps(result.metrics)) == result.metrics


def plain_entropy(values):
    counts = Counter(values).values()
    return -sum(c / len(values) * math.log(c / len(values)) for c in counts)


def test_own_text(model, result):
    rows = TOKENIZER.encode(SAMPLES)
    first = TOKENIZER.prompt_length
    rows[:, first:] = result.generated.tokens
    there = rows[:, first:] != TOKENIZER.pad_id
    loss = -log_probabilities(model, rows)[:, first - 1 :][there].mean()
    assert result.metrics["written_loss"] == pytest.approx(loss, rel=1e-4)
    assert result.metrics["written_perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert result.metrics["loss_gap"] == pytest.approx(result.metrics["loss"] - loss, rel=1e-3)


def test_lengths(result):
    metrics, made = result.metrics, result.generated
    counts = {"shorter": 0, "equal": 0, "longer": 0}
    for right, mine, theirs in zip(result.correct, made.lengths, SAMPLES.lengths, strict=True):
        if right:
            counts["shorter" if mine < theirs else "equal" if mine == theirs else "longer"] += 1
    assert metrics["correct_lengths"] == {name: n / result.correct.sum() for name, n in counts.items()}
    by = metrics["by_reference_length"]
    assert list(by) == ["1", "2"]
    assert sum(cell["samples"] for cell in by.values()) == len(SAMPLES)
    for length, cell in by.items():
        where = SAMPLES.lengths == int(length)
        assert cell == {"samples": where.sum(), "correct": result.correct[where].sum()}
    by = metrics["by_written_length"]
    assert sum(cell["correct"] for cell in by.values()) == result.correct.sum()
    assert sum(cell["correct"] + cell["wrong"] for cell in by.values()) == len(SAMPLES)
    for length, cell in by.items():
        assert cell["correct"] == result.correct[made.lengths == int(length)].sum()
    none = length_metrics(TOKENIZER, TOKENIZER.encode(SAMPLES)[:, TOKENIZER.prompt_length :], made, np.zeros(60, bool))
    assert none["correct_lengths"] is None


def test_losses_do_not_depend_on_the_batch(model):
    rows = TOKENIZER.encode(SAMPLES)
    whole = token_losses(model, rows, TOKENIZER.pad_id, compile_model=False)
    assert whole.shape == (60, rows.shape[1] - 1)
    assert (whole[rows[:, 1:] == TOKENIZER.pad_id] == 0).all()
    parts = token_losses(model, rows, TOKENIZER.pad_id, batch_size=7, compile_model=False)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-6)


def test_base_rates_of_uniform_readers():
    assert entropy(np.array([3, 3, 7, 7])) == pytest.approx(math.log(2))
    assert entropy(np.array([5, 5])) == 0
    programs = TOKENIZER.encode(SAMPLES)[:, TOKENIZER.prompt_length :]
    # The first token is one of five actions; every later one is of them or the end.
    tokens = SAMPLES.lengths.sum() + len(SAMPLES)
    expected = (len(SAMPLES) * math.log(5) + SAMPLES.lengths.sum() * math.log(6)) / tokens
    assert uniform_program_loss(TOKENIZER, programs) == pytest.approx(expected)


@pytest.mark.parametrize("layout", ["compact", "reference"])
def test_control_flow(layout):
    recipe = Recipe.control_flow(height=5, width=5, examples=1, held_out=1, lengths=(2, 3))
    samples, tokenizer = generate(recipe, "test", 0, 10), Tokenizer(recipe, layout)
    metrics = evaluate(Transformer(shape(tokenizer)), tokenizer, samples, free=False, **PLAIN).metrics
    lengths = [str(program).count("()") for program in samples.programs]
    assert sum(cell["samples"] for cell in metrics["by_reference_length"].values()) == len(lengths)
    assert len(metrics["input_loss"]) == 1
    assert (
        "written_loss"
        not in evaluate(Transformer(shape(tokenizer)), tokenizer, samples, free=False, text=False, **PLAIN).metrics
    )
