"""Hugging Face folders in and out: config.json and model.safetensors, the weights in stock CodeGenForCausalLM layout.

Names map one to one: `lm_head.*` stays, everything else gets the prefix `transformer.`. Of the tensors only
`attn.qkv_proj` is laid out differently (see `transformer.py`), and going there and back is an exact permutation of
its rows.

Pickled checkpoints are never read. Files that a card names with checksums are compared first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CodeGenConfig

from karel_fast.model.rotary import rotary_table
from karel_fast.model.tensors import read_tensors, write_tensors
from karel_fast.model.transformer import CODEGEN_GROUPS, Transformer, check_config
from karel_fast.support.checks import real, whole
from karel_fast.support.checksums import CARD, check_named
from karel_fast.support.files import read_json, write_text

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
SIZES = {
    "vocab_size": 2**20, "n_positions": 2**20, "n_embd": 2**17, "n_layer": 2**12, "n_head": 2**12, "rotary_dim": 2**17
}  # fmt: skip
"""The largest of each that is opened: beyond them a config.json is no model's."""
LEAST_EPSILON = 1e-30


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
    """A Transformer with these stock weights, in float32; torch's own random state stays as it is.

    Raises ValueError if a tensor is missing, unexpected or of the wrong shape, naming `where`.
    """
    blocks = {name.split(".")[2] for name in stock if name.startswith("transformer.h.")}
    if len(blocks) != config.n_layer:
        # Before as many are made: a config.json may ask for more than there is memory.
        raise ValueError(
            f"{where}: the tensors do not match config.json (they are of {len(blocks)} blocks, n_layer is {config.n_layer}); "
            "is this folder a complete CodeGen snapshot?"
        )
    with torch.device("meta"):  # its shapes alone: no weights are drawn, which takes time and torch's random state
        model = Transformer(config)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
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
    model = model.to_empty(device="cpu")
    model.load_state_dict(state)
    with torch.device("cpu"):
        model.sin, model.cos = rotary_table(config.n_positions, config.rotary_dim)
    return model


def from_hf(directory: str | Path) -> Transformer:
    """Open a CodeGen snapshot folder, ours or one saved by `save_pretrained`; float32, on the CPU.

    Raises FileNotFoundError if the folder or its config.json is missing; ValueError if it holds no CodeGen model,
    only pickled weights, or tensors that do not match the config; DamagedFile, which is one, for a file that does not
    match its checksum.
    """
    directory = Path(directory)
    if (directory / CARD).is_file():
        # Files that are not needed for the model may be missing.
        check_named(directory, read_json(directory / CARD), [file.name for file in directory.iterdir()])
    config = read_config(directory)
    if (directory / INDEX).is_file():
        parts = _parts(directory / INDEX)
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
        stock.update(read_tensors(directory / part).by_name)
    return from_stock(config, stock, str(directory))


def _parts(index: Path) -> list[str]:
    """The weight files that an index names. ValueError unless they are files beside it."""
    names = read_json(index).get("weight_map")
    files = list(names.values()) if isinstance(names, dict) else []
    if not files:
        raise ValueError(f"{index}: names no file in its weight_map; restore it from a copy")
    for file in files:
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise ValueError(f"{index}: names {file!r}, which is no .safetensors file beside it")
    return sorted(set(files))


def to_hf(model: Transformer, directory: str | Path) -> None:
    """Write config.json and model.safetensors into `directory` (made if missing), each whole or not at all."""
    directory = Path(directory)
    write_tensors(directory / WEIGHTS, to_stock(model), {"format": "pt"}, seal=False)
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
    _check_fields(fields, path)
    try:
        config = CodeGenConfig.from_dict(fields)
        check_config(config)
    except Exception as error:  # transformers has errors of its own for fields of a wrong type
        raise ValueError(f"{path}: describes no CodeGen model ({' '.join(str(error).split())})") from error
    return config


def _check_fields(fields: Mapping[str, Any], path: Path) -> None:
    """ValueError, naming the file and the field, for sizes that are no sizes or beyond every model's."""
    longest = fields.get("n_positions", SIZES["n_positions"])
    try:
        for name, highest in SIZES.items():
            if name in fields:
                whole(name, fields[name], 1, highest)
        for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop", "layer_norm_epsilon", "initializer_range"):
            if name in fields:
                real(name, fields[name], LEAST_EPSILON if name == "layer_norm_epsilon" else 0.0, 1.0)
        for name, most in (("n_inner", 64 * SIZES["n_embd"]), ("prompt_length", longest)):
            if fields.get(name) is not None:
                whole(name, fields[name], 1, most)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
