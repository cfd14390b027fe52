"""A tiny model, grammar and rows that the model and training tests share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from karel_fast.model import Transformer, model_config

VOCABULARY, PROMPT, CONTEXT, PAD, END = 20, 12, 24, 0, 6  # tokens 1..5 are the actions


@dataclass(frozen=True)
class TinyGrammar:
    next_state: np.ndarray
    allowed: np.ndarray
    start_state: int
    action_of_token: np.ndarray


def tiny_grammar() -> TinyGrammar:
    """One or more actions, then the end token, then padding."""
    allowed = np.zeros((3, VOCABULARY), bool)
    next_state = np.repeat(np.arange(3)[:, None], VOCABULARY, axis=1)
    allowed[0, 1:6] = allowed[1, 1:7] = allowed[2, PAD] = True
    next_state[0, 1:6], next_state[1, END] = 1, 2
    action_of_token = np.full(VOCABULARY, -1, np.int8)
    action_of_token[1:6] = range(5)
    return TinyGrammar(next_state, allowed, 0, action_of_token)


def tiny_config(layers=2, width=32, heads=4, rotary_dim=4, **changes):
    settings = {"prompt_length": PROMPT, "pad_id": PAD, "end_id": END, **changes}
    return model_config(VOCABULARY, CONTEXT, layers=layers, width=width, heads=heads, rotary_dim=rotary_dim, **settings)


def tiny_model(std=0.2, seed=0, **changes) -> Transformer:
    """Random weights, larger than at initialisation so that every part of the model matters."""
    torch.manual_seed(seed)
    model = Transformer(tiny_config(**changes))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model.eval()


def tiny_tokens(rows=5, length=CONTEXT, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, VOCABULARY, (rows, length)).astype(np.uint8)


def tiny_rows(start: int, count: int) -> np.ndarray:
    """A row source: row i is a pure function of i; the last tokens are padding."""
    rows = np.stack([tiny_tokens(1, 16, seed=i % 16)[0] for i in range(start, start + count)])
    rows[:, 14:] = PAD
    return rows


def losses(run: Path) -> list[tuple[int, float, float]]:
    from karel_fast.runs.folder import RunFolder

    return [(line["step"], line["loss"], line["grad_norm"]) for line in RunFolder(run).metrics()]
