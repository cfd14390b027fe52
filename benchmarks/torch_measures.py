"""How graphs and memory are counted, and the device described."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch._dynamo.utils import counters
from torch.profiler import ProfilerActivity, profile


class Steady:
    """An action that counts the graphs compiled, and the graph breaks, in its calls after the first."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self.action, self.calls, self.later = action, 0, 0

    def __call__(self) -> Any:
        before = self.count()
        found = self.action()
        self.later += (self.count() - before) if self.calls else 0
        self.calls += 1
        return found

    @staticmethod
    def count() -> int:
        return counters["stats"]["unique_graphs"] + sum(counters["graph_break"].values())


def place(device: torch.device) -> dict[str, Any]:
    """The device, threads and version of torch."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def peak_bytes(action: Callable[[], Any], device: torch.device) -> int:
    """The most bytes of tensors alive at once during the call, beyond those alive before it: what torch's allocator gave out and took
    back, as CUDA's statistics or the profiler's memory events have it. Scratch memory inside one operator does not count."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        action()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        action()
    events = seen.profiler.kineto_results.events()
    sizes = np.array([event.nbytes() for event in events if event.name() == "[memory]"])
    return int(sizes.cumsum().max())
