"""Layers and positions, named alike by `Capture` and `Intervention`, and their checks.

Shapes: B rows, T tokens, K positions.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Positions = Literal["program", "all"] | Tensor


def as_positions(positions: Any) -> Any:
    """Positions, an array, a list or a tuple as a tensor; anything else as it is."""
    return torch.as_tensor(np.asarray(positions)) if isinstance(positions, np.ndarray | list | tuple) else positions


def state_numbers(layers: Sequence[int]) -> tuple[int, ...]:
    """The layers as a tuple. Raises TypeError for what is no list of whole numbers, ValueError for none, a repeated or a negative one."""
    if not isinstance(layers, Iterable) or any(isinstance(n, bool) or not hasattr(n, "__index__") for n in layers):
        raise TypeError(f"layers is {layers!r}: give a list of state numbers, such as [0, 3]")
    numbers = tuple(operator.index(layer) for layer in layers)
    if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
        raise ValueError(f"layers={list(numbers)}: give at least one state number, each 0 or more and only once")
    return numbers


def last_position(positions: Positions) -> int:
    """The largest token index of a tensor, else -1. Raises TypeError or ValueError for what names no positions."""
    if isinstance(positions, str):
        if positions not in ("program", "all"):
            raise ValueError(f'positions={positions!r}: use "program", "all" or token indices')
        return -1
    if not isinstance(positions, Tensor):
        raise TypeError(f'positions is {type(positions).__name__}: use "program", "all" or token indices')
    if positions.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"positions must be an integer tensor, not {positions.dtype}")
    if positions.ndim not in (1, 2) or positions.numel() == 0:
        raise ValueError(f"positions has shape {tuple(positions.shape)}: use (K,) or (B, K), not empty")
    if int(positions.min()) < 0:
        raise ValueError(f"positions has {int(positions.min())}: token indices start at 0")
    return int(positions.max())


def check_fit(
    name: str, layers: Sequence[int], positions: Positions, last: int, rows: int, length: int, states: int
) -> None:
    """Raise ValueError, naming the request, unless tokens (rows, length) and a model with that many states have these
    layers and positions, the last of which is `last`.
    """
    unknown = [layer for layer in layers if layer >= states]
    if unknown:
        raise ValueError(f"{name} layer {unknown[0]}: this model has states 0..{states - 1} (0 is the embedding)")
    if isinstance(positions, Tensor):
        # A compiled graph would be made anew for each value; there, its own index check stands in for this one.
        if not torch.compiler.is_compiling() and last >= length:
            raise ValueError(f"{name} position {last}: the sequences have {length} tokens (0..{length - 1})")
        if positions.ndim == 2 and positions.shape[0] != rows:
            raise ValueError(f"{name} positions have {positions.shape[0]} rows, the tokens {rows}")


def span(positions: Positions, prompt_length: int | None, length: int) -> tuple[int, int]:
    """First position and the one after the last, as far as that is known without reading a tensor.

    "program" is the positions that predict a program's token. Raises ValueError where the tokens hold no program.
    """
    if isinstance(positions, Tensor) or positions == "all":
        return 0, length
    if prompt_length is None:
        raise ValueError(
            'positions="program" needs the prompt\'s length: set config.prompt_length, or give positions as a tensor'
        )
    if length <= prompt_length:
        raise ValueError(f'positions="program": {length} tokens hold no program (the prompt alone has {prompt_length})')
    return prompt_length - 1, length - 1
