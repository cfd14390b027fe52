"""Probing: what of a program's state can be read from the hidden states of the model that wrote it.

features    labels from traces (NumPy only)
table       hidden states on disk, one row per generated action
probes      many probes trained together
experiments the grid of features, depths, offsets, semantics, layers and seeds, with its baselines
phases      babbling, syntax, semantics; accuracy against semantic content

"""
