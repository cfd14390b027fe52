"""Training, snapshots, resume and evaluation. Everything is loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from karel_fast.support.lazy import lazy

if TYPE_CHECKING:
    from karel_fast.training.config import TrainConfig as TrainConfig
    from karel_fast.training.loop import TrainingDiverged as TrainingDiverged
    from karel_fast.training.loop import TrainResult as TrainResult
    from karel_fast.training.loop import train as train
    from karel_fast.training.metrics import Report as Report

_HOME = {
    "Report": "metrics",
    "TrainConfig": "config",
    "TrainResult": "loop",
    "TrainingDiverged": "loop",
    "train": "loop",
}

__all__ = sorted(_HOME)

__getattr__, __dir__ = lazy(__name__, _HOME)
