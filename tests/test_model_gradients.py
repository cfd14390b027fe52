"""Gradients, plain and compiled, are those of torch's own operators and of transformers' model."""

import pytest
import torch
import torch.nn.functional as F
from tiny_model import tiny_model, tiny_tokens
from transformers import CodeGenForCausalLM

from karel_fast.model import attention, from_hf, to_hf
from karel_fast.model.attention import causal_attention
from karel_fast.model.mlp import add_bias, gelu
from karel_fast.model.rotary import rotary_table, rotate
from karel_fast.training.targets import loss_sum

BLOCK = 8


def in_graph(function):
    return torch.compile(function, backend="aot_eager", fullgraph=True)


def as_it_is(function):
    return function


@pytest.fixture(params=[as_it_is, in_graph])
def way(request):
    return request.param


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(attention, "QUERY_BLOCK", BLOCK)


def assert_same_gradients(found, expected, inputs, **tolerance):
    torch.testing.assert_close(found, expected, **tolerance)
    weights = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad(result, inputs, weights) for result in (found, expected))
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        torch.testing.assert_close(mine, other, **tolerance)


# Whole blocks, a part of one at the end, only the last queries, and a single one.
@pytest.mark.parametrize(("queries", "keys"), [(16, 16), (21, 21), (13, 21), (1, 21), (3, 3)])
def test_attention(way, queries, keys):
    torch.manual_seed(0)
    q, k, v = (2 * torch.randn(2, 4, length, 8) for length in (queries, keys, keys))
    inputs = [x.requires_grad_() for x in (q, k, v)]
    seen = torch.ones(keys, keys, dtype=torch.bool).tril()[keys - queries :]
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    assert_same_gradients(way(causal_attention)(q, k, v), expected, inputs, atol=1e-5, rtol=1e-5)


def test_attention_of_large_scores(way):
    """The exponentials neither overflow nor vanish."""
    q, k, v = (torch.full((1, 1, 12, 4), value, requires_grad=True) for value in (40.0, 40.0, 1.0))
    mixed = way(causal_attention)(q, k, v)
    torch.testing.assert_close(mixed, v)
    for gradient in torch.autograd.grad(mixed.sum(), (q, k, v)):
        assert gradient.isfinite().all()


def test_attention_in_bf16(way):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 4, 21, 8, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    expected = F.scaled_dot_product_attention(*(x.float() for x in inputs), is_causal=True).bfloat16()
    assert_same_gradients(way(causal_attention)(*inputs), expected, inputs, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("rotary_dim", [4, 8])
def test_rotation(way, rotary_dim):
    x = torch.randn(2, 4, 10, 8, requires_grad=True)
    sin, cos = rotary_table(10, rotary_dim)
    half = rotary_dim // 2
    a, b = x[..., :half], x[..., half:rotary_dim]
    turned = torch.view_as_real(torch.complex(a, b) * torch.complex(cos, sin))
    expected = torch.cat((turned[..., 0], turned[..., 1], x[..., rotary_dim:]), dim=-1)
    assert_same_gradients(way(rotate)(x, sin, cos), expected, [x])


def test_bias(way):
    x, bias = torch.randn(3, 5, 8, requires_grad=True), torch.randn(8, requires_grad=True)
    assert_same_gradients(way(add_bias)(x, bias), x + bias, [x, bias])


def test_gelu(way):
    x = torch.linspace(-40, 40, 4001, dtype=torch.float64, requires_grad=True)
    assert_same_gradients(way(gelu)(x), F.gelu(x, approximate="tanh"), [x], rtol=1e-10, atol=1e-10)


def test_the_model(way, tmp_path):
    """The gradients of a training step, beside those of CodeGenForCausalLM: taken as weights, both sides are in one layout."""
    model = tiny_model()
    to_hf(model, tmp_path / "weights")
    stock = CodeGenForCausalLM.from_pretrained(tmp_path / "weights")
    tokens = torch.from_numpy(tiny_tokens()).long()
    stock(tokens, labels=tokens).loss.backward()
    way(lambda: loss_sum(model, tokens, 0, pad_id=-1) / tokens[:, 1:].numel())().backward()
    for parameter in (*model.parameters(), *stock.parameters()):
        parameter.data = parameter.grad
    stock.save_pretrained(tmp_path / "gradients")
    for name, expected in from_hf(tmp_path / "gradients").state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], expected, atol=1e-6, rtol=1e-4, msg=name)
