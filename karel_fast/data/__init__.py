"""Data sets by recipe: samples, tokens, shards, streams. Everything is loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from karel_fast.support.lazy import lazy

if TYPE_CHECKING:
    from karel_fast.data.sampling.generation import generate as generate
    from karel_fast.data.sampling.philox import GENERATOR_VERSION as GENERATOR_VERSION
    from karel_fast.data.sampling.recipe import ControlFlow as ControlFlow
    from karel_fast.data.sampling.recipe import Recipe as Recipe
    from karel_fast.data.sampling.samples import Samples as Samples
    from karel_fast.data.storage.card import write_card as write_card
    from karel_fast.data.storage.jsonl import export_jsonl as export_jsonl
    from karel_fast.data.storage.jsonl import import_for as import_for
    from karel_fast.data.storage.jsonl import import_jsonl as import_jsonl
    from karel_fast.data.storage.jsonl import import_specifications as import_specifications
    from karel_fast.data.storage.manifest import ShardError as ShardError
    from karel_fast.data.storage.msr import MsrRecords as MsrRecords
    from karel_fast.data.storage.msr import msr_samples as msr_samples
    from karel_fast.data.storage.msr import read_msr as read_msr
    from karel_fast.data.storage.msr import write_msr as write_msr
    from karel_fast.data.storage.shards import Shards as Shards
    from karel_fast.data.storage.shards import open_shards as open_shards
    from karel_fast.data.storage.shards_verifying import Verification as Verification
    from karel_fast.data.storage.shards_verifying import verify as verify
    from karel_fast.data.storage.shards_writing import write_shards as write_shards
    from karel_fast.data.storage.text import export_text as export_text
    from karel_fast.data.stream import SampleStream as SampleStream
    from karel_fast.data.tokens.tokenizer import Tokenizer as Tokenizer

_HOME = {
    "ControlFlow": "sampling.recipe",
    "GENERATOR_VERSION": "sampling.philox",
    "Recipe": "sampling.recipe",
    "Samples": "sampling.samples",
    "Tokenizer": "tokens.tokenizer",
    "MsrRecords": "storage.msr",
    "SampleStream": "stream",
    "ShardError": "storage.manifest",
    "Shards": "storage.shards",
    "Verification": "storage.shards_verifying",
    "export_jsonl": "storage.jsonl",
    "export_text": "storage.text",
    "generate": "sampling.generation",
    "import_for": "storage.jsonl",
    "import_jsonl": "storage.jsonl",
    "import_specifications": "storage.jsonl",
    "open_shards": "storage.shards",
    "read_msr": "storage.msr",
    "verify": "storage.shards_verifying",
    "write_card": "storage.card",
    "msr_samples": "storage.msr",
    "write_msr": "storage.msr",
    "write_shards": "storage.shards_writing",
}

__all__ = sorted(_HOME)


__getattr__, __dir__ = lazy(__name__, _HOME)
