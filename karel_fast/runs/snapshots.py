"""Snapshots of a run: Hugging Face folders, whole or absent; and the state that an exact resume needs.

    <run>/snapshots/step-000100/   config.json, model.safetensors, karel_fast.json, tokenizer files
    <run>/resume.safetensors       the newest state: weights and optimizer, with step, seconds and card as metadata

The state is a file of its own so that a run can stop between snapshots: which snapshots there are, and so what is
evaluated and probed, depends on the settings alone. Everything in it is float32, so a resumed run goes on with the
same bits.

karel_fast.json has the checksums of all files beside it, and the state one of its own: what is damaged is refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from karel_fast.data import Tokenizer
from karel_fast.model import Transformer, from_hf, to_hf
from karel_fast.model.hub import WEIGHTS
from karel_fast.model.tensors import read_metadata, read_tensors, write_tensors
from karel_fast.runs.folder import CARD as CARD
from karel_fast.runs.folder import SNAPSHOTS as SNAPSHOTS
from karel_fast.runs.folder import step_name, step_of
from karel_fast.support.checksums import FILES, file_sum, sums_of
from karel_fast.support.files import parse_json, read_json, write_folder, write_json
from karel_fast.support.version import VERSION

RESUME = "resume.safetensors"


def snapshot_path(run: str | Path, step: int) -> Path:
    """The folder of a run's snapshot, whether it is there or not."""
    return Path(run) / SNAPSHOTS / step_name(step)


def list_snapshots(run: str | Path) -> list[Path]:
    """The run's complete snapshots, oldest first."""
    return list(_snapshots(run).values())


def choose_snapshots(run: str | Path, steps: Sequence[int] | None = None) -> list[Path]:
    """The run's snapshots, all or those of some steps. Raises ValueError if there is none, or not that one."""
    path_by_step = _snapshots(run)
    if not path_by_step:
        raise ValueError(f"{run} holds no snapshot ({SNAPSHOTS}/step-*); train first")
    for step in steps or []:
        if step not in path_by_step:
            raise ValueError(f"{run} holds no snapshot of step {step}; it has {', '.join(map(str, path_by_step))}")
    return [path for step, path in path_by_step.items() if steps is None or step in steps]


def _snapshots(run: str | Path) -> dict[int, Path]:
    """The run's complete snapshots by step, in order."""
    path_by_step = {step_of(path.name): path for path in (Path(run) / SNAPSHOTS).glob("*") if (path / CARD).is_file()}
    return dict(sorted((step, path) for step, path in path_by_step.items() if step is not None))


def write_snapshot(
    run: str | Path, step: int, model: Transformer, card: Mapping[str, Any], tokenizer: Tokenizer | None = None
) -> Path:
    """Write one snapshot folder, whole; one already there is replaced.

    tokenizer: its words are kept as a transformers tokenizer, if they can be listed. Returns the folder.
    """
    content = {"step": step, **card, "versions": {"karel_fast": VERSION, "torch": torch.__version__}}

    def write(folder: Path) -> None:
        to_hf(model, folder)
        if tokenizer is not None and tokenizer.row_code is None:
            tokenizer.to_hf().save_pretrained(folder)
        files = sums_of(folder, (file.name for file in folder.iterdir()))
        write_json(folder / CARD, {**content, FILES: files}, indent=2)

    path = snapshot_path(run, step)
    write_folder(path, write)
    return path


def remove_half_written(run: Path) -> None:
    """Removes what a killed training left half-written, as large as the model and its optimizer. No other process may
    be training there.
    """
    for folder in (run, run / SNAPSHOTS):
        for path in [*folder.glob(".*.new.tmp"), *folder.glob(".*.old.tmp")]:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def read_card(snapshot: str | Path) -> dict[str, Any]:
    """karel_fast.json of a snapshot. Raises FileNotFoundError or ValueError if it is missing or damaged."""
    path = Path(snapshot) / CARD
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; this is not a snapshot that karel_fast wrote")
    card = read_json(path)
    if not isinstance(card.get("step"), int):
        raise ValueError(f"{path}: damaged: it has no step number")
    for name in ("recipe", "layout", "recipe_hash"):
        if not isinstance(card.get(name, ""), str):
            raise ValueError(f"{path}: damaged: its {name} is {card[name]!r}")
    return card


def weights_digest(snapshot: str | Path) -> str:
    """Which weights a snapshot holds: 16 hexadecimal digits. Raises FileNotFoundError if it holds none."""
    return file_sum(Path(snapshot) / WEIGHTS)[:16]


def open_snapshot(directory: str | Path, tokenizer: Tokenizer, any_recipe: bool = False) -> Transformer:
    """The model of a snapshot folder, after checking that it was trained on the tokenizer's recipe and layout.

    A folder without karel_fast.json (from elsewhere) is checked for its vocabulary only. ValueError, naming the file, for
    one that is damaged.
    """
    directory = Path(directory)
    if (directory / CARD).is_file():
        card = read_card(directory)
        pairs = [("layout", card.get("layout"), tokenizer.layout)]
        if not any_recipe:
            pairs.append(("recipe", card.get("recipe_hash"), tokenizer.recipe.hash))
        for name, theirs, ours in pairs:
            if theirs and theirs != ours:
                raise ValueError(
                    f"{directory}: trained with {name} {theirs}, but the data's {name} is {ours}; "
                    "use the run's own recipe"
                )
    return from_hf(directory)


@dataclass(frozen=True, slots=True)
class TrainingState:
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


def read_begun(run: str | Path) -> dict[str, Any]:
    """The card of the state to go on from: what the run is trained on, and how. Empty where there is no state that can be read,
    which `read_resume` says in words.
    """
    path = Path(run) / RESUME
    try:
        return dict(parse_json(read_metadata(path)["card"], path)) if path.is_file() else {}
    except (KeyError, TypeError, ValueError):
        return {}


def resume_file(run: Path) -> Path:
    """The file of the state to go on from. Raises FileNotFoundError if there is none."""
    path = run / RESUME
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing; there is no run to resume in {run}")
    return path


def write_resume(run: Path, state: TrainingState) -> None:
    """Replace the run's resume file by this state."""
    tensors = {
        f"{part}:{name}": tensor.detach().cpu().contiguous()
        for part, named in (("weights", state.weights), ("optimizer", state.optimizer))
        for name, tensor in named.items()
    }
    metadata = {"step": str(state.step), "seconds": repr(state.seconds), "card": json.dumps(state.card)}
    # One process writes a run's state, so the half file that a killed one left is written over.
    write_tensors(run / RESUME, tensors, metadata, seal=True, tag="new")


def read_resume(run: Path) -> TrainingState:
    """The state to go on from. Raises FileNotFoundError or ValueError if there is none to read."""
    path = resume_file(run)
    stored = read_tensors(path)
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}}
    try:
        for key, tensor in stored.by_name.items():
            part, _, name = key.partition(":")
            parts[part][name] = tensor
        card = parse_json(stored.metadata["card"], path)
        return TrainingState(int(stored.metadata["step"]), float(stored.metadata["seconds"]), dict(card), **parts)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not a readable resume file ({error}); train into a new folder") from error
