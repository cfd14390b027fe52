"""What is said of a probe's answers: base rates, usable information, and what older records still say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from karel_fast.probing.measures import MEASURES, SUMS, measure_of, measures, measures_of_sums
from karel_fast.probing.probes.training import TEST, TRAIN, VALIDATION, ProbeConfig, Task, train_probes

ROWS = 900
PARTS = np.select([np.arange(ROWS) % 5 < 3, np.arange(ROWS) % 5 == 3], [TRAIN, VALIDATION], TEST)
CONFIG = ProbeConfig(least_steps=400, batch_size=128, learning_rate=1e-2)


@pytest.fixture(scope="module")
def skewed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States that say which of two classes it is in world 0, and nothing of world 1; (rows, 2, 2) labels, some missing."""
    rng = np.random.default_rng(0)
    labels = (rng.random((ROWS, 2, 2)) < 0.2).astype(np.int8)
    states = rng.normal(size=(ROWS, 6)).astype(np.float32)
    states[:, :2] += 2.0 * labels[:, 0]
    labels[::7, 1] = -1
    labels[::11, 0, 1] = -1  # one head of two: the world does not count
    return states, labels, PARTS


def test_the_numbers_of_a_probe_are_those_of_its_scores(skewed):
    states, labels, parts = skewed
    [found] = train_probes(
        states, [Task({}, labels, 2)], parts, depths={"linear": ()}, seeds=(0,), config=CONFIG, keep_weights=True,
        keep_tallies=True,
    )  # fmt: skip
    test = labels[parts == TEST]
    known = (test >= 0).all(-1)
    entropy = sum(
        stats.entropy(np.bincount(test[known[:, w], w, h]), base=2) * known[:, w].sum() for w in (0, 1) for h in (0, 1)
    )
    assert found.entropy == pytest.approx(entropy / known.sum())
    scores = found.weights.logits(states[parts == TEST]).numpy() / found.temperature
    said = scores - np.logaddexp.reduce(scores, -1, keepdims=True)
    bits = -np.take_along_axis(said, np.maximum(test, 0)[..., None].astype(int), -1)[..., 0].sum(-1) / np.log(2)
    assert found.cross_entropy == pytest.approx(bits[known].mean(), rel=1e-4)
    assert 0 < found.cross_entropy < found.entropy
    whole = measures(found.accuracy, found.majority, found.entropy, found.cross_entropy)
    again = measures_of_sums({name: getattr(found.tally, name).sum() for name in SUMS})
    assert [float(again[name]) for name in MEASURES] == pytest.approx(
        [found.accuracy, whole["lift"], whole["normalised"], whole["bits"]], rel=1e-4
    )
    np.testing.assert_array_equal(found.tally.known, known.sum(-1))


def test_states_that_say_nothing_have_no_bits(skewed):
    """A probe that learnt noise by heart is very sure of itself: its temperature says so, and it does not look like knowledge."""
    _, labels, parts = skewed
    noise = np.random.default_rng(1).normal(size=(ROWS, 64)).astype(np.float32)
    config = ProbeConfig(epochs=20, least_steps=400, batch_size=128, learning_rate=1e-2)
    [found] = train_probes(noise, [Task({}, labels, 2)], parts, depths={"mlp1": (64,)}, seeds=(0,), config=config)
    assert found.temperature > 1
    assert found.entropy - found.cross_entropy == pytest.approx(0, abs=0.15)


def test_measures_of_a_record():
    assert measures(0.8, 0.6, 2.0, 1.5) == pytest.approx(
        {"lift": 0.2, "normalised": 0.5, "bits": 0.5, "bits_share": 0.25}
    )
    assert measures(0.8, None, None, 1.5) == {"lift": None, "normalised": None, "bits": None, "bits_share": None}
    assert measures(1.0, 1.0, 0.0, 0.0) == {"lift": 0.0, "normalised": None, "bits": 0.0, "bits_share": None}


def test_records_older_than_a_measure():
    old = {"accuracy": 0.8, "majority": 0.6}
    assert measure_of(old, "lift") == pytest.approx(0.2)
    assert measure_of(old, "normalised") == pytest.approx(0.5)
    assert measure_of(old, "bits") is None
    assert measure_of({"accuracy": 0.8, "majority": None}, "lift") is None
    assert measure_of({"accuracy": float("nan")}, "accuracy") is None
