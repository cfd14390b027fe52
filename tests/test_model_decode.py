"""Decoding: the tokens of transformers' generate, inside the grammar, with the states that a scoring pass gives."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_model import CONTEXT, END, PAD, PROMPT, VOCABULARY, tiny_grammar, tiny_model, tiny_tokens
from transformers import AutoModelForCausalLM

from karel_fast.model import Capture, to_hf
from karel_fast.model.decode import Decoder, join, write_programs

GRAMMAR = tiny_grammar()
STEPS = CONTEXT - PROMPT
PROMPTS = tiny_tokens(23, PROMPT)
IDS = {"pad_id": PAD, "end_id": END}


def expected_greedy(model, constrained):
    """Token by token, the whole row again each time: slow, plain."""
    tokens = torch.from_numpy(PROMPTS).long()
    state, live = np.zeros(len(PROMPTS), int), np.ones(len(PROMPTS), bool)
    with torch.no_grad():
        for _ in range(STEPS):
            logits = model(tokens)[:, -1]
            if constrained:
                logits[torch.from_numpy(~GRAMMAR.allowed[state])] = float("-inf")
            new = np.where(live, logits.argmax(1).numpy(), PAD)
            state = np.where(live, GRAMMAR.next_state[state, new], state)
            live &= new != END
            tokens = torch.cat([tokens, torch.from_numpy(new)[:, None]], dim=1)
    return tokens[:, PROMPT:].numpy()


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("capture", [None, Capture("mean"), Capture([2, 0])])
def test_tokens_actions_and_hidden_states(constrained, capture):
    model = tiny_model()
    made = write_programs(
        model, PROMPTS, GRAMMAR, STEPS, capture, constrained=constrained, batch_size=10, compile=False, **IDS
    )
    expected = expected_greedy(model, constrained)
    assert np.array_equal(made.tokens, expected)
    is_action = GRAMMAR.action_of_token[expected] >= 0
    assert np.array_equal(made.lengths, is_action.sum(1))
    assert np.array_equal(made.finished, (expected == END).any(1))
    assert made.actions.dtype == np.uint8
    assert made.actions.shape[1] == made.lengths.max()
    if constrained:
        assert made.valid.all()
    else:
        assert not made.valid.all()
    rows = np.concatenate([PROMPTS, expected], axis=1)
    for i in range(len(PROMPTS)):
        where = np.flatnonzero(is_action[i])
        assert made.actions[i, : len(where)].tolist() == GRAMMAR.action_of_token[expected[i, where]].tolist()
        assert (made.actions[i, len(where) :] == 255).all()
        if capture is not None and len(where):
            wanted = Capture(capture.layers, torch.from_numpy(where + PROMPT - 1))
            with torch.no_grad():
                _, hidden = model(torch.from_numpy(rows[i : i + 1]).long(), capture=wanted)
            torch.testing.assert_close(made.hidden[i, : len(where)], hidden[0], atol=1e-4, rtol=1e-4)
            assert not made.hidden[i, len(where) :].any()
    if capture is None:
        assert made.hidden is None


def test_free_decoding_equals_transformers_generate(tmp_path):
    model = tiny_model()
    to_hf(model, tmp_path)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    prompts = torch.from_numpy(PROMPTS).long()
    expected = stock.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        max_new_tokens=STEPS,
        do_sample=False,
        pad_token_id=PAD,
        eos_token_id=END,
    )[:, PROMPT:].numpy()
    made = write_programs(model, PROMPTS, GRAMMAR, STEPS, constrained=False, compile=False, **IDS)
    assert np.array_equal(made.tokens[:, : expected.shape[1]], expected)
    assert (made.tokens[:, expected.shape[1] :] == PAD).all()


def test_compiled_decoding_is_the_same_without_recompiles():
    torch._dynamo.reset()
    model = tiny_model(layers=1)
    capture = Capture("mean")
    eager = write_programs(model, PROMPTS, GRAMMAR, STEPS, capture, batch_size=10, compile=False, **IDS)
    seen = []
    first = write_programs(model, PROMPTS[:10], GRAMMAR, STEPS, capture, batch_size=10, **IDS)
    with torch._dynamo.config.patch(error_on_recompile=True):
        # Another model of the same shape too: a run's snapshots share the graphs.
        write_programs(tiny_model(seed=1, layers=1), PROMPTS[:10], GRAMMAR, STEPS, capture, batch_size=10, **IDS)
        made = write_programs(model, PROMPTS, GRAMMAR, STEPS, capture, batch_size=10, progress=seen.append, **IDS)
        free = write_programs(model, PROMPTS, GRAMMAR, STEPS, capture, batch_size=10, constrained=False, **IDS)
    assert seen == [10, 20, 23]
    assert np.array_equal(first.tokens, made.tokens[:10])
    assert np.array_equal(made.tokens, eager.tokens)
    assert np.array_equal(free.tokens, expected_greedy(model, False))
    torch.testing.assert_close(made.hidden, eager.hidden, atol=1e-4, rtol=1e-4)


def test_one_reading_serves_both_ways():
    model = tiny_model()
    decoder = Decoder(model, GRAMMAR, STEPS, compile=False, dtype=torch.bfloat16, **IDS)
    for read in decoder.read(PROMPTS, 10):
        assert not torch.is_autocast_enabled("cpu")
        decoder.write(read)
    assert not torch.is_autocast_enabled("cpu")
    decoder = Decoder(model, GRAMMAR, STEPS, compile=False, **IDS)
    both = [(decoder.write(read), decoder.write(read, constrained=False)) for read in decoder.read(PROMPTS, 10)]
    assert np.array_equal(join([pair[0] for pair in both]).tokens, expected_greedy(model, True))
    assert np.array_equal(join([pair[1] for pair in both]).tokens, expected_greedy(model, False))


def test_action_limit_and_bfloat16():
    model = tiny_model()
    whole = write_programs(model, PROMPTS, GRAMMAR, STEPS, Capture(), compile=False, **IDS)
    few = write_programs(model, PROMPTS, GRAMMAR, STEPS, Capture(), max_actions=2, compile=False, **IDS)
    assert np.array_equal(few.tokens, whole.tokens)
    assert few.actions.shape == (23, 2)
    assert np.array_equal(few.lengths, np.minimum(whole.lengths, 2))
    assert torch.equal(few.hidden, whole.hidden[:, :2])
    rounded = write_programs(model, PROMPTS, GRAMMAR, STEPS, Capture(), dtype=torch.bfloat16, compile=False, **IDS)
    assert not torch.is_autocast_enabled("cpu")
    assert rounded.valid.all()
    assert rounded.hidden.dtype == torch.float32


def test_wrong_prompts_and_grammars():
    model = tiny_model()
    for prompts, steps, message in (
        (PROMPTS, STEPS + 1, "n_positions"),
        (PROMPTS + VOCABULARY, STEPS, "vocabulary"),
        (PROMPTS - (np.arange(len(PROMPTS)) == 4)[:, None] * 99, STEPS, "prompts has token -.* in row 4 at position 0"),
        (PROMPTS[0], STEPS, r"\(n, P\)"),
        (PROMPTS[:0], STEPS, r"\(n, P\)"),
        (PROMPTS.astype(float), STEPS, "integers"),
        (PROMPTS, 0, "max_new_tokens=0"),
    ):
        with pytest.raises(ValueError, match=message):
            write_programs(model, prompts, GRAMMAR, steps, compile=False, **IDS)
    narrow = SimpleNamespace(**{**vars(GRAMMAR), "allowed": GRAMMAR.allowed[:, :5]})
    with pytest.raises(ValueError, match="over 5 tokens"):
        write_programs(model, PROMPTS, narrow, STEPS, compile=False, **IDS)
    with pytest.raises(ValueError, match="capture layer 7"):
        write_programs(model, PROMPTS, GRAMMAR, STEPS, Capture([7]), compile=False, **IDS)
    with pytest.raises(ValueError, match="batch_size=0"):
        write_programs(model, PROMPTS, GRAMMAR, STEPS, batch_size=0, compile=False, **IDS)
