"""Weights to and from transformers: equal logits and hidden states, and nothing unsafe or incomplete is loaded."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import CONTEXT, tiny_config, tiny_model, tiny_tokens
from transformers import AutoModelForCausalLM, CodeGenForCausalLM

from karel_fast.model import Capture, Intervention, Transformer, from_hf, model_config, to_hf
from karel_fast.model.hub import from_stock, stock_rows, to_stock
from karel_fast.model.stock_edits import edited

SHAPES = [
    {"layers": 1, "width": 32, "heads": 4, "rotary_dim": 8},
    {"layers": 2, "width": 48, "heads": 4, "rotary_dim": 4},
    {"layers": 3, "width": 64, "heads": 8, "rotary_dim": 6},
]


@pytest.mark.parametrize("shape", SHAPES)
def test_from_transformers(shape, tmp_path):
    torch.manual_seed(0)
    stock = CodeGenForCausalLM(tiny_config(**shape)).eval()
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    stock.save_pretrained(tmp_path)
    model = from_hf(tmp_path)
    tokens = torch.from_numpy(tiny_tokens()).long()
    with torch.no_grad():
        expected = stock(tokens, output_hidden_states=True)
        logits, hidden = model(tokens, capture=Capture(range(shape["layers"] + 1), positions="all"))
        _, mean = model(tokens, capture=Capture("mean", positions="all"))
    torch.testing.assert_close(logits, expected.logits, atol=1e-5, rtol=1e-5)
    # The last of transformers' hidden states comes after the final LayerNorm; so does ours.
    torch.testing.assert_close(hidden, torch.stack(expected.hidden_states, dim=2), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mean, torch.stack(expected.hidden_states).mean(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_to_transformers_and_back(shape, tmp_path):
    model = tiny_model(**shape)
    to_hf(model, tmp_path)
    stock = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokens = torch.from_numpy(tiny_tokens()).long()
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), stock(tokens).logits, atol=1e-5, rtol=1e-5)
    again = from_hf(tmp_path)
    assert again.prompt_length == model.prompt_length
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("layers", [[0, 2], [3]])
@pytest.mark.parametrize("final_norm", [True, False])
def test_edits_of_the_stock_model_are_ours(layers, final_norm, tmp_path):
    model, tokens = tiny_model(layers=3), torch.from_numpy(tiny_tokens()).long()
    to_hf(model, tmp_path)
    stock = CodeGenForCausalLM.from_pretrained(tmp_path).eval()
    basis = torch.linalg.qr(torch.randn(32, 4)).Q.mT
    for positions in ("program", torch.tensor([3, 0])):
        edit = Intervention.set(torch.randn(32), basis, layers=layers, positions=positions, final_norm=final_norm)
        with torch.no_grad():
            plain = stock(tokens).logits
            with edited(stock, edit, prompt_length=model.prompt_length):
                found = stock(tokens).logits
            torch.testing.assert_close(found, model(tokens, intervention=edit), atol=1e-5, rtol=1e-5)
            assert not torch.equal(found, plain)
            assert torch.equal(stock(tokens).logits, plain)
    edit = Intervention.add(torch.zeros(32), layers=[4], positions="all")
    with pytest.raises(ValueError, match=r"layer 4: this model has states 0\.\.3"), edited(stock, edit):
        pass
    edit = Intervention.add(torch.zeros(16), layers=[1], positions="all")
    with pytest.raises(ValueError, match="width 16"), edited(stock, edit):
        stock(tokens)


def test_layout_is_a_permutation():
    rows = stock_rows(tiny_config(width=64, heads=8, rotary_dim=6))
    assert sorted(rows.tolist()) == list(range(3 * 64))


def test_float16_weights_are_read_as_float32(tmp_path):
    CodeGenForCausalLM(tiny_config()).half().save_pretrained(tmp_path)
    assert {p.dtype for p in from_hf(tmp_path).parameters()} == {torch.float32}


def test_opening_draws_nothing(tmp_path):
    model = tiny_model()
    to_hf(model, tmp_path)
    state = torch.get_rng_state()
    opened = from_hf(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert {tensor.device.type for tensor in (*opened.parameters(), *opened.buffers())} == {"cpu"}
    assert all(torch.equal(tensor, dict(model.named_buffers())[name]) for name, tensor in opened.named_buffers())


def test_wrong_tensors():
    model = tiny_model()
    stock = to_stock(model)
    less = {name: tensor for name, tensor in stock.items() if name != "transformer.ln_f.bias"}
    with pytest.raises(ValueError, match=r"missing: transformer\.ln_f\.bias"):
        from_stock(model.config, less)
    with pytest.raises(ValueError, match="unexpected: extra"):
        from_stock(model.config, {**stock, "extra": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"lm_head\.bias has shape \(3,\)"):
        from_stock(model.config, {**stock, "lm_head.bias": torch.zeros(3)})
    from_stock(model.config, {**stock, "transformer.h.0.attn.causal_mask": torch.zeros(1)})


def test_wrong_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such snapshot folder"):
        from_hf(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match=r"config\.json: missing"):
        from_hf(tmp_path)
    to_hf(tiny_model(), tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(json.dumps({**json.loads(config), "model_type": "gpt2"}))
    with pytest.raises(ValueError, match="gpt2"):
        from_hf(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        from_hf(tmp_path)
    (tmp_path / "config.json").write_text(config)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        from_hf(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        from_hf(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match="pickled"):
        from_hf(tmp_path)


def test_several_weight_files(tmp_path):
    model = tiny_model()
    to_hf(model, tmp_path)
    stock = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    names = sorted(stock)
    parts = {"model-1.safetensors": names[:5], "model-2.safetensors": names[5:]}
    for file, chosen in parts.items():
        save_file({name: stock[name] for name in chosen}, tmp_path / file)
    index = {"weight_map": {name: file for file, chosen in parts.items() for name in chosen}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(from_hf(tmp_path).lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 2}, "multiple of 4"),
        ({"heads": 6, "width": 36}, "multiple of 4"),
        ({"width": 34}, "use a multiple of heads"),
        ({"rotary_dim": 3}, "rotary_dim=3"),
        ({"rotary_dim": 10}, "rotary_dim=10"),
        ({"layers": 0}, "n_layer=0"),
    ],
)
def test_wrong_config(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_inner", -3), ("n_inner", 2.5), ("initializer_range", -1.0), ("layer_norm_epsilon", -1.0), ("layer_norm_epsilon", 0),
        ("prompt_length", "x"), ("prompt_length", 10_000), ("resid_pdrop", None),
    ],
)  # fmt: skip
def test_fields_that_are_no_model_s_are_named_with_the_file(field, value, tmp_path):
    to_hf(tiny_model(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(ValueError, match=rf"config\.json: {field} is "):
        from_hf(tmp_path)


def test_wrong_stock_config():
    config = tiny_config()
    config.resid_pdrop = 0.1
    with pytest.raises(ValueError, match="dropout"):
        Transformer(config)
    config = tiny_config()
    config.activation_function = "relu"
    with pytest.raises(ValueError, match="relu"):
        Transformer(config)


def test_paper_size():
    with torch.device("meta"):
        model = Transformer(model_config(51, CONTEXT, layers=20, width=1024, heads=16, rotary_dim=32))
    assert 2.5e8 < sum(p.numel() for p in model.parameters()) < 3.6e8
