"""Capture: the right states, nothing else kept, the model untouched, one graph without breaks."""

import pytest
import torch
from tiny_model import CONTEXT, PROMPT, tiny_model, tiny_tokens
from transformers import CodeGenForCausalLM

from karel_fast.model import Capture, Transformer, attention_patterns
from karel_fast.model.hub import to_hf
from karel_fast.model.scoring import hidden_states


@pytest.fixture(scope="module")
def model() -> Transformer:
    return tiny_model(layers=3)


@pytest.fixture(scope="module")
def every(model) -> torch.Tensor:
    """All states at all positions, computed block by block without the capture code: (B, T, N + 1, D)."""
    x = model.wte(torch.from_numpy(tiny_tokens()).long())
    states = [x]
    for block in model.h:
        x = block(x, model.sin[:CONTEXT], model.cos[:CONTEXT])
        states.append(x)
    states[-1] = model.ln_f(x)
    return torch.stack(states, dim=2).detach()


TOKENS = torch.from_numpy(tiny_tokens()).long()
PICKED = torch.tensor([3, 0, 7])
PICKED_ROWS = torch.arange(10).view(5, 2)


@pytest.mark.parametrize("layers", ["mean", [0], [3, 1]])
@pytest.mark.parametrize("positions", ["program", "all", PICKED, PICKED_ROWS])
@torch.no_grad()
def test_states_and_positions(model, every, layers, positions):
    logits, hidden = model(TOKENS, capture=Capture(layers, positions))
    assert torch.equal(logits, model(TOKENS))
    if isinstance(positions, str):
        expected = every if positions == "all" else every[:, PROMPT - 1 : CONTEXT - 1]
    elif positions.ndim == 1:
        expected = every[:, positions]
    else:
        expected = torch.stack([every[row, positions[row]] for row in range(5)])
    expected = expected.mean(2) if layers == "mean" else expected[:, :, layers]
    assert hidden.shape == expected.shape
    torch.testing.assert_close(hidden, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("positions", [None, "program", "all", PICKED, PICKED_ROWS])
@pytest.mark.parametrize("first", [1, PROMPT - 1, PROMPT + 3, CONTEXT - 1])
@torch.no_grad()
def test_logits_from_a_position_on(model, first, positions):
    """The last block is computed for fewer positions; nothing that is asked for changes."""
    whole = model(TOKENS)[:, first:]
    if positions is None:
        torch.testing.assert_close(model(TOKENS, logits_from=first), whole, atol=1e-5, rtol=1e-5)
        return
    for layers in ("mean", [0, 3]):
        capture = Capture(layers, positions)
        logits, hidden = model(TOKENS, capture, logits_from=first)
        torch.testing.assert_close(logits, whole, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(hidden, model(TOKENS, capture)[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("first", [-1, CONTEXT])
def test_logits_from_a_position_that_is_not_there(model, first):
    with pytest.raises(ValueError, match=rf"logits_from={first}"):
        model(TOKENS, logits_from=first)


@torch.no_grad()
def test_bare_last_state(model):
    _, normed = model(TOKENS, capture=Capture([3], "all"))
    _, bare = model(TOKENS, capture=Capture([3], "all", final_norm=False))
    assert not torch.allclose(normed, bare)
    torch.testing.assert_close(model.ln_f(bare), normed)


def test_state_dict_and_gradients_are_those_of_the_model(model):
    names = list(model.state_dict())
    _, hidden = model(TOKENS, capture=Capture([0]))
    assert list(model.state_dict()) == names
    hidden.sum().backward()
    assert model.wte.weight.grad is not None
    model.zero_grad()


@torch.no_grad()
def test_compiled_is_one_graph_with_the_same_logits(model):
    torch._dynamo.reset()
    run = torch.compile(model, fullgraph=True, dynamic=False)
    plain = run(TOKENS)
    capture = Capture("mean", PICKED_ROWS)
    logits, hidden = run(TOKENS, capture=capture)
    assert torch.equal(plain, logits)
    torch.testing.assert_close(hidden, model(TOKENS, capture=capture)[1], atol=1e-5, rtol=1e-5)
    with torch._dynamo.config.patch(error_on_recompile=True):
        # Other rows and other positions of the same shape: the same graph.
        run(torch.from_numpy(tiny_tokens(seed=1)).long(), capture=Capture("mean", PICKED_ROWS + 1))


def test_unknown_layers_and_positions(model):
    for layers, message in (([4], "capture layer 4"), ([], "at least one"), ([-1], "0 or more"), ([1, 1], "only once")):
        with pytest.raises(ValueError, match=message):
            model(TOKENS, capture=Capture(layers))
    with pytest.raises(ValueError, match="median"):
        Capture("median")
    with pytest.raises(ValueError, match=f"capture position {CONTEXT}"):
        model(TOKENS, capture=Capture("mean", torch.tensor([CONTEXT])))
    with pytest.raises(ValueError, match="-1"):
        Capture("mean", torch.tensor([-1]))
    with pytest.raises(ValueError, match="4 rows"):
        model(TOKENS, capture=Capture("mean", torch.zeros(4, 1, dtype=torch.long)))
    with pytest.raises(TypeError, match="float"):
        Capture("mean", torch.zeros(3))
    with pytest.raises(ValueError, match="first"):
        Capture("mean", "first")
    with pytest.raises(ValueError, match="hold no program"):
        model(TOKENS[:, :PROMPT], capture=Capture())
    with pytest.raises(ValueError, match=r"config\.prompt_length"):
        tiny_model(prompt_length=None)(TOKENS, capture=Capture())


def test_longer_than_the_context(model):
    with pytest.raises(ValueError, match=f"n_positions={CONTEXT}"):
        model(torch.ones(1, CONTEXT + 1, dtype=torch.long))


def test_scoring_batches_are_the_whole(model, every):
    tokens = tiny_tokens()
    for capture in (Capture(), Capture([1, 2], PICKED_ROWS), Capture("mean", PICKED)):
        parts = list(hidden_states(model, tokens, capture, batch_size=2, compile=False))
        assert [len(part) for part in parts] == [2, 2, 1]
        with torch.no_grad():
            torch.testing.assert_close(torch.cat(parts), model(TOKENS, capture=capture)[1], atol=1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match="vocabulary"):
        next(hidden_states(model, tokens + 20, Capture(), compile=False))
    with pytest.raises(ValueError, match="tokens has token -1 in row 0 at position 0"):
        next(hidden_states(model, torch.tensor([[-1, 3, 5]]), Capture(), compile=False))
    with pytest.raises(ValueError, match="batch_size=0"):
        next(hidden_states(model, tokens, Capture(), batch_size=0, compile=False))
    with pytest.raises(ValueError, match="capture layer 9"):
        next(hidden_states(model, tokens, Capture([9]), compile=False))


@torch.no_grad()
def test_rows_and_positions_of_any_whole_numbers(model):
    """A stream's rows are bytes, and arrays are taken where tensors are."""
    wanted = model(TOKENS)
    for kind in (torch.uint8, torch.int16, torch.int32):
        assert torch.equal(model(TOKENS.to(kind)), wanted)
    _, hidden = model(TOKENS, capture=Capture([1], PICKED))
    for positions in (PICKED.numpy(), PICKED.tolist()):
        assert torch.equal(model(TOKENS, capture=Capture([1], positions))[1], hidden)
    (states,) = hidden_states(model, TOKENS, Capture([1], PICKED), compile=False)
    assert torch.equal(states, hidden)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [(TOKENS[0], r"shape \(24,\): need integers \(rows, tokens\)"), (TOKENS.float(), "tokens of torch.float32")],
)
def test_rows_that_are_none(model, tokens, message):
    with pytest.raises(ValueError, match=message):
        model(tokens)


@pytest.mark.parametrize("layers", [1, [1.7], [True], None])
def test_layers_that_are_none(layers):
    with pytest.raises(TypeError, match="give a list of state numbers"):
        Capture(layers)


@pytest.mark.parametrize("compiled", [False, True])
@torch.no_grad()
def test_what_blocks_add_is_what_hooks_see_on_the_stock_model(model, tmp_path, compiled):
    """Attention and MLP outputs beside the states: captured in one graph, and by forward hooks on transformers' CodeGen."""
    to_hf(model, tmp_path)
    stock = CodeGenForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    seen: dict[tuple[str, int], torch.Tensor] = {}

    def keep(point, number):
        def hook(module, arguments, output):
            seen[point, number] = output[0] if isinstance(output, tuple) else output

        return hook

    for number, block in enumerate(stock.transformer.h, 1):
        block.attn.register_forward_hook(keep("attn_out", number))
        block.mlp.register_forward_hook(keep("mlp_out", number))
    wanted = stock(TOKENS, output_hidden_states=True).hidden_states
    torch._dynamo.reset()
    run = torch.compile(model, fullgraph=True, dynamic=False) if compiled else model
    names = list(model.state_dict())
    for point in ("attn_out", "mlp_out"):
        there = torch.stack([seen[point, number] for number in (1, 2, 3)], 2)
        logits, hidden = run(TOKENS, capture=Capture([3, 1], "all", point=point))
        torch.testing.assert_close(hidden, there[:, :, [2, 0]], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(logits, run(TOKENS), atol=1e-5, rtol=1e-5)
        _, mean = run(TOKENS, capture=Capture("mean", PICKED_ROWS, point=point))
        torch.testing.assert_close(
            mean, torch.stack([there[row, PICKED_ROWS[row]].mean(1) for row in range(5)]), atol=1e-5, rtol=1e-5
        )
        if not compiled:
            _, late = model(TOKENS, Capture([3], point=point), logits_from=CONTEXT - 1)
            torch.testing.assert_close(late[:, :, 0], there[:, PROMPT - 1 : CONTEXT - 1, 2], atol=1e-5, rtol=1e-5)
    # A state is the one before it and what its block adds.
    torch.testing.assert_close(wanted[2], wanted[1] + seen["attn_out", 2] + seen["mlp_out", 2], atol=1e-5, rtol=1e-5)
    assert list(model.state_dict()) == names


@torch.no_grad()
def test_attention_patterns_are_those_of_the_stock_model(model, tmp_path):
    to_hf(model, tmp_path)
    stock = CodeGenForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    theirs = torch.stack(stock(TOKENS, output_attentions=True).attentions, 1)
    torch.testing.assert_close(attention_patterns(model, TOKENS), theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attention_patterns(model, TOKENS, [3, 1]), theirs[:, [2, 0]], atol=1e-5, rtol=1e-5)
    assert len({head.numpy().tobytes() for head in theirs[0].flatten(0, 1)}) == 3 * 4, "no two heads are alike"


def test_attention_patterns_that_are_not_there(model):
    with pytest.raises(ValueError, match=r"attention of layer 0: this model has blocks 1\.\.3"):
        attention_patterns(model, TOKENS, [0])
    with pytest.raises(ValueError, match="attention of layer 4"):
        attention_patterns(model, TOKENS, [1, 4])
    with pytest.raises(ValueError, match="need integers"):
        attention_patterns(model, TOKENS.float())


def test_points_that_are_not_there():
    with pytest.raises(ValueError, match="attn_out of layer 0: that is the embedding"):
        Capture([0, 1], point="attn_out")
    with pytest.raises(ValueError, match="point is 'atn_out'; did you mean 'attn_out'"):
        Capture([1], point="atn_out")
