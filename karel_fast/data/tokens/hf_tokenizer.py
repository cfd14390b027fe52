"""The tokenizers as Hugging Face objects, for use with the rest of that library."""

from __future__ import annotations

from typing import Any

from karel_fast.data.tokens.layout import Layout


def make_hf_tokenizer(layout: Layout) -> Any:
    """A `PreTrainedTokenizerFast` over the layout's vocabulary, padding on the right."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    pad, end = layout.tokens[layout.pad_id], layout.tokens[layout.end_id]
    tokenizer = Tokenizer(models.WordLevel(dict(layout.token_ids), unk_token=pad))
    layout.split_text(tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        eos_token=end,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
