"""Snapshots of a run: Hugging Face folders, whole or absent; and the state that an exact resume needs.

    <run>/snapshots/step-000100/   config.json, model.safetensors, karel_fast.json, tokenizer files
    <run>/resume.safetensors       the newest state: weights and optimizer, with step, seconds and card as metadata

The state is a file of its own so that a run can stop between snapshots: which snapshots there are, and so what is
evaluated and probed, depends on the settings alone. Everything in it is float32, so a resumed run goes on with the
same bits.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import karel_fast
from karel_fast.model import Transformer, to_hf
from karel_fast.model.hub import publish

CARD = "karel_fast.json"
RESUME = "resume.safetensors"


def snapshot_path(run: Path, step: int) -> Path:
    return run / "snapshots" / f"step-{step:06d}"


def list_snapshots(run: str | Path) -> list[Path]:
    """The run's complete snapshots, oldest first."""
    folder = Path(run) / "snapshots"
    found = [p for p in folder.glob("step-*") if re.fullmatch(r"step-\d+", p.name) and (p / CARD).is_file()]
    return sorted(found, key=lambda p: int(p.name.split("-")[1]))


def write_snapshot(run: Path, step: int, model: Transformer, card: Mapping[str, Any], tokenizer: Any = None) -> Path:
    """Write one snapshot folder under a temporary name, then rename it; one already there is replaced.

    tokenizer: anything with `to_hf()` giving a transformers tokenizer, or None. Returns the folder.
    """
    final = snapshot_path(run, step)
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    to_hf(model, temporary)
    if tokenizer is not None:
        tokenizer.to_hf().save_pretrained(temporary)
    versions = {"karel_fast": karel_fast.__version__, "torch": torch.__version__}
    content = {"step": step, **card, "versions": versions}
    (temporary / CARD).write_text(json.dumps(content, indent=2) + "\n")
    for path in temporary.iterdir():
        if path.is_file():
            publish(path, path)
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    return final


def read_card(snapshot: str | Path) -> dict[str, Any]:
    """karel_fast.json of a snapshot. Raises FileNotFoundError or ValueError if it is missing or damaged."""
    path = Path(snapshot) / CARD
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; this is not a snapshot that karel_fast wrote")
    try:
        card = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(card, dict) or not isinstance(card.get("step"), int):
        raise ValueError(f"{path}: damaged: it has no step number")
    return card


def weights_digest(snapshot: str | Path) -> str:
    """Which weights a snapshot holds: 16 hexadecimal digits. Raises FileNotFoundError if it holds none."""
    with open(Path(snapshot) / "model.safetensors", "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class State:
    """Where a run can go on: updates done, training seconds they took, the run's card (recipe, model, settings),
    weights and optimizer state by name.
    """

    step: int
    seconds: float
    card: dict[str, Any]
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]


def has_state(run: str | Path) -> bool:
    """Whether there is a state to resume from."""
    return (Path(run) / RESUME).is_file()


def write_resume(run: Path, state: State) -> None:
    """Replace the run's resume file by this state."""
    temporary = run / f".{RESUME}.{os.getpid()}"
    tensors = {
        f"{part}:{name}": tensor.detach().cpu().contiguous()
        for part, named in (("weights", state.weights), ("optimizer", state.optimizer))
        for name, tensor in named.items()
    }
    metadata = {"step": str(state.step), "seconds": repr(state.seconds), "card": json.dumps(state.card)}
    save_file(tensors, temporary, metadata=metadata)
    publish(temporary, run / RESUME)


def read_resume(run: Path) -> State:
    """The state to go on from. Raises FileNotFoundError or ValueError if there is none to read."""
    path = run / RESUME
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; there is no run to resume in {run}")
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}}
    try:
        with safe_open(path, framework="pt") as file:
            found = file.metadata()
            for key in file.keys():  # noqa: SIM118
                part, _, name = key.partition(":")
                parts[part][name] = file.get_tensor(key)
            return State(int(found["step"]), float(found["seconds"]), json.loads(found["card"]), **parts)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a readable resume file ({error}); train into a new folder") from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it; its folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    publish(temporary, path)
