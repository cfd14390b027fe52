"""The model that is to be trained: of a wanted size, for a tokenizer's rows."""

from __future__ import annotations

import dataclasses

from transformers import CodeGenConfig

from karel_fast.data.tokens.tokenizer import Tokenizer
from karel_fast.model import model_config
from karel_fast.model.shape import ModelShape


def config_for(tokenizer: Tokenizer, shape: ModelShape) -> CodeGenConfig:
    """A model of this size that takes the tokenizer's longest rows and knows where its prompts and programs end."""
    return model_config(
        tokenizer.vocab_size,
        tokenizer.sequence_length,
        **dataclasses.asdict(shape),
        prompt_length=tokenizer.prompt_length,
        row_code=tokenizer.row_code,
        pad_id=tokenizer.pad_id,
        end_id=tokenizer.end_id,
    )
