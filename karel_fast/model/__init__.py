"""The language model: CodeGen, fully compiled, with hidden states captured and edited in the graph. Loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from karel_fast.support.lazy import lazy

if TYPE_CHECKING:
    from karel_fast.model.beam import beam_search as beam_search
    from karel_fast.model.capture import Capture as Capture
    from karel_fast.model.decode import write_programs as write_programs
    from karel_fast.model.hub import from_hf as from_hf
    from karel_fast.model.hub import to_hf as to_hf
    from karel_fast.model.intervention import Intervention as Intervention
    from karel_fast.model.patterns import attention_patterns as attention_patterns
    from karel_fast.model.sampling import Sampling as Sampling
    from karel_fast.model.transformer import Transformer as Transformer
    from karel_fast.model.transformer import model_config as model_config

_HOME = {
    "Capture": "capture",
    "Intervention": "intervention",
    "Sampling": "sampling",
    "Transformer": "transformer",
    "attention_patterns": "patterns",
    "beam_search": "beam",
    "from_hf": "hub",
    "model_config": "transformer",
    "to_hf": "hub",
    "write_programs": "decode",
}

__all__ = sorted(_HOME)

__getattr__, __dir__ = lazy(__name__, _HOME)
