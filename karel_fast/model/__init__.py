"""The language model: CodeGen, fully compiled, with hidden states captured and edited in the graph."""

from karel_fast.model.capture import Capture
from karel_fast.model.hub import from_hf, to_hf
from karel_fast.model.intervention import Intervention
from karel_fast.model.transformer import Transformer, model_config

__all__ = ["Capture", "Intervention", "Transformer", "from_hf", "model_config", "to_hf"]
