"""What a run goes on from, and whether it is the same run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from transformers import CodeGenConfig

from karel_fast.runs.snapshots import TrainingState, list_snapshots, read_resume
from karel_fast.support.files import parse_json, read_json_if_whole
from karel_fast.training.config import TrainConfig

_MODEL_FIELDS = (
    "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "rotary_dim", "n_inner", "activation_function", "layer_norm_epsilon",
    "initializer_range", "prompt_length", "row_cells", "row_signs",
)  # fmt: skip
_SETTINGS = {"n_embd": "width", "n_layer": "layers", "n_head": "heads"}
"""CodeGen's names of what our settings call otherwise."""


def state_to_go_on_from(
    config: TrainConfig, model_config: CodeGenConfig, run: Path, card: dict[str, Any]
) -> TrainingState:
    """The run's state, checked against the settings and the card of this call; errors as of `train`."""
    state = read_resume(run)
    # Earlier versions always began at the first, showed all examples as they are, and did not say which precision they took.
    earlier = {"first_sample": 0, "active": None, "precision": card["precision"], **state.card}
    if earlier.get("model_hash") == hash_of(model_config.to_json_string(use_diff=False)):
        earlier["model_hash"] = card["model_hash"]  # so they named the same model
    for name, remedy in (
        ("recipe_hash", "recipe"),
        ("layout", "layout"),
        ("samples", "number of samples"),
        ("first_sample", "first sample"),
        ("active", "choice of active examples"),
        ("model_hash", "model"),
        ("pad_id", "tokenizer"),
    ):
        if earlier.get(name) != card[name]:
            what, was, now = _unlike(run, name, earlier, card, model_config) or (remedy, earlier.get(name), card[name])
            raise ValueError(
                f"cannot resume {run}: the {what} was {was!r} when it began and is {now!r} now; set it back, or train into a new folder"
            )
    config.check_resume(earlier["train"], state.step)
    if earlier["precision"] != card["precision"]:
        raise ValueError(
            f"cannot resume {run}: it was trained in {earlier['precision']}, and precision={config.precision!r} is {card['precision']} on "
            "this device; go on on one like the earlier, or train into a new folder"
        )
    return state


def _unlike(
    run: Path, name: str, earlier: dict[str, Any], card: dict[str, Any], config: CodeGenConfig
) -> tuple[str, Any, Any] | None:
    """What differs, what it was and what it is, where two hashes do and what they are of is at hand."""
    if name == "recipe_hash":
        part = "recipe's "
        was, now = (_fields(one.get("recipe")) for one in (earlier, card))
    elif name == "model_hash":
        part = "model's "
        first = next(iter(list_snapshots(run)), None)
        was = {} if first is None else read_json_if_whole(first / "config.json") or {}
        now = json.loads(_described(config))
        was = {key: was.get(key) for key in now}
    else:
        return None
    key = next((key for key in now if key in was and was[key] != now[key]), None)
    return None if key is None else (part + _SETTINGS.get(key, key), was[key], now[key])


def _fields(recipe: object) -> dict[str, Any]:
    """Of a recipe as JSON; none of anything else."""
    try:
        found = parse_json(recipe, "recipe") if isinstance(recipe, str) else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def model_hash(config: CodeGenConfig) -> str:
    """Of what makes the model: the same whatever version of transformers describes it."""
    return hash_of(_described(config))


def _described(config: CodeGenConfig) -> str:
    return json.dumps({name: getattr(config, name, None) for name in _MODEL_FIELDS})


def hash_of(text: str) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
