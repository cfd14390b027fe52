"""The rule for phases and the regression, on curves drawn for the purpose."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from karel_fast.analysis.phases import find_phases, phase_boundaries, regress
from karel_fast.analysis.series import Run, content_of


def test_three_phases():
    steps = [0, 1, 2, 3, 4, 5, 6, 7]
    distinct = [0.01, 0.02, 0.4, 0.5, 0.8, 0.9, 0.9, 0.8]
    accuracy = [0.0, 0.0, 0.0, 0.01, 0.02, 0.3, 0.6, 0.8]
    phases = find_phases(steps, distinct, accuracy)
    assert (phases.syntax, phases.semantics, phases.note) == (3, 5, "")


def test_a_short_rise_does_not_count():
    """Diversity touches half at step 1 and falls back; accuracy jumps at step 3 and falls back."""
    phases = find_phases(range(7), [0.1, 0.9, 0.1, 0.6, 0.9, 0.9, 0.9], [0, 0, 0, 0, 0.5, 0.0, 0.6])
    assert (phases.syntax, phases.semantics) == (3, 6)


def test_babbling_goes_on_until_programs_are_whole_and_perplexity_is_down():
    distinct, accuracy = [0.01, 0.6, 0.8, 0.9, 0.9, 0.9], [0.0, 0.0, 0.0, 0.02, 0.4, 0.8]
    assert find_phases(range(6), distinct, accuracy).syntax == 1
    assert find_phases(range(6), distinct, accuracy, whole=[0, 0.1, 0.3, 0.9, 1, 1]).syntax == 3
    perplexity = [24, 12, 5, 4, 3, 2]  # half of the way from 24 to 2 is 6.9
    assert find_phases(range(6), distinct, accuracy, perplexity).syntax == 2
    assert find_phases(range(1, 7), distinct, accuracy, perplexity).syntax == 2, "no untrained snapshot: left out"
    assert find_phases(range(6), distinct, accuracy, [None, *perplexity[1:]]).syntax == 1
    end = find_phases(range(6), distinct, accuracy, whole=[1, 1, 1, 1, 1, 0.1])
    assert "babbling side" in end.note


def test_boundaries_of_few_specifications_are_less_sure():
    steps, none = [0, 10, 20, 30, 40], [None] * 5
    distinct, accuracy = [0.01, 0.47, 0.52, 0.9, 0.9], [0.0, 0.0, 0.02, 0.06, 0.5]
    few, many = (phase_boundaries(steps, distinct, accuracy, none, none, [n] * 5) for n in (40, 1_000_000))
    assert many.semantics == (30, 30)
    assert many.shares == pytest.approx((0.25, 0.5, 0.25))
    assert few.semantics[1] > 30
    # How many programs differ is no share of specifications, and stays as it is.
    assert few.syntax == many.syntax == (10, 10)
    whole = [0.1, 0.52, 0.52, 1.0, 1.0]
    assert phase_boundaries(steps, distinct, accuracy, none, whole, [40] * 5).syntax[1] > 10
    assert phase_boundaries(steps, [0.0] * 5, accuracy, none, none, [40] * 5).syntax is None
    # Every snapshot scatters as its own specifications do: here only the one that decides has few.
    assert phase_boundaries(steps, distinct, accuracy, none, none, [10**6, 10**6, 10**6, 40, 10**6]).semantics[1] == 40


@pytest.mark.parametrize(
    ("distinct", "accuracy", "syntax", "note"),
    [
        ([0.5, 0.5], [0, 1], None, "too few"),
        ([0.0, 0.0, 0.0], [0, 0, 0], None, "no snapshot wrote distinct programs"),
        ([0.01, 0.003, 0.003], [0.1, 0.2, 0.2], None, "babbling throughout"),
        ([0.9, 0.9, 0.1], [0, 0.5, 0.9], None, "fell back below half"),
        ([0.1, 0.9, 0.9], [0, 0.01, 0.02], 1, "less than five points"),
        ([None, 0.9, 0.9, 0.9], [0.2, None, 0.5, 0.7], None, "too few"),
    ],
)
def test_phases_that_are_not_there(distinct, accuracy, syntax, note):
    phases = find_phases(range(len(distinct)), distinct, accuracy)
    assert phases.semantics is None
    assert phases.syntax == syntax
    assert note in phases.note


def test_regression_is_scipy_s_with_gaps_and_lags():
    rng = np.random.default_rng(0)
    content = list(rng.random(12))
    accuracy = [0.5 * c + 0.1 * rng.random() for c in content]
    expected = stats.linregress(content, accuracy)
    found = regress([None, *content], [0.9, *accuracy])
    assert (found.n, found.lag) == (12, 0)
    assert (found.slope, found.r2, found.p) == pytest.approx((expected.slope, expected.rvalue**2, expected.pvalue))
    later = regress([*content, 0.3, 0.4], [0.0, 0.0, *accuracy], lag=2)
    assert later.n == 12
    assert later.r2 == pytest.approx(found.r2)


@pytest.mark.parametrize(
    ("content", "accuracy", "lag", "note"),
    [
        ([0.1, 0.2], [0.1, 0.2], 0, "too few"),
        ([0.1] * 5, [0.1, 0.2, 0.3, 0.4, 0.5], 0, "does not vary"),
        ([0.1, 0.2, 0.3, 0.4], [0.5] * 4, 0, "does not vary"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], 3, "3 apart"),
        ([], [], 0, "too few"),
    ],
)
def test_undefined_regressions_say_so(content, accuracy, lag, note):
    found = regress(content, accuracy, lag)
    assert (found.r2, found.p, found.slope) == (None, None, None)
    assert note in found.note


def test_semantic_content_is_the_original_s_present():
    record = {
        "depth": "linear", "feature": "direction", "offset": 0, "semantics": "original", "labels": "true",
        "states": "trained", "accuracy": 0.5,
    }  # fmt: skip
    changes = {"offset": 1, "semantics": "flip", "labels": "shuffled", "states": "untrained", "depth": "mlp1"}
    others = [{**record, key: value, "accuracy": 0.0} for key, value in changes.items()]
    records = [record, {**record, "feature": "facing", "accuracy": 0.7}, {**record, "accuracy": None}, *others]
    records = [{"layer": "mean", "seed": 0, **one} for one in records]
    run = Run("run", {}, [], {}, {0: {"records": records}, 100: {}}, {}, {}, [])
    assert content_of(run, "linear") == [pytest.approx(0.6), None]
    assert content_of(run, "linear", "facing") == [pytest.approx(0.7), None]
