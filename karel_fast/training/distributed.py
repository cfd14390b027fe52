"""Data-parallel training under torchrun: every process takes its share of each global batch, gradients are summed.

The gradients are reduced after the backward pass, in a few large buckets, rather than by DistributedDataParallel's
hooks: the compiled training step stays one graph, and the sum over processes divided by the global number of targets
is exactly the gradient of one process with the same global batch (up to rounding).
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from karel_fast.support.checks import InputError

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun tells its processes."""

BUCKET = 32 * 1024 * 1024  # elements: few enough calls, and still some overlap between them


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run. `world` is 1 outside torchrun."""

    rank: int = 0
    world: int = 1

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            dist.barrier()

    def sum_number(self, value: float, device: torch.device) -> float:
        """The sum of one number over all processes."""
        if self.world == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=device)
        dist.all_reduce(tensor)
        return tensor.item()

    def sum_tensor(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes (in place)."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_gradients(self, parameters: Iterable[Tensor], dtype: torch.dtype) -> None:
        """Replace every gradient by its sum over all processes, sent as `dtype`."""
        if self.world == 1:
            return
        buckets: list[list[Tensor]] = [[]]
        for parameter in parameters:
            if parameter.grad is None:
                continue
            if sum(g.numel() for g in buckets[-1]) + parameter.grad.numel() > BUCKET and buckets[-1]:
                buckets.append([])
            buckets[-1].append(parameter.grad)
        flats = [torch.cat([g.reshape(-1) for g in bucket]).to(dtype) for bucket in buckets]
        works = [dist.all_reduce(flat, async_op=True) for flat in flats]
        for bucket, flat, work in zip(buckets, flats, works, strict=True):
            if work is not None:
                work.wait()
            for gradient, piece in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(piece.view_as(gradient))


def join_processes(device: torch.device) -> tuple[Processes, torch.device]:
    """Join the processes that torchrun started (nccl on CUDA, gloo on CPU); alone if there are none.

    Returns who we are and our device (CUDA: that of our local rank). A group that is opened here serves all trainings of this
    process and is closed at its end; one that the caller has opened stays the caller's. Raises InputError for an environment
    that names only some of what torchrun sets.
    """
    if not _among_others():
        return Processes(), device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        # Not sooner: a group opened again finds the addresses of the one before it in torchrun's store, and may wait there for ever.
        atexit.register(_leave)
    return Processes(dist.get_rank(), dist.get_world_size()), device


def _leave() -> None:
    """Close the group, unless somebody has done so."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _among_others() -> bool:
    """Whether the environment says that this process is one of several."""
    there = [name for name in VARIABLES if os.environ.get(name)]
    # Some clusters say where to meet, whoever comes.
    if not {"RANK", "WORLD_SIZE"} & set(there):
        return False
    if missing := [name for name in VARIABLES if name not in there]:
        raise InputError(
            f"the environment has {' and '.join(there)}, but not {', '.join(missing)}: start with torchrun, which sets all, "
            f"or unset {' and '.join(name for name in there if name in ('RANK', 'WORLD_SIZE'))} to train alone"
        )
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"):
        if not os.environ[name].isdecimal():
            raise InputError(f"the environment's {name} is {os.environ[name]!r}; it must be a whole number")
    return True
