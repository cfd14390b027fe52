"""Programs drawn at random and beam search, against greedy decoding, frequencies and brute force."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import CONTEXT, END, PAD, PROMPT, VOCABULARY, tiny_grammar, tiny_model, tiny_tokens

from karel_fast.model.beam import beam_search
from karel_fast.model.decode import write_programs
from karel_fast.model.sampling import Sampling, draw_tokens, uniform_numbers

GRAMMAR = tiny_grammar()
STEPS = CONTEXT - PROMPT
PROMPTS = tiny_tokens(23, PROMPT)
SETTINGS = {"pad_id": PAD, "end_id": END, "compile": False}


def drawn(model, prompts=PROMPTS, steps=STEPS, **changes):
    return write_programs(model, prompts, GRAMMAR, steps, **{**SETTINGS, **changes})


def program_log_probability(model, prompt, program, steps):
    """The long way round: the whole row again for each token, renormalised over what the grammar allows."""
    state, total, row = GRAMMAR.start_state, 0.0, torch.from_numpy(prompt).long()
    for token in program:
        with torch.no_grad():
            logits = model(row[None])[0, -1].double()
        logits[torch.from_numpy(~GRAMMAR.allowed[state])] = float("-inf")
        total += float(logits.log_softmax(-1)[token])
        state = GRAMMAR.next_state[state, token]
        row = torch.cat([row, torch.tensor([token])])
    return total


def test_no_temperature_is_greedy():
    model = tiny_model()
    greedy = drawn(model)
    for temperature in (0.0, 1e-300, 1e-6):
        made = drawn(model, sampling=Sampling(temperature=temperature))
        assert np.array_equal(made.tokens, greedy.tokens)
    assert np.array_equal(drawn(model, sampling=Sampling(top_p=1e-9)).tokens, greedy.tokens)
    assert not np.array_equal(drawn(model, sampling=Sampling()).tokens, greedy.tokens)


@pytest.mark.parametrize("constrained", [True, False])
def test_draws_depend_on_seed_row_and_draw_only(constrained):
    model = tiny_model(std=0.1)
    one = drawn(model, sampling=Sampling(seed=7), draw=3, constrained=constrained)
    for batch_size in (1, 4, 10):
        again = drawn(model, sampling=Sampling(seed=7), draw=3, batch_size=batch_size, constrained=constrained)
        assert np.array_equal(again.tokens, one.tokens)
    few = drawn(model, PROMPTS[:9], sampling=Sampling(seed=7), draw=3, constrained=constrained)
    assert np.array_equal(few.tokens, one.tokens[:9])
    for other in ({"sampling": Sampling(seed=8), "draw": 3}, {"sampling": Sampling(seed=7), "draw": 2}):
        assert not np.array_equal(drawn(model, constrained=constrained, **other).tokens, one.tokens)
    if constrained:
        assert one.valid.all()


def test_frequencies_of_whole_programs_are_their_probabilities():
    model, steps, times = tiny_model(std=0.15), 3, 4000
    made = drawn(model, np.repeat(PROMPTS[:1], times, axis=0), steps, sampling=Sampling(seed=1), batch_size=times)
    programs = [(*codes, END) for length in (1, 2) for codes in itertools.product(range(1, 6), repeat=length)]
    chance = np.exp([program_log_probability(model, PROMPTS[0], program, steps) for program in programs])
    rows = [tuple(t for t in row if t != PAD) for row in made.tokens.tolist()]
    counts = np.array([rows.count(program) for program in programs])
    ended = chance.sum()
    assert made.finished.mean() == pytest.approx(ended, abs=4 * np.sqrt(ended * (1 - ended) / times))
    expected = np.append(chance, 1 - ended) * times
    squares = (np.append(counts, times - counts.sum()) - expected) ** 2 / expected
    assert squares.sum() < 30 + 4 * np.sqrt(60)  # chi-square with 30 degrees of freedom, 4 deviations above its mean


@given(
    st.lists(st.floats(-5, 5), min_size=2, max_size=8),
    st.floats(0.05, 3),
    st.floats(0.01, 1),
    st.floats(0, 1, exclude_max=True),
)
@settings(max_examples=100)
def test_a_token_is_drawn_by_the_inverse_of_its_distribution(logits, temperature, top_p, number):
    """In plain Python, token by token."""
    weights = np.exp((np.array(logits) - max(logits)) / temperature)
    weights /= weights.sum()
    kept, reached = set(), 0.0
    for place in np.argsort(-weights, kind="stable"):
        if reached >= top_p - 1e-12:
            break
        kept.add(int(place))
        reached += weights[place]
    row = torch.tensor([[*logits, float("-inf")]], dtype=torch.float64)
    token = int(draw_tokens(row, torch.tensor([number], dtype=torch.float64), Sampling(temperature, top_p)))
    assert token in kept
    below = sum(weights[k] for k in kept if k < token) / reached
    assert below - 1e-9 <= number <= below + weights[token] / reached + 1e-9


def test_the_highest_number_draws_an_allowed_token():
    row = torch.tensor([[0.1, 0.2, float("-inf"), float("-inf")]])
    highest = torch.tensor([1 - 2.0**-53], dtype=torch.float64)
    assert int(draw_tokens(row, highest, Sampling())) == 1
    numbers = uniform_numbers(3, 0, np.arange(200), 50)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.02
    assert len(np.unique(numbers)) == numbers.size


@pytest.mark.parametrize("penalty", [0.0, 0.7])
@pytest.mark.parametrize("batch_size", [1, 256])
def test_a_wide_beam_finds_the_best_of_all_programs(penalty, batch_size):
    model, steps, prompts = tiny_model(), 3, PROMPTS[:3]
    programs = [(*codes, END) for length in (1, 2) for codes in itertools.product(range(1, 6), repeat=length)]
    wide = beam_search(model, prompts, GRAMMAR, steps, 160, length_penalty=penalty, batch_size=batch_size, **SETTINGS)
    for i, prompt in enumerate(prompts):
        scored = {program: program_log_probability(model, prompt, program, steps) for program in programs}
        ranked = sorted(programs, key=lambda p, s=scored: -s[p] / len(p) ** penalty)
        ended = wide.finished[i]
        assert ended.sum() == len(programs)
        assert not ended[len(programs) :].any(), "those that did not end come last"
        found = [tuple(t for t in row if t != PAD) for row in wide.tokens[i, : len(programs)].tolist()]
        assert found == ranked
        np.testing.assert_allclose(wide.log_probability[i, : len(programs)], [scored[p] for p in ranked], atol=1e-4)
        assert np.isneginf(wide.log_probability[i, 30 + 125 :]).all()
        assert (wide.tokens[i, 30 + 125 :] == PAD).all()


def test_a_beam_of_one_is_greedy_and_probabilities_are_exact():
    model = tiny_model(std=0.1)
    greedy = drawn(model)
    one = beam_search(model, PROMPTS, GRAMMAR, STEPS, 1, batch_size=10, **SETTINGS)
    assert np.array_equal(one.tokens[:, 0], greedy.tokens)
    made = one.programs()
    for name in ("tokens", "actions", "lengths", "finished", "valid"):
        assert np.array_equal(getattr(made, name), getattr(greedy, name)), name
    several = beam_search(model, PROMPTS[:5], GRAMMAR, STEPS, 4, **SETTINGS)
    for i in range(5):
        rows = {tuple(row) for row in several.tokens[i].tolist()}
        assert len(rows) == 4, "no program twice"
        for rank in range(4):
            tokens = several.tokens[i, rank]
            written = tokens[tokens != PAD].tolist()
            exact = program_log_probability(model, PROMPTS[i], written, STEPS)
            assert several.log_probability[i, rank] == pytest.approx(exact, abs=1e-4)
    for batch_size in (3, 8):
        again = beam_search(model, PROMPTS[:5], GRAMMAR, STEPS, 4, batch_size=batch_size, **SETTINGS)
        assert np.array_equal(again.tokens, several.tokens)


def test_compiled_search_and_sampling_are_the_same():
    torch._dynamo.reset()
    model, prompts = tiny_model(layers=1), PROMPTS[:4]
    settings = {**SETTINGS, "compile": True}
    eager = drawn(model, prompts, 6, sampling=Sampling(0.8, 0.9))
    assert np.array_equal(drawn(model, prompts, 6, sampling=Sampling(0.8, 0.9), compile=True).tokens, eager.tokens)
    plain = beam_search(model, prompts, GRAMMAR, 6, 3, **SETTINGS)
    made = beam_search(model, prompts, GRAMMAR, 6, 3, **settings)
    assert np.array_equal(made.tokens, plain.tokens)
    np.testing.assert_allclose(made.log_probability, plain.log_probability, atol=1e-4)


def test_wrong_settings():
    for wrong, message in (
        ({"temperature": -0.1}, "temperature=-0.1"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_p": 0.0}, "top_p=0"),
        ({"top_p": 1.5}, "top_p=1.5"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(ValueError, match=message):
            Sampling(**wrong)
    with pytest.raises(TypeError, match=r"seed is 1\.5"):
        Sampling(seed=1.5)
    model = tiny_model()
    for width, changes, message in (
        (0, {}, "width=0"),
        (2, {"length_penalty": -1.0}, "length_penalty=-1"),
        (2, {"batch_size": 0}, "batch_size=0"),
    ):
        with pytest.raises(ValueError, match=message):
            beam_search(model, PROMPTS, GRAMMAR, STEPS, width, **{**SETTINGS, **changes})
    with pytest.raises(ValueError, match="vocabulary"):
        beam_search(model, PROMPTS + VOCABULARY, GRAMMAR, STEPS, 2, **SETTINGS)
