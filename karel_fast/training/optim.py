"""The optimizers of a run, AdamW alone or Muon for the matrices inside the blocks and AdamW for the rest; the learning rate."""

from __future__ import annotations

import torch
from torch import Tensor

from karel_fast.model import Transformer
from karel_fast.training.config import OptimizerName
from karel_fast.training.muon import Muon


class Optimizers:
    """One or two torch optimizers stepped as one, with their state as a flat dict of named tensors (for safetensors).

    Weight decay acts on matrices only: not on the embedding, biases and LayerNorms.
    """

    def __init__(
        self,
        model: Transformer,
        name: OptimizerName,
        *,
        lr: float,
        weight_decay: float,
        betas: tuple[float, float],
        momentum: float,
        muon_dtype: torch.dtype = torch.float32,
    ) -> None:
        self.names: dict[Tensor, str] = {parameter: key for key, parameter in model.named_parameters()}
        hidden = [p for p in model.h.parameters() if p.ndim == 2]
        matrices = [model.lm_head.weight, *([] if name == "muon" else hidden)]
        decayed = {id(p) for p in (*matrices, *hidden)}
        others = [p for p in model.parameters() if id(p) not in decayed]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.parts: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=lr, betas=betas, fused=True)]
        if name == "muon":
            pairs = [(p, 3 if self.names[p].endswith("qkv_proj.weight") else 1) for p in hidden]
            self.parts.append(Muon(pairs, lr, weight_decay, momentum, muon_dtype))

    def step(self, lr: float) -> None:
        """Update every parameter with this learning rate and drop the gradients."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = lr
            part.step()
            part.zero_grad(set_to_none=True)

    def forget(self) -> None:
        """Drop what the optimizers remember of past gradients."""
        for part in self.parts:
            part.state.clear()

    def state_dict(self) -> dict[str, Tensor]:
        """Every state tensor under `<parameter name>/<state name>` (references, not copies)."""
        return {
            f"{self.names[parameter]}/{key}": tensor
            for part in self.parts
            for parameter, state in part.state.items()
            for key, tensor in state.items()
        }

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state_dict` gave. Raises ValueError if a parameter's state is missing, unknown or of another
        shape.
        """
        parameters = {key: parameter for parameter, key in self.names.items()}
        owner = {p: part for part in self.parts for group in part.param_groups for p in group["params"]}
        seen = set()
        for full, tensor in tensors.items():
            name, _, key = full.rpartition("/")
            if name not in parameters or (tensor.ndim and tensor.shape != parameters[name].shape):
                raise ValueError(
                    f"optimizer state {full!r} of shape {tuple(tensor.shape)} does not belong to this model"
                )
            parameter = parameters[name]
            # AdamW's step counter stays where fused AdamW wants it: with the parameter.
            owner[parameter].state[parameter][key] = tensor.to(parameter.device, copy=True)
            seen.add(name)
        if missing := sorted(set(parameters) - seen):
            raise ValueError(
                f"optimizer state of {missing[0]!r} is missing ({len(missing)} of {len(parameters)} parameters)"
            )
