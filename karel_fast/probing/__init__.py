"""Probing: what of a program's state can be read from the hidden states of the model that wrote it."""

from karel_fast.probing.own_features import feature

__all__ = ["feature"]
