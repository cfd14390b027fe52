"""Samples as token rows: the layouts, the tokenizer over them, and the grammar that decoding obeys."""
