"""Probing: what of a program's state can be read from the hidden states of the model that wrote it."""
