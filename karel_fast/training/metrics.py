"""What a run reports while it goes: one JSON line per report, always; TensorBoard if asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from karel_fast.runs.folder import METRICS, TENSORBOARD, LossTargets
from karel_fast.support.files import as_text, parse_json, write_bytes


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a run after `step` updates.

    loss: mean next-token cross entropy, in nats, over the steps since the last report; targets: the tokens that it is
    of, as `TrainConfig.loss`; lr and grad_norm: of the last step (norm before clipping); tokens: trained on so far;
    flops: spent on them, as `Transformer.flops_per_token` counts; tokens_per_second, mfu (share of the device's peak;
    None if that is unknown): since the last report; seconds: training time so far, over every process that took part of
    the run, without compiling and without writing snapshots.
    """

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    flops: float
    tokens_per_second: float | None
    mfu: float | None
    seconds: float
    targets: LossTargets


ReportProgress = Callable[[Report], None]


class Reporter:
    """Keeps a run's clock and makes its reports; a context manager that closes the metrics file.

    metrics and progress may be None. first_step: where this process began, after so many seconds of training by
    earlier ones. peak: FLOP/s of all devices, if known.
    """

    def __init__(
        self,
        metrics: MetricsFile | None,
        progress: ReportProgress | None,
        first_step: int,
        peak: float | None,
        seconds: float = 0.0,
    ) -> None:
        self.metrics, self.progress, self.step, self.peak = metrics, progress, first_step, peak
        self.clock, self.seconds = time.perf_counter(), seconds
        self.untimed = 0
        self.last: Report | None = None

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        if self.metrics is not None:
            self.metrics.close()

    def leave_out(self, began: float) -> None:
        """An update that compiles, begun then on `time.perf_counter`, is done: it counts as one of the next ones."""
        self.clock += time.perf_counter() - began
        self.step, self.untimed = self.step + 1, self.untimed + 1

    def skip_pause(self) -> None:
        """Leave out the time since the last report (a snapshot was written)."""
        self.clock = time.perf_counter()

    def report(
        self,
        step: int,
        loss: float,
        lr: float,
        norm: float,
        *,
        tokens_per_step: int,
        flops_per_step: float,
        flops: float,
        targets: LossTargets,
    ) -> None:
        """flops: of all updates; flops_per_step: of one like the last."""
        elapsed, steps = time.perf_counter() - self.clock, step - self.step
        self.seconds += elapsed
        if steps and self.untimed:
            self.seconds += elapsed / steps * self.untimed
            self.untimed = 0
        # Where the clock has just been started, nothing has been timed.
        mfu = None if self.peak is None or not steps else steps * flops_per_step / elapsed / self.peak
        rate = steps * tokens_per_step / elapsed if steps else None
        self.last = Report(step, loss, lr, norm, step * tokens_per_step, flops, rate, mfu, self.seconds, targets)
        self.clock, self.step = time.perf_counter(), step
        if self.metrics is not None:
            self.metrics.write(self.last)
        if self.progress is not None:
            self.progress(self.last)


class MetricsFile:
    """Appends reports to <run>/metrics.jsonl; on resume, drops the lines after the step that the run goes on from."""

    def __init__(self, run: Path, step: int, tensorboard: bool) -> None:
        path = run / METRICS
        kept = [line for line in path.read_bytes().splitlines(True) if _step(line) <= step] if path.is_file() else []
        write_bytes(path, b"".join(kept), tag="new")  # one process trains here: what a killed one left is written over
        self.file = path.open("a", buffering=1)
        self.board: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ValueError("tensorboard=True needs the package: pip install karel_fast[tensorboard]") from error
            self.board = SummaryWriter(str(run / TENSORBOARD), purge_step=step + 1)

    def write(self, report: Report) -> None:
        values = asdict(report)
        self.file.write(json.dumps(values) + "\n")
        if self.board is not None:
            for name, value in values.items():
                if name not in ("step", "targets") and value is not None:
                    self.board.add_scalar(name, value, report.step)

    def close(self) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()


def _step(line: bytes) -> float:
    """The step of a line; infinity, so that it is left out, for one that is not whole."""
    try:
        step = parse_json(as_text(line, METRICS), METRICS)["step"]
    except (ValueError, TypeError, KeyError):
        return float("inf")
    return step if isinstance(step, int) else float("inf")
