"""The tokenizers as Hugging Face objects, for use with the rest of that library."""

from __future__ import annotations

import re
from typing import Any

from karel_fast.data.tokens.layouts import Layout


def make_hf_tokenizer(layout: Layout) -> Any:
    """A `PreTrainedTokenizerFast` over the layout's vocabulary, padding on the right."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pad, end = layout.tokens[layout.pad_id], layout.tokens[layout.end_id]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(layout.tokens)}, unk_token=pad))
    if layout.name == "compact":
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        longest_first = sorted(layout.tokens, key=len, reverse=True)
        pattern = Regex("|".join(re.escape(token).replace("\\\n", "\n") for token in longest_first))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, "isolated")
        tokenizer.decoder = decoders.Fuse()
        # Special tokens, as the brace that ends a program is, are cut out of the text first: so must the other brace.
        tokenizer.add_tokens([AddedToken(t, normalized=False) for t in layout.tokens if t.endswith("}") and t != end])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        eos_token=end,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
