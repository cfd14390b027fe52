"""States exchanged between the two runs of a pair, and the scores of what is written then."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from edited_pairs import RECIPE, pairs_of, small_model, turned_exchange

import karel_fast as kf
from karel_fast.data import Tokenizer
from karel_fast.model import Intervention
from karel_fast.model.decode import write_programs
from karel_fast.probing.bootstrap import FEWEST_PROGRAMS
from karel_fast.probing.edits.exchange import Exchange, Outcome, grammar_after
from karel_fast.probing.edits.scores import interval, record_of


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(RECIPE)


@pytest.fixture(scope="module")
def exchange() -> Exchange:
    return turned_exchange()


@pytest.mark.parametrize("layout", ["compact", "reference"])
@pytest.mark.parametrize("kind", ["turned", "written"])
def test_a_whole_swap_is_the_other_run_and_none_is_the_own(kind, layout):
    """Before the first block, everything swapped is the other prompt; nothing swapped is the own one."""
    tokenizer = Tokenizer(RECIPE, layout)
    exchange = Exchange(small_model(tokenizer), tokenizer, pairs_of(kind), 8, solved_only=False, batch_size=5)
    assert len(exchange) == 8
    whole = exchange.outcome(exchange.swapped(0, exchange.groups["all"]))
    assert whole.equal.all()
    np.testing.assert_allclose(whole.odds, exchange.odds(exchange.other_logits), atol=1e-4)
    none = exchange.outcome(exchange.swapped(0, exchange.groups["none"]))
    np.testing.assert_array_equal(none.odds, exchange.odds(exchange.logits))
    same = (exchange.actions == exchange.other_actions[:, : exchange.actions.shape[1]]).all(1)
    assert np.array_equal(none.equal, same)
    if kind == "turned":  # nothing is given: what is written is what decoding of the whole prompt gives
        written = write_programs(
            exchange.model, tokenizer.encode_prompts(exchange.pairs.base.samples), tokenizer.grammar(),
            tokenizer.program_length, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id, compile=False,
        ).actions  # fmt: skip
        np.testing.assert_array_equal(exchange.actions[:, : written.shape[1]], written)
        assert (exchange.actions[:, written.shape[1] :] == 255).all()


def test_who_writes_the_other_program_obeys_and_who_writes_its_own_keeps(exchange, monkeypatch):
    def outcome_of(side):
        """With the shortest program that the side demands in place of what the model writes."""
        shown = side.samples.shown()
        found = kf.exact.solve(*shown, recipe=RECIPE.replace(lengths=(1, 5), held_out=0)).shortest_programs
        lengths = np.array([len(program.actions) for program in found], np.int32)
        actions = np.full((len(found), 5), 255, np.uint8)
        for row, program in zip(actions, found, strict=True):
            row[: len(program.actions)] = program.actions
        made = SimpleNamespace(actions=actions, lengths=lengths, finished=np.ones(len(found), bool))
        monkeypatch.setattr(exchange, "_written", lambda *_: (made, exchange.logits))
        return exchange.outcome(None)

    theirs, own = outcome_of(exchange.pairs.other), outcome_of(exchange.pairs.base)
    assert theirs.obeys.all()
    assert not theirs.keeps.any()
    assert own.keeps.all()
    assert not own.obeys.any()


def test_beginnings_that_lead_elsewhere_are_refused(tokenizer):
    begun = np.array([[tokenizer.action_ids[0]], [tokenizer.end_id]])
    with pytest.raises(ValueError, match="different places of the grammar"):
        grammar_after(tokenizer, begun)


def test_a_model_that_solves_nothing_is_told_so(tokenizer):
    with pytest.raises(ValueError, match=r"solves both sides of none of the \d+ pairs \(turned\)"):
        Exchange(small_model(tokenizer), tokenizer, pairs_of("turned"))


def test_states_of_another_model_are_refused(exchange):
    with pytest.raises(ValueError, match="width"):
        exchange.outcome(
            Intervention.swap(
                torch.zeros(len(exchange), exchange.tokens.shape[1], 1, 16),
                layers=[1],
                positions=torch.arange(exchange.tokens.shape[1]),
            )
        )


def test_intervals_hold_clusters_together():
    values = np.repeat([0.0, 1.0, 1.0, 0.0] * 5, 25)
    apart = interval(values, np.arange(500), shares=True)
    together = interval(values, np.repeat(np.arange(20), 25), shares=True)
    assert apart[0] == together[0] == 0.5
    assert together[2] - together[1] > 3 * (apart[2] - apart[1])
    mean, low, high = interval(np.zeros(100), np.arange(100), shares=True)
    assert (mean, low) == (0, 0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 100))
    assert interval(np.ones(50), np.repeat(np.arange(10), 5), shares=True)[1] == pytest.approx(0.025 ** (1 / 10))
    assert interval(np.array([np.nan, 2.0, 4.0]), np.arange(3), shares=False)[0] == 3
    assert np.isnan(interval(np.array([np.nan]), np.arange(1), shares=True)).all()


@pytest.mark.parametrize("values", [np.zeros(100), np.ones(100)])
def test_what_is_no_share_has_no_interval_of_a_share(values):
    """Log-odds that change by exactly 0, or 1, in every pair: no draw can differ."""
    assert interval(values, np.arange(100), shares=False) == (values[0],) * 3


@pytest.mark.parametrize(("programs", "known"), [(1, False), (FEWEST_PROGRAMS - 1, False), (FEWEST_PROGRAMS, True)])
def test_few_programs_have_no_interval(programs, known):
    clusters = np.tile(np.arange(programs), 4)
    mean, low, high = interval(np.repeat([0.0, 1.0, 1.0, 0.0], programs), clusters, shares=True)
    assert mean == 0.5
    assert np.isfinite([low, high]).tolist() == [known, known]


def test_odds_that_nothing_changes_have_an_interval_of_no_width(exchange, monkeypatch):
    plain = np.linspace(-1, 1, len(exchange))
    monkeypatch.setattr(exchange, "odds", lambda logits: plain)
    never = np.zeros(len(exchange), bool)
    record = record_of(exchange, Outcome(never, never, never, plain))
    assert record["programs"] >= FEWEST_PROGRAMS
    assert (record["odds"], record["odds_low"], record["odds_high"]) == (0, 0, 0)
    assert record["obeys_high"] > 0.1


def test_the_draws_are_those_of_the_kept_numbers():
    """The interval that the committed results' bits were made with."""
    rng = np.random.default_rng(1)
    values, clusters = rng.normal(size=60), rng.integers(0, 25, 60)
    expected = (-0.048865749021636415, -0.259087943424878, 0.1419201664969033)
    assert interval(values, clusters, shares=False) == pytest.approx(expected, abs=1e-12)


def test_a_record_counts_what_was_written(exchange):
    n = len(exchange)
    obeys, keeps = np.arange(n) < 3, np.arange(n) == 5
    record = record_of(exchange, Outcome(obeys, keeps, obeys, np.full(n, np.nan)), kind="turned")
    assert record["obeys"] == pytest.approx(3 / n, abs=1e-6)
    assert record["damage"] == pytest.approx(1 - 4 / n, abs=1e-6)
    assert record["odds"] is None
    json.dumps(record, allow_nan=False)
