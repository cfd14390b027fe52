"""Samples as token rows: the two layouts, the tokenizer over them, and the grammar that decoding obeys."""
