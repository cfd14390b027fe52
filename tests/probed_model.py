"""A recipe, an untrained model and settings so small that the tests of probing can go from a snapshot to probes."""

from __future__ import annotations

import torch

from karel_fast.data import Recipe, Tokenizer
from karel_fast.model import Transformer, model_config
from karel_fast.probing.experiments import Grid
from karel_fast.probing.probes.training import ProbeConfig
from karel_fast.probing.snapshot import ProbeRun

RECIPE = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(2, 5), wall_probability=0)
SMALL = ProbeRun(
    grid=Grid(depths={"linear": ()}, offsets=(0, 1), semantics=("original", "flip"), seeds=(0, 1)),
    config=ProbeConfig(epochs=2, least_steps=20),
    programs={"train": 60, "validation": 20, "test": 20},
    layers="all",
    examples=4,
)


def make_model(tokenizer: Tokenizer, seed: int = 0, scale: float = 0.3, *, end_bias: float | None = 2.2) -> Transformer:
    """Weights large enough that programs differ from one specification to the next; with `end_bias` many of them end early."""
    torch.manual_seed(seed)
    config = model_config(
        tokenizer.vocab_size, tokenizer.sequence_length, layers=2, width=32, heads=4,
        prompt_length=tokenizer.prompt_length, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id,
    )  # fmt: skip
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(std=scale)
        if end_bias is not None:
            model.lm_head.bias[tokenizer.end_id] = end_bias
    return model
