"""What stands beside a regression: other things that give such an R2."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from karel_fast.analysis.regression import beside_regression
from karel_fast.analysis.series import Run
from karel_fast.analysis.stored_measures import differences_of, doubled_of


def run_of(accuracy: list[float], majority: list[float], ability: list[float]) -> Run:
    """A run of old records (no cross entropy, differences of accuracy only), one probe per meaning and snapshot."""
    probing = {}
    for step, (right, base) in enumerate(zip(accuracy, majority, strict=True), 1):
        record = {
            "feature": "direction", "offset": 0, "labels": "true", "states": "trained", "layer": "mean",
            "depth": "linear", "seed": 0, "semantics": "original", "accuracy": right, "majority": base,
        }  # fmt: skip
        other = {**record, "semantics": "flip", "accuracy": right + 0.1, "majority": base + 0.2}
        probing[step] = {"records": [record, other], "differences": [{"mean": -0.1}]}
    evaluation = {step: {"generative_accuracy": value} for step, value in enumerate(ability, 1)}
    return Run("r", {}, [], evaluation, probing, {}, {}, [])


def test_a_trend_is_told_from_a_tie():
    """Both rise with the step, and their changes have nothing to do with one another."""
    rng = np.random.default_rng(0)
    ability = (np.arange(20) / 25 + 0.02 * rng.normal(size=20)).tolist()
    content = (np.arange(20) / 50 + 0.02 * rng.normal(size=20)).tolist()
    found = beside_regression(run_of(content, [0.1] * 20, ability), "linear")
    assert found.step == pytest.approx(stats.linregress(np.arange(20), ability).rvalue ** 2)
    assert found.step > 0.9 > 0.3 > found.changes
    assert found.changes == pytest.approx(stats.linregress(np.diff(content), np.diff(ability)).rvalue ** 2)
    assert found.majority is None
    assert 0.1 < found.permuted < 0.35
    assert found.permuted_p < 0.001


def test_a_rising_base_rate_is_said():
    rng = np.random.default_rng(1)
    base = np.linspace(0.3, 0.6, 15)
    run = run_of((base + 0.1 + 0.01 * rng.normal(size=15)).tolist(), base.tolist(), np.linspace(0, 0.9, 15).tolist())
    assert beside_regression(run, "linear").majority == pytest.approx(1)
    assert beside_regression(run, "linear", measure="lift").permuted_p > 0.05


def test_old_runs_have_differences_of_lift_and_none_of_bits():
    run = run_of([0.5, 0.6], [0.3, 0.3], [0.1, 0.2])
    [lift] = differences_of(run, 2, "lift")
    assert lift["mean"] == pytest.approx(0.1), "read worse, although more often right"
    assert differences_of(run, 2, "bits") == []
    assert doubled_of(run, 2, "lift") == []


def test_too_few_snapshots():
    assert beside_regression(run_of([0.5, 0.6], [0.3, 0.3], [0.1, 0.2]), "linear").step is None
