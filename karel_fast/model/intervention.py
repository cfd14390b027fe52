"""Edits of hidden states: layers, positions and a subspace, chosen before the forward pass and applied inside it.

Shapes: B rows, T tokens, K edited positions, L edited layers, D width, R rank of a subspace.

States are numbered as in `Capture`, and a state is edited before anything reads it: the block after it, whose keys and
values follow, and the capture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from karel_fast.model.selection import Positions, as_positions, check_fit, last_position, span, state_numbers
from karel_fast.support.checks import NotFiniteError

ORTHONORMAL = 1e-4
"""Most by which a product of two basis vectors may miss 0 or 1."""


@dataclass(frozen=True, eq=False)
class Intervention:
    """A request for edits; `model(tokens, intervention=...)` and decoding apply it. Made by one of

    `Intervention.add(vector)`: the state plus a vector.
    `Intervention.set(values)`: the state replaced.
    `Intervention.swap(states)`: the same with another run's states, as `Capture` of the same layers (a list) and as many
        positions gave them, (B, K, L, D).
    `Intervention.scale(factor)`: the state times a number.
    `Intervention.project_out(basis)`: the state without its part in a subspace.

    All but `add` act on the part of the state in the span of `basis`, (R, D) or one for each layer (L, R, D), its rows
    orthonormal; without a basis on the whole state. Vectors and values are broadcast against (B, K, L, D), factors against
    (B, K, L, 1): (D,) is for all alike, (L, D) for each layer its own, (B, 1, 1, D) for each row.

    layers: state numbers 0..N. positions: "program" (those that predict a program token), "all", or token indices, a tensor,
    an array or a list, none of them twice: (K,) for all rows alike, (B, K) for each row its own. In decoding they count from
    the prompt's beginning and may lie in the prompt or in what is written.
    final_norm: state N after the final LayerNorm, as `Capture` has it by default, or before.

    An edit that changes nothing (adding 0, scaling by 1, swapping in a run's own states) gives the same bits as no edit.
    Tensors may require gradients, which flow back to them.

    Raises TypeError or ValueError for layers and positions as `Capture`, a position given twice, shapes that do not fit,
    values that are not finite, or a basis that is not orthonormal.
    """

    layers: Sequence[int]
    positions: Positions
    kind: Literal["add", "set", "scale"]
    values: Tensor
    basis: Tensor | None = None
    final_norm: bool = True
    _last_position: int = field(init=False, repr=False, default=-1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", state_numbers(self.layers))
        object.__setattr__(self, "positions", as_positions(self.positions))
        object.__setattr__(self, "_last_position", last_position(self.positions))
        if isinstance(self.positions, Tensor):
            ordered = self.positions.sort(dim=-1).values
            if bool((ordered[..., 1:] == ordered[..., :-1]).any()):
                raise ValueError("positions holds a token index twice in a row; give each once")
            # Its own tensor: graphs are made anew where one tensor is once the capture's positions too and once not.
            object.__setattr__(self, "positions", self.positions.clone())
        if self.kind not in ("add", "set", "scale"):
            raise ValueError(f"kind={self.kind!r}: use add, set or scale")
        if self.kind == "add" and self.basis is not None:
            raise ValueError("an added vector takes no basis: project it first")
        values = _finite("values", self.values)
        if not 0 < values.ndim <= 4 or values.numel() == 0:
            raise ValueError(f"values have shape {tuple(values.shape)}: need one that broadcasts to (B, K, L, D)")
        if self.kind == "scale" and values.shape[-1] != 1:
            raise ValueError(f"factors have shape {tuple(values.shape)}: need one that broadcasts to (B, K, L, 1)")
        values = values.reshape((1,) * (4 - values.ndim) + values.shape)
        if values.shape[2] not in (1, len(self.layers)):
            raise ValueError(f"values are for {values.shape[2]} layers, the intervention has {len(self.layers)}")
        object.__setattr__(self, "values", values)
        if self.basis is not None:
            object.__setattr__(self, "basis", _orthonormal(self.basis, len(self.layers)))

    @classmethod
    def add(
        cls, vector: Tensor, *, layers: Sequence[int], positions: Positions, final_norm: bool = True
    ) -> Intervention:
        """The state plus `vector`."""
        return cls(layers, positions, "add", vector, None, final_norm)

    @classmethod
    def set(
        cls,
        values: Tensor,
        basis: Tensor | None = None,
        *,
        layers: Sequence[int],
        positions: Positions,
        final_norm: bool = True,
    ) -> Intervention:
        """The state, or its part in the basis' span, replaced by that of `values` (of width D, with a basis too)."""
        return cls(layers, positions, "set", values, basis, final_norm)

    @classmethod
    def swap(
        cls,
        states: Tensor,
        basis: Tensor | None = None,
        *,
        layers: Sequence[int],
        positions: Positions,
        final_norm: bool = True,
    ) -> Intervention:
        """The state, or its part in the basis' span, replaced by that of another run: `states` (B, K, L, D)."""
        if states.ndim != 4:
            raise ValueError(
                f"states have shape {tuple(states.shape)}: need (B, K, L, D), as a Capture of a list of layers gives them"
            )
        return cls(layers, positions, "set", states, basis, final_norm)

    @classmethod
    def scale(
        cls,
        factor: float | Tensor,
        basis: Tensor | None = None,
        *,
        layers: Sequence[int],
        positions: Positions,
        final_norm: bool = True,
    ) -> Intervention:
        """The state, or its part in the basis' span, times `factor`."""
        factors = factor.reshape(factor.shape or (1,)) if isinstance(factor, Tensor) else torch.tensor([factor])
        return cls(layers, positions, "scale", factors.float(), basis, final_norm)

    @classmethod
    def project_out(
        cls, basis: Tensor, *, layers: Sequence[int], positions: Positions, final_norm: bool = True
    ) -> Intervention:
        """The state without its part in the basis' span."""
        return cls.scale(0.0, basis, layers=layers, positions=positions, final_norm=final_norm)

    def rows(self, numbers: Tensor, device: torch.device) -> Intervention:
        """The same request for some of the rows (their numbers, int64), on another device."""
        positions, values = self.positions, self.values
        if isinstance(positions, Tensor):
            positions = (positions[numbers] if positions.ndim == 2 else positions).to(device)
        if len(values) > 1:
            values = values[numbers]
        basis = None if self.basis is None else self.basis.to(device)
        return Intervention(self.layers, positions, self.kind, values.to(device), basis, self.final_norm)

    def check(self, rows: int, length: int, states: int, width: int, prompt_length: int | None) -> None:
        """Raise ValueError if this request does not fit tokens (rows, length) and a model of so many states and width."""
        check_fit("intervention", self.layers, self.positions, self._last_position, rows, length, states)
        start, stop = span(self.positions, prompt_length, length)
        places = self.positions.shape[-1] if isinstance(self.positions, Tensor) else stop - start
        for name, size, fitting in (
            ("rows", self.values.shape[0], rows),
            ("positions", self.values.shape[1], places),
            ("width", self.values.shape[3], 1 if self.kind == "scale" else width),
        ):
            if size not in (1, fitting) or (name == "width" and size != fitting):
                raise ValueError(f"intervention values have {name} {size}, but {fitting} of them are there to edit")
        if self.basis is not None and self.basis.shape[2] != width:
            raise ValueError(f"intervention basis has width {self.basis.shape[2]}, the model {width}")

    def numbers(self, length: int, prompt_length: int | None) -> Tensor:
        """Which of the K positions each token of a row is, -1 for none; int64 (B or 1, T)."""
        device = self.values.device
        if isinstance(self.positions, Tensor):
            places = self.positions.to(torch.int64)
            places = places if places.ndim == 2 else places[None]
            order = torch.arange(places.shape[1], device=device).expand_as(places)
            return torch.full((len(places), length), -1, device=device).scatter(1, places, order)
        start, stop = span(self.positions, prompt_length, length)
        order = torch.arange(length, device=device) - start
        return order.masked_fill((order < 0) | (order >= stop - start), -1)[None]


def check_finite(numbers: Tensor) -> None:
    """Raises NotFiniteError for what an edited model computed, where it is not finite."""
    if not bool(numbers.isfinite().all()):
        raise NotFiniteError("the edit made a number that is not finite: make its values, or its factor, smaller")


class Editor:
    """Applies an `Intervention` during one forward pass (traced into the graph, no hooks).

    number_BT: of the tokens that pass, as `Intervention.numbers` gives it.
    """

    def __init__(self, intervention: Intervention, number_BT: Tensor) -> None:
        self.intervention, self.number_BT = intervention, number_BT

    def edit(self, state: int, x_BTD: Tensor, first: int = 0) -> Tensor:
        """State number `state`, at the positions from `first` on, with the edit applied."""
        intervention = self.intervention
        if state not in intervention.layers:
            return x_BTD
        layer = list(intervention.layers).index(state)
        number_BT = self.number_BT[:, first:]
        values_BTD = _spread(intervention.values[:, :, min(layer, intervention.values.shape[2] - 1)], number_BT)
        basis_RD = None
        if intervention.basis is not None:
            basis_RD = intervention.basis[min(layer, len(intervention.basis) - 1)]
        if intervention.kind == "add":
            edited_BTD = x_BTD + values_BTD
        elif intervention.kind == "set":
            edited_BTD = values_BTD if basis_RD is None else x_BTD + _project(values_BTD - x_BTD, basis_RD)
        else:
            edited_BTD = (
                x_BTD * values_BTD if basis_RD is None else x_BTD + (values_BTD - 1) * _project(x_BTD, basis_RD)
            )
        return torch.where((number_BT >= 0)[:, :, None], edited_BTD, x_BTD).to(x_BTD.dtype)


def _spread(values_bkD: Tensor, number_BT: Tensor) -> Tensor:
    """Values of the K positions, put at the tokens that stand there; those elsewhere do not count."""
    if values_bkD.shape[1] == 1:
        return values_bkD
    rows, width = max(len(values_bkD), len(number_BT)), values_bkD.shape[2]
    number_BTD = number_BT.clamp(min=0)[:, :, None].expand(rows, -1, width)
    return values_bkD.expand(rows, -1, -1).gather(1, number_BTD)


def _project(x_BTD: Tensor, basis_RD: Tensor) -> Tensor:
    """The part of x in the span of the basis, in float32 whatever the model's products are in."""
    with torch.autocast(x_BTD.device.type, enabled=False):
        return (x_BTD.float() @ basis_RD.mT) @ basis_RD


def _finite(name: str, values: Tensor) -> Tensor:
    if not isinstance(values, Tensor) or not values.is_floating_point():
        raise TypeError(f"{name} must be a tensor of floating-point numbers, not {getattr(values, 'dtype', values)}")
    if not bool(values.detach().isfinite().all()):
        raise ValueError(f"{name} hold a number that is not finite")
    return values


def _orthonormal(basis: Tensor, layers: int) -> Tensor:
    """The basis as (L or 1, R, D), float32, checked."""
    if basis.ndim not in (2, 3) or not 1 <= basis.shape[-2] <= basis.shape[-1]:
        raise ValueError(f"basis has shape {tuple(basis.shape)}: need (R, D) or (L, R, D), R from 1 to D")
    basis = _finite("basis", basis).float()
    basis = basis if basis.ndim == 3 else basis[None]
    if len(basis) not in (1, layers):
        raise ValueError(f"basis is for {len(basis)} layers, the intervention has {layers}")
    fixed = basis.detach()
    missed = float((fixed @ fixed.mT - torch.eye(basis.shape[1], device=basis.device)).abs().max())
    if missed > ORTHONORMAL:
        raise ValueError(
            f"basis is not orthonormal: a product of two of its rows misses 0 or 1 by {missed:.2g}; "
            "use the rows of torch.linalg.qr(basis.mT).Q.mT"
        )
    return basis
