"""Probing: what of a program's state can be read from the hidden states of the model that wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from karel_fast.support.lazy import lazy

if TYPE_CHECKING:
    from karel_fast.probing.own_features import feature as feature
    from karel_fast.probing.probes.storage import load_probes as load_probes

_HOME = {"feature": "own_features", "load_probes": "probes.storage"}

__all__ = sorted(_HOME)

__getattr__, __dir__ = lazy(__name__, _HOME)
