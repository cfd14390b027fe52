"""Hugging Face folders in and out: config.json and model.safetensors, the weights in stock CodeGenForCausalLM layout.

Names map one to one: `lm_head.*` stays, everything else gets the prefix `transformer.`. Of the tensors only
`attn.qkv_proj` is laid out differently (see `transformer.py`), and going there and back is an exact permutation of
its rows.

Pickled checkpoints are never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CodeGenConfig

from karel_fast.model.transformer import CODEGEN_GROUPS, Transformer
from karel_fast.support.files import read_json, write_text, write_whole

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"


def stock_rows(config: CodeGenConfig) -> Tensor:
    """For each row of our [q; k; v] matrix, the row of the stock qkv_proj that holds it; int64 (3 * n_embd,).

    Stock order: four groups, each with the queries, the values and then the keys of a quarter of the heads; rotary
    pairs are neighbours. Ours: all queries, all keys, all values; the first of each rotary pair, then the second of
    each.
    """
    width, heads, rotary = config.n_embd, config.n_head, config.rotary_dim
    head = width // heads
    stock = torch.arange(3 * width).view(CODEGEN_GROUPS, 3, heads // CODEGEN_GROUPS, head)
    query, value, key = (stock[:, part].reshape(heads, head) for part in range(3))
    order = torch.cat((torch.arange(0, rotary, 2), torch.arange(1, rotary, 2), torch.arange(rotary, head)))
    return torch.cat((query[:, order].flatten(), key[:, order].flatten(), value.flatten()))


def to_stock(model: Transformer) -> dict[str, Tensor]:
    """The weights as CodeGenForCausalLM names and lays them out (new contiguous tensors, on the CPU)."""
    rows = stock_rows(model.config)
    stock = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu()
        if name.endswith("attn.qkv_proj.weight"):
            tensor = torch.empty_like(tensor).index_copy_(0, rows, tensor)
        stock[name if name.startswith("lm_head.") else f"transformer.{name}"] = tensor.contiguous()
    return stock


def from_stock(config: CodeGenConfig, stock: Mapping[str, Tensor], where: str = "weights") -> Transformer:
    """A Transformer with these stock weights, in float32.

    Raises ValueError if a tensor is missing, unexpected or of the wrong shape, naming `where`.
    """
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in Transformer(config).state_dict().items()}
    # Old CodeGen checkpoints carry their causal mask as a tensor; it is no weight.
    given = {name: tensor for name, tensor in stock.items() if not name.endswith("attn.causal_mask")}
    names = {name: name if name.startswith("lm_head.") else f"transformer.{name}" for name in expected}
    missing, extra = sorted(set(names.values()) - set(given)), sorted(set(given) - set(names.values()))
    if missing or extra:
        raise ValueError(
            f"{where}: the tensors do not match config.json (missing: {_some(missing)}; unexpected: {_some(extra)}); "
            "is this folder a complete CodeGen snapshot?"
        )
    rows = stock_rows(config)
    state = {}
    for name, stock_name in names.items():
        tensor = given[stock_name]
        if tensor.shape != expected[name]:
            raise ValueError(
                f"{where}: {stock_name} has shape {tuple(tensor.shape)}, config.json asks for {tuple(expected[name])}"
            )
        tensor = tensor.to(torch.float32)
        state[name] = tensor[rows] if name.endswith("attn.qkv_proj.weight") else tensor
    model = Transformer(config)
    model.load_state_dict(state)
    return model


def from_hf(directory: str | Path) -> Transformer:
    """Open a CodeGen snapshot folder, ours or one saved by `save_pretrained`; float32, on the CPU.

    Raises FileNotFoundError if the folder or its config.json is missing; ValueError if it holds no CodeGen model,
    only pickled weights, or tensors that do not match the config.
    """
    directory = Path(directory)
    config = read_config(directory)
    if (directory / INDEX).is_file():
        parts = sorted(set(read_json(directory / INDEX)["weight_map"].values()))
    elif (directory / WEIGHTS).is_file():
        parts = [WEIGHTS]
    elif any(directory.glob("*.bin")) or any(directory.glob("*.pt")):
        raise ValueError(
            f"{directory}: has only pickled weights, which are never loaded; "
            "save them again with save_pretrained (safetensors)"
        )
    else:
        raise FileNotFoundError(f"{directory}: no {WEIGHTS}")
    stock: dict[str, Tensor] = {}
    for part in parts:
        try:
            stock.update(load_file(directory / part))
        except SafetensorError as error:
            raise ValueError(f"{directory / part}: not a readable safetensors file ({error})") from error
    return from_stock(config, stock, str(directory))


def to_hf(model: Transformer, directory: str | Path) -> None:
    """Write config.json and model.safetensors into `directory` (made if missing), each whole or not at all."""
    directory = Path(directory)
    write_whole(directory / WEIGHTS, lambda path: save_file(to_stock(model), path, metadata={"format": "pt"}))
    write_text(directory / CONFIG, model.config.to_json_string(use_diff=False))


def read_config(directory: str | Path) -> CodeGenConfig:
    """The CodeGenConfig of a snapshot folder; errors as `from_hf`."""
    directory = Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory}: no such snapshot folder")
    path = directory / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; a snapshot folder has {CONFIG} and {WEIGHTS}")
    fields = read_json(path)
    if fields.get("model_type") != "codegen":
        raise ValueError(f"{path}: model_type is {fields.get('model_type')!r}, only 'codegen' can be opened")
    return CodeGenConfig.from_dict(fields)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
