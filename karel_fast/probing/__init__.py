"""Probing: what of a program's state can be read from the hidden states of the model that wrote it."""

from typing import TYPE_CHECKING, Any

from karel_fast.probing.own_features import feature

if TYPE_CHECKING:
    from karel_fast.probing.probes.storage import load_probes

__all__ = ["feature", "load_probes"]


def __getattr__(name: str) -> Any:
    if name == "load_probes":  # it needs torch, which features of one's own do without
        from karel_fast.probing.probes.storage import load_probes

        return load_probes
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
