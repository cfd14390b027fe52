"""Which hidden states to keep: layers and positions, chosen before the forward pass and gathered inside it.

Shapes: B rows, T tokens, K captured positions, D width, N layers (blocks).

A model with N blocks has N + 1 *states*, numbered as `output_hidden_states=True` of transformers numbers them: state
0 is the embedding output, state i the residual stream after block i, and state N the residual stream after the last
block **and the final LayerNorm** (that is what transformers returns there). `final_norm=False` gives the bare
residual stream for state N. The mean is taken over all N + 1 states; it is accumulated block by block, so no stack of
states ever exists.

What a block adds to the stream can be kept instead: its attention's output, and its MLP's. Those of block i have number i, so that
state i - 1 and both of them sum up to (bare) state i. TransformerLens calls the three `resid_post`, `attn_out` and `mlp_out`, too, and
counts blocks from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from karel_fast.model.selection import Positions, as_positions, check_fit, last_position, state_numbers
from karel_fast.support.checks import one_of

Point = Literal["resid_post", "attn_out", "mlp_out"]
POINTS: tuple[str, ...] = get_args(Point)


@dataclass(frozen=True, eq=False)
class Capture:
    """A request for hidden states; `model(tokens, capture=...)` returns `(logits, hidden)`.

    layers: "mean" (one vector: the mean over the embedding output and every block) or a list of state numbers 0..N.
    positions: "program" (the positions that predict a program token: prompt_length - 1 .. T - 2, with `prompt_length`
    taken
        from the model's config), "all", or token indices, a tensor or an array: (K,) for all rows alike, (B, K) for each
        row its own. The state that *predicted* token t is the one at position t - 1.
    final_norm: state N after the final LayerNorm, as transformers has it (default), or before.
    point: "resid_post" (the states), or what block 1..N adds to them: "attn_out" or "mlp_out"; "mean" is then over the N blocks.

    hidden is (B, K, D) for "mean" and (B, K, len(layers), D) for a list. In decoding, positions is ignored: each
    action's hidden state is the one that predicted it.

    Raises ValueError for an empty, repeated or negative layer list, negative or non-integer positions, an unknown point, or one that
    layer 0 has not; TypeError for other types.
    """

    layers: Literal["mean"] | Sequence[int] = "mean"
    positions: Positions = "program"
    final_norm: bool = True
    point: Point = "resid_post"
    _last_position: int = field(init=False, repr=False, default=-1)

    def __post_init__(self) -> None:
        if not isinstance(self.layers, str):
            object.__setattr__(self, "layers", state_numbers(self.layers))
        elif self.layers != "mean":
            raise ValueError(f'layers={self.layers!r}: use "mean" or a list of state numbers')
        one_of("point", self.point, POINTS)
        if self.point != "resid_post" and self.layers != "mean" and 0 in self.layers:
            raise ValueError(
                f"{self.point} of layer 0: that is the embedding, which has none; blocks are numbered from 1"
            )
        object.__setattr__(self, "positions", as_positions(self.positions))
        # Read once here, so that the check in the forward pass needs no copy from the device.
        object.__setattr__(self, "_last_position", last_position(self.positions))

    def rows(self, numbers: Tensor, device: torch.device) -> Capture:
        """The same request for some of the rows (their numbers, int64), on another device."""
        if not isinstance(self.positions, Tensor):
            return self
        positions = self.positions if self.positions.ndim == 1 else self.positions[numbers]
        return Capture(self.layers, positions.to(device), self.final_norm, self.point)

    def check(self, rows: int, length: int, states: int) -> None:
        """Raise ValueError if this request does not fit tokens (rows, length) and a model with that many states."""
        layers = () if isinstance(self.layers, str) else self.layers
        check_fit("capture", layers, self.positions, self._last_position, rows, length, states)


class Recorder:
    """Collects the states that a `Capture` asks for during one forward pass (traced into the graph, no hooks).

    start, stop: the positions asked for, where the capture does not give them as a tensor (see `span`).
    """

    def __init__(self, capture: Capture, states: int, start: int, stop: int) -> None:
        self.capture = capture
        self.of_mean = states if capture.point == "resid_post" else states - 1
        self.start, self.stop = start, stop
        self.sum: Tensor | None = None
        self.kept: dict[int, Tensor] = {}

    def select(self, x_BTD: Tensor, first: int) -> Tensor:
        """The captured positions of one state, (B, K, D), out of the positions from `first` on."""
        positions = self.capture.positions
        if not isinstance(positions, Tensor):
            return x_BTD[:, self.start - first : self.stop - first]
        if positions.ndim == 1:
            return x_BTD.index_select(1, positions)
        return x_BTD.gather(1, positions.to(torch.int64)[:, :, None].expand(-1, -1, x_BTD.shape[2]))

    def add(self, state: int, x_BTD: Tensor, first: int = 0, point: Point = "resid_post") -> None:
        """Offer state number `state`, or what block `state` adds, at the positions from `first` on; it is kept, summed or dropped."""
        if point != self.capture.point:
            return
        if self.capture.layers == "mean":
            picked = self.select(x_BTD, first).float()
            self.sum = picked if self.sum is None else self.sum + picked
        elif state in self.capture.layers:
            self.kept[state] = self.select(x_BTD, first)

    def result(self) -> Tensor:
        """(B, K, D) for the mean, (B, K, len(layers), D) for a list of layers."""
        if self.sum is not None:
            return self.sum * (1.0 / self.of_mean)
        return torch.stack([self.kept[int(layer)] for layer in self.capture.layers], dim=2)
