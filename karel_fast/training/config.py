"""The settings of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from karel_fast.training.optim import OPTIMIZERS, SCHEDULES, OptimizerName, Schedule

# What may differ when a run is resumed: none of these changes a number that the run computes.
FREE_ON_RESUME = frozenset({"log_every", "snapshot_every", "tensorboard", "device"})


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of one run; every field is checked when it is made (ValueError naming the field).

    steps: optimizer updates in all. batch_size: rows per update, over all processes; accumulate: pieces each process
    takes its share in (same gradients, less memory). optimizer: "muon" (matrices inside blocks; AdamW for the rest)
    or "adamw". lr: peak rate of both. schedule, warmup, decay_fraction, final_lr: see `schedule.rate_factor`
    (final_lr is a factor of lr). clip: largest gradient norm, 0 for none. loss: which tokens are targets: "all", as in
    the paper; the cells of the "outputs" and the program (all that follows from what stands before it, where the input
    worlds are noise); or only the "program". precision: "bf16" (autocast over float32 weights), "fp32", or "auto": bf16
    where the device has bf16 products. compile: torch.compile the training step. device: "auto", "cpu", "cuda" or
    "cuda:N". snapshot_every: updates between snapshots (one is written before the first update and one after the
    last, too). reduce: dtype that gradients travel in between processes.
    """

    steps: int
    batch_size: int = 32
    accumulate: int = 1
    optimizer: OptimizerName = "muon"
    lr: float = 2e-3
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.98
    momentum: float = 0.95
    schedule: Schedule = "wsd"
    warmup: int = 100
    decay_fraction: float = 0.2
    final_lr: float = 0.0
    clip: float = 1.0
    loss: Literal["all", "outputs", "program"] = "all"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    compile: bool = True
    device: str = "auto"
    seed: int = 0
    snapshot_every: int = 1000
    log_every: int = 10
    tensorboard: bool = False
    reduce: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        for name, least in (
            ("steps", 1),
            ("batch_size", 1),
            ("accumulate", 1),
            ("snapshot_every", 1),
            ("log_every", 1),
            ("warmup", 0),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r}: use a whole number of at least {least}")
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate={self.accumulate} does not divide batch_size={self.batch_size}")
        for name, low, high in (
            ("lr", 0.0, 10.0), ("weight_decay", 0.0, 1.0), ("beta1", 0.0, 1.0), ("beta2", 0.0, 1.0),
            ("momentum", 0.0, 1.0),
            ("decay_fraction", 0.0, 1.0), ("final_lr", 0.0, 1.0), ("clip", 0.0, float("inf")),
        ):  # fmt: skip
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ValueError(f"{name}={value!r}: use a number from {low:g} to {high:g}")
        for name, choices in (
            ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("loss", ("all", "outputs", "program")),
            ("precision", ("auto", "bf16", "fp32")), ("reduce", ("fp32", "bf16")),
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}: use one of {', '.join(choices)}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def check_resume(self, earlier: dict[str, Any]) -> None:
        """Raise ValueError if a run begun with the settings `earlier` cannot go on exactly with these."""
        for field in fields(self):
            old, new = earlier.get(field.name), getattr(self, field.name)
            if field.name not in FREE_ON_RESUME and old != new:
                raise ValueError(
                    f"cannot resume: {field.name} was {old!r} when the run began and is {new!r} now; "
                    "set it back, or train into a new folder"
                )
