"""Models of a run's shape before any training: the control for what probes read from any states at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from karel_fast.model import Transformer
from karel_fast.model.transformer import fresh_model


def untrained_seed(card: Mapping[str, Any], number: int) -> int:
    """Where the weights of a run's untrained model `number` come from.

    Runs of other seeds have others, so that an interval over runs has their scatter in it; and none has those that its own, or another
    run's, training began with. card: of a snapshot; one that does not say how it was trained counts as of seed 0.
    """
    training = card.get("train")
    own = training.get("seed", 0) if isinstance(training, Mapping) else 0
    return int.from_bytes(hashlib.sha256(f"untrained {own} {number}".encode()).digest()[:7], "big")


def untrained_model(model: Transformer, card: Mapping[str, Any], number: int) -> Transformer:
    """A model of the same shape on the same device, with fresh weights: see `untrained_seed`."""
    return fresh_model(model.config, untrained_seed(card, number), model.wte.weight.device).eval()
