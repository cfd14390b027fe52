"""The progress bar of a training run."""

from __future__ import annotations

import sys

from karel_fast.support.progress import Progress
from karel_fast.training.metrics import Report


class TrainingBar(Progress):
    """Loss, tokens/s and MFU beside the bar; plain lines where there is no terminal. Call it with each Report."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._bar = self.bar("train", steps, note="compiling")

    def __enter__(self) -> TrainingBar:
        super().__enter__()
        return self

    def __call__(self, report: Report) -> None:
        mfu = "" if report.mfu is None else f"  {report.mfu:.0%} MFU"
        rate = "" if report.tokens_per_second is None else f"  {report.tokens_per_second:,.0f} tokens/s"
        note = f"loss {report.loss:.4f}{rate}{mfu}"
        self._bar.show(report.step, note=note)
        if not self.console.is_terminal:
            print(f"step {report.step}  {note}", file=sys.stderr, flush=True)
