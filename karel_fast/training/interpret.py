"""How well a snapshot plays the interpreter: given inputs and a program, it writes the outputs.

Shapes: n samples, E examples each, C interior cells of a world, B rows of a batch, T tokens of a row, S of them outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from karel_fast.data import Samples
from karel_fast.data.tokens.interpreter import InterpreterTokenizer
from karel_fast.model import Transformer
from karel_fast.model.batches import row_batches
from karel_fast.model.compiling import compiled
from karel_fast.model.decode import write_programs
from karel_fast.model.device import autocast, memory_advice
from karel_fast.support.checks import NotFiniteError
from karel_fast.training.evaluate import ready_model
from karel_fast.training.text import action_counts, copy_loss, entropy


def interpret(
    snapshot: str | Path | Transformer,
    tokenizer: InterpreterTokenizer,
    samples: Samples,
    *,
    batch_size: int = 256,
    device: str = "auto",
    precision: str = "auto",
    compile_model: bool = True,
    any_recipe: bool = False,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Let a snapshot write the outputs of each sample's program on its shown inputs, and compare.

    samples; cell_accuracy, changed_cell_accuracy (of the cells that differ from the input's; None without any),
    world_accuracy (every cell right), specification_accuracy (every world right): of outputs written cell by cell, greedily,
    each given what the model itself wrote before. teacher_cell_accuracy, teacher_changed_cell_accuracy,
    teacher_world_accuracy: of cells predicted one by one, given the true ones before. output_loss: E numbers, nats per cell.

    Base rates: copy_cell_accuracy, copy_world_accuracy, copy_specification_accuracy: of the input, unchanged;
    frequent_cell_accuracy: of the most frequent cell everywhere; unigram_output_loss: the entropy of output cells;
    copy_output_loss: the same, given the same cell of the input. changed_cells: share of cells that differ from the input's.

    by_program_length: {actions: {"worlds", "correct", "copied"}}: how many output worlds programs of that length have, how many
    are right, and how many would be by copying.

    Arguments and errors as for `evaluate`.
    """
    if len(samples) == 0:
        raise ValueError("there is no sample to evaluate on")
    model, name, dtype = ready_model(snapshot, tokenizer, device, precision, any_recipe)
    rows_nT = tokenizer.encode(samples)
    with memory_advice(f"lower batch_size ({batch_size})"):
        made = write_programs(
            model, rows_nT[:, : tokenizer.prompt_length], tokenizer.grammar(), tokenizer.program_length,
            pad_id=tokenizer.pad_id, end_id=tokenizer.end_id, batch_size=batch_size, dtype=dtype,
            compile=compile_model, progress=progress,
        )  # fmt: skip
        losses_nS, best_nS = predictions(model, tokenizer, rows_nT, batch_size, dtype, compile_model)
    if not np.isfinite(losses_nS).all():
        raise NotFiniteError(f"{name}: its loss is not finite; its training has diverged")
    before_EC, after_EC = tokenizer.cell_positions.transpose(1, 0, 2)
    inputs_nEC, outputs_nEC = rows_nT[:, before_EC], rows_nT[:, after_EC]
    places_EC = after_EC - tokenizer.prompt_length
    written = cell_scores(made.tokens[:, places_EC], inputs_nEC, outputs_nEC)
    copied = cell_scores(inputs_nEC, inputs_nEC, outputs_nEC)
    teacher = cell_scores(best_nS[:, places_EC], inputs_nEC, outputs_nEC)
    del teacher["specification_accuracy"]
    right_nE = (made.tokens[:, places_EC] == outputs_nEC).all(axis=2)
    copied_nE = (inputs_nEC == outputs_nEC).all(axis=2)
    lengths = action_counts(tokenizer, rows_nT[:, : tokenizer.prompt_length])
    return {
        "samples": len(samples),
        **written,
        **{f"teacher_{name}": value for name, value in teacher.items()},
        "output_loss": losses_nS[:, places_EC].mean(axis=(0, 2), dtype=np.float64).tolist(),
        **{f"copy_{name}": value for name, value in copied.items() if not name.startswith("changed")},
        "frequent_cell_accuracy": float(np.bincount(outputs_nEC.ravel()).max() / outputs_nEC.size),
        "unigram_output_loss": entropy(outputs_nEC),
        "copy_output_loss": copy_loss(inputs_nEC, outputs_nEC),
        "changed_cells": float((inputs_nEC != outputs_nEC).mean()),
        "by_program_length": {
            str(length): {
                "worlds": int(right_nE[lengths == length].size),
                "correct": int(right_nE[lengths == length].sum()),
                "copied": int(copied_nE[lengths == length].sum()),
            }
            for length in np.unique(lengths)
        },
    }


def cell_scores(given_nEC: np.ndarray, inputs_nEC: np.ndarray, outputs_nEC: np.ndarray) -> dict[str, float | None]:
    """Shares of cells, of cells that changed, of worlds and of specifications that are right."""
    right_nEC = given_nEC == outputs_nEC
    changed_nEC = inputs_nEC != outputs_nEC
    return {
        "cell_accuracy": float(right_nEC.mean()),
        "changed_cell_accuracy": float(right_nEC[changed_nEC].mean()) if changed_nEC.any() else None,
        "world_accuracy": float(right_nEC.all(axis=2).mean()),
        "specification_accuracy": float(right_nEC.all(axis=(1, 2)).mean()),
    }


@torch.no_grad()
def predictions(
    model: Transformer,
    tokenizer: InterpreterTokenizer,
    rows_nT: np.ndarray,
    batch_size: int,
    dtype: torch.dtype,
    compile_model: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Of each token after the prompt, (n, S), given the true ones before it: its loss in nats, and the most probable cell."""
    device = model.wte.weight.device
    predict = compiled(row_predictions) if compile_model else row_predictions
    parts = []
    for numbers, keep in row_batches(len(rows_nT), batch_size):
        tokens_BT = torch.from_numpy(rows_nT[numbers.numpy()].astype(np.int64)).to(device)
        with autocast(device, dtype):
            both = predict(model, tokens_BT, tokenizer.prompt_length, tokenizer.cell_ids.start, tokenizer.cell_ids.stop)
        parts.append([part[:keep].cpu().numpy() for part in both])
    losses, best = zip(*parts, strict=True)
    return np.concatenate(losses), np.concatenate(best)


def row_predictions(model: Transformer, tokens_BT: Tensor, first: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    """The losses of the tokens from place `first` on, and the best of the tokens low .. high - 1 there, (B, S)."""
    logits_BSV = model(tokens_BT[:, :-1], logits_from=first - 1).float()
    losses_BS = F.cross_entropy(logits_BSV.transpose(1, 2), tokens_BT[:, first:], reduction="none")
    return losses_BS, logits_BSV[:, :, low:high].argmax(dim=2) + low
