"""Tokens drawn at random: temperature, top-p, and random numbers that depend on nothing but seed, row, draw and step.

Shapes: n rows, B rows of a batch, S steps, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from karel_fast.support.checks import whole


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a token is drawn from the model's probabilities, those that the grammar allows.

    temperature: logits are divided by it; 0 takes the most probable token. top_p: only the fewest most probable tokens
    whose probabilities reach this sum may come (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020). seed:
    of the random numbers.

    Raises ValueError for a temperature outside 0 .. 100, a top_p outside 0 .. 1 or 0, or a seed outside 0 .. 2**64 - 1;
    TypeError for a seed that is no whole number.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 100.0:
            raise ValueError(f"temperature={self.temperature!r}: use a number from 0 to 100")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p={self.top_p!r}: use a number above 0, at most 1")
        object.__setattr__(self, "seed", whole("seed", self.seed, 0, 2**64 - 1))


def uniform_numbers(seed: int, draw: int, rows: np.ndarray, steps: int) -> np.ndarray:
    """float64 (n, steps) in [0, 1): those of each row's number (n,), the same in whatever company the row is drawn.

    They are the top 53 bits of Philox4x64-10 (Salmon et al. 2011) with the seed as key and (draw, row) in the counter.
    """
    out_nS = np.empty((len(rows), steps))
    for place, row in enumerate(rows):
        counter = np.array([0, 0, draw, row], np.uint64)
        words = np.random.Philox(key=np.array([seed, 0], np.uint64), counter=counter).random_raw(steps)
        out_nS[place] = (words >> np.uint64(11)) * 2.0**-53
    return out_nS


def draw_tokens(logits_BV: Tensor, uniform_B: Tensor, sampling: Sampling) -> Tensor:
    """int64 (B,): a token of each row by the inverse of its distribution function. Logits of -inf are never drawn."""
    if sampling.temperature == 0:
        return logits_BV.argmax(dim=-1)
    # In float64 the sums below are exact enough that a number under 1 never falls beyond the last token.
    logits_BV = logits_BV.double()
    below_BV = logits_BV - logits_BV.amax(dim=-1, keepdim=True)  # so that no temperature overflows
    chance_BV = (below_BV / sampling.temperature).softmax(dim=-1)
    if sampling.top_p < 1:
        sorted_BV, order_BV = chance_BV.sort(dim=-1, descending=True, stable=True)
        before_BV = sorted_BV.cumsum(dim=-1) - sorted_BV
        kept_BV = sorted_BV.masked_fill(before_BV >= sampling.top_p, 0.0)
        chance_BV = torch.zeros_like(chance_BV).scatter(-1, order_BV, kept_BV)
    sum_BV = chance_BV.cumsum(dim=-1)
    return (sum_BV <= uniform_B[:, None] * sum_BV[:, -1:]).sum(dim=-1)
