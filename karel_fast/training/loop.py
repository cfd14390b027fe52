"""The training loop: one compiled graph for forward and backward, one row per sample, exact resume.

Shapes: B rows of one pass, T tokens, V vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CodeGenConfig

from karel_fast.data.sampling.active_examples import ActiveExamples
from karel_fast.model import Transformer
from karel_fast.model.batches import check_tokens
from karel_fast.model.compiling import compiled
from karel_fast.model.device import autocast, memory_advice, peak_flops, repeatable, resolve_device, resolve_precision
from karel_fast.model.transformer import fresh_model
from karel_fast.runs.folder import LossTargets
from karel_fast.runs.snapshots import (
    TrainingState,
    list_snapshots,
    remove_half_written,
    resume_file,
    snapshot_path,
    write_resume,
    write_snapshot,
)
from karel_fast.support.locks import locked
from karel_fast.training.config import TrainConfig
from karel_fast.training.distributed import Processes, join_processes
from karel_fast.training.metrics import MetricsFile, Report, Reporter, ReportProgress
from karel_fast.training.optim import Optimizers
from karel_fast.training.resuming import hash_of, model_hash, state_to_go_on_from
from karel_fast.training.rows import RowSource, prefetched
from karel_fast.training.schedule import rate_factor
from karel_fast.training.targets import Targets, loss_sum

Stop = Callable[[float], bool]
TRAINING_LOCK = ".training.lock"


class TrainingDiverged(RuntimeError):
    """The loss, a gradient or a weight stopped being finite, or the loss blew up. `step` and `snapshot` (the last
    good one) tell where.
    """

    def __init__(self, step: int, reason: str, snapshot: Path | None) -> None:
        kept = f"the last good snapshot is {snapshot}" if snapshot else "there is no snapshot yet"
        super().__init__(f"training diverged at step {step}: {reason}; {kept}. Lower lr, or raise warmup")
        self.step, self.snapshot = step, snapshot


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What `train` did: the model (on its device) after `step` updates, its snapshots, oldest first, and the last report
    (None if nothing was left to do).
    """

    model: Transformer
    snapshots: list[Path]
    report: Report | None
    step: int


def train(
    config: TrainConfig,
    model_config: CodeGenConfig,
    rows: RowSource,
    run_directory: str | Path,
    *,
    pad_id: int,
    tokenizer: Any = None,
    recipe: str = "",
    layout: str = "",
    samples: int = 0,
    first_sample: int = 0,
    active: ActiveExamples | None = None,
    shards: str = "",
    resume: bool = False,
    progress: ReportProgress | None = None,
    stop: Stop | None = None,
) -> TrainResult:
    """Train from scratch, or on from the newest state, and keep snapshots in
    `<run_directory>/snapshots/step-NNNNNN`.

    rows: see `rows.RowSource`; update s trains on rows s * batch_size up to (s + 1) * batch_size, whatever the number
    of processes. pad_id fills rows up on the right and is never a target. model_config.prompt_length is needed for
    config.loss "outputs" and "program" and for config.program_after, tokenizer (a `karel_fast.data.Tokenizer`) for
    "outputs". tokenizer, recipe (its JSON text), layout, samples (how many there are before they repeat, 0: never),
    first_sample (where in the split they begin) and active (which of their examples `rows` show as they are) go into
    every snapshot, and a resumed run must have the same. shards (the folder that `rows` come from) goes there, too, but
    may move.
    progress is called with every `Report`, on the first process. stop is asked after every report, on the first process,
    with the seconds that the next one is away; if it says yes, the state is saved, without a snapshot, and this call ends.

    The loss is the mean over all targets of the global batch, and resuming gives the same bits on a CPU with as many
    threads. The card says which precision was taken, and a run goes on in no other.

    On a CPU, `with karel_fast.support.memory.freed_memory_kept():` around this call saves page faults, as the commands do: at the
    size of preset `paper` a sixth to a third of the time.

    Raises ValueError for settings or rows that do not fit together, a run folder that already holds a run
    (resume=False), or a resume with another recipe, model or settings; FileNotFoundError if there is nothing to
    resume; BlockingIOError if another process is training there; `TrainingDiverged`; `NotEnoughMemory` (a ValueError).
    """
    processes, device = join_processes(resolve_device(config.device))
    if config.batch_size % (processes.world * config.accumulate):
        raise ValueError(
            f"batch_size={config.batch_size} is not a multiple of {processes.world} processes "
            f"x accumulate={config.accumulate}"
        )
    prompt_length = getattr(model_config, "prompt_length", None)
    for asked, name in (
        (config.loss != "all", f'loss="{config.loss}"'),
        (config.program_after, f"program_after={config.program_after}"),
    ):
        if asked and prompt_length is None:
            raise ValueError(f"{name} needs model_config.prompt_length")
    if config.loss == "outputs" and tokenizer is None:
        raise ValueError('loss="outputs" needs the tokenizer, which knows where the output worlds stand')
    run = Path(run_directory)
    dtype = resolve_precision(config.precision, device)
    card = {
        "recipe_hash": hash_of(recipe) if recipe else "",
        "recipe": recipe,
        "layout": layout,
        "samples": samples,
        "first_sample": first_sample,
        "active": None if active is None or active.all_active else asdict(active),
        "shards": shards,
        "pad_id": pad_id,
        "model_hash": model_hash(model_config),
        "precision": "bf16" if dtype == torch.bfloat16 else "fp32",
        "train": config.to_dict(),
    }
    if not resume and list_snapshots(run):
        raise ValueError(f"{run} already holds a run: resume it, or train into a new folder")
    if resume:
        resume_file(run)  # before a folder is made for nothing
    busy = f"{run}: another process is training in this folder: wait for it, or choose another folder"
    with locked(_made(run) / TRAINING_LOCK, busy) if processes.rank == 0 else nullcontext():
        if processes.rank == 0:
            remove_half_written(run)
        return _train(
            config, model_config, rows, run, card, processes, device, dtype, tokenizer, resume, progress, stop
        )


def _made(run: Path) -> Path:
    run.mkdir(parents=True, exist_ok=True)
    return run


def _train(
    config: TrainConfig,
    model_config: CodeGenConfig,
    rows: RowSource,
    run: Path,
    card: dict[str, Any],
    processes: Processes,
    device: torch.device,
    dtype: torch.dtype,
    tokenizer: Any,
    resume: bool,
    progress: ReportProgress | None,
    stop: Stop | None,
) -> TrainResult:
    remedy = f"lower batch_size ({config.batch_size}) or raise accumulate ({config.accumulate}), which divides it"
    with memory_advice(remedy), repeatable(device):
        state = state_to_go_on_from(config, model_config, run, card) if resume else None
        model = fresh_model(model_config, config.seed)
        if state is not None:
            model.load_state_dict(state.weights)
        model.to(device)
        optimizers = Optimizers(
            model,
            config.optimizer,
            lr=config.lr,
            weight_decay=config.weight_decay,
            betas=(config.beta1, config.beta2),
            momentum=config.momentum,
            muon_dtype=dtype,
        )
        start, seconds = 0, 0.0
        if state is not None:
            start, seconds = state.step, state.seconds
            if state.optimizer:  # there is none before the first update
                optimizers.load_state_dict(state.optimizer)
            del state
        work = _Run(config, model, optimizers, rows, run, card, processes, device, dtype, tokenizer, progress, stop)
        return work.go(start, seconds)


@dataclass(frozen=True, slots=True)
class _Loss:
    """What some updates learn: the targets, and their summed loss in a batch of rows, times a scale."""

    targets: Targets
    scaled: Callable[[Tensor, Tensor], Tensor]


class _Run:
    """One call of `train` at work."""

    def __init__(
        self,
        config: TrainConfig,
        model: Transformer,
        optimizers: Optimizers,
        rows: RowSource,
        run: Path,
        card: dict[str, Any],
        processes: Processes,
        device: torch.device,
        dtype: torch.dtype,
        tokenizer: Any,
        progress: ReportProgress | None,
        stop: Stop | None,
    ) -> None:
        self.config, self.model, self.optimizers, self.rows = config, model, optimizers, rows
        self.run, self.card, self.processes, self.device = run, card, processes, device
        self.dtype, self.tokenizer, self.progress, self.stop = dtype, tokenizer, progress, stop
        self.parameters = list(model.parameters())
        self.pad_id = card["pad_id"]
        self.length: int | None = None
        self.loss = self.loss_on(config.loss)
        self.later_loss = self.loss_on("program") if config.program_after else self.loss

    def loss_on(self, targets: LossTargets) -> _Loss:
        model, pad_id, device, dtype = self.model, self.pad_id, self.device, self.dtype
        learned = Targets(targets, model, pad_id, self.tokenizer)
        ignored = learned.ignored(device)

        def scaled_loss(tokens_BT: Tensor, scale: Tensor) -> Tensor:
            with autocast(device, dtype):
                part = None if ignored is None else ignored[: tokens_BT.shape[1]]
                return loss_sum(model, tokens_BT, learned.first, pad_id, part) * scale

        return _Loss(learned, compiled(scaled_loss) if self.config.compile else scaled_loss)

    def go(self, start: int, seconds: float) -> TrainResult:
        config = self.config
        self.model.train()
        if self.processes.rank == 0:
            self.run.mkdir(parents=True, exist_ok=True)
        if start == 0:
            self.save(0, 0.0)
        if config.has_snapshot(start):
            # It is missing where an earlier process was killed between state and snapshot. One process looks, for all: others might
            # see what it has just written, and then wait for it elsewhere.
            missing = self.processes.rank == 0 and not snapshot_path(self.run, start).is_dir()
            if self.processes.sum_number(float(missing), self.device) > 0:
                self.snapshot(start)
        losses: list[Tensor] = []
        done, rates = start, config.rates()
        with closing(self.batches(start)) as batches, self.reporter(start, seconds) as reporter:
            for step, batch in zip(range(start, config.steps), batches, strict=True):
                if step in config.restarts:
                    self.optimizers.forget()
                lr = config.lr * rate_factor(step, **rates)
                compiles = step in (start, config.program_after)
                if compiles and losses:
                    losses[-1].item()  # waits for the device
                began = reporter.clock if step == start else time.perf_counter()
                learned = self.loss if config.with_loss(step + 1) > step else self.later_loss
                loss, norm = self.update(batch, lr, learned)
                losses.append(loss)
                if compiles:
                    loss.item()
                    reporter.leave_out(began)  # compilation is not training time
                    asked = time.monotonic()
                done = step + 1
                if config.has_snapshot(done) or done % config.log_every == 0 or done == config.program_after:
                    # Only here does the host wait for the device.
                    mean, norm_value = torch.stack(losses).mean().item(), norm.item()
                    losses = []
                    self.check(done, mean, norm_value)
                    length = batch.shape[1]
                    reporter.report(
                        done,
                        mean,
                        lr,
                        norm_value,
                        tokens_per_step=config.batch_size * length,
                        flops_per_step=self.flops(done, length) - self.flops(step, length),
                        flops=self.flops(done, length),
                        targets=learned.targets.loss,
                    )
                    if config.has_snapshot(done):
                        self.save(done, reporter.seconds)
                        self.snapshot(done)
                        reporter.skip_pause()
                    asked, before = time.monotonic(), asked
                    if done < config.steps and self.stops(asked - before):
                        if not config.has_snapshot(done):
                            self.save(done, reporter.seconds)
                        break
        self.model.eval()
        return TrainResult(self.model, list_snapshots(self.run), reporter.last, done)

    def stops(self, seconds: float) -> bool:
        """Whether to end here, the next chance being so many seconds away; all processes agree."""
        if self.stop is None:
            return False
        wish = self.processes.rank == 0 and self.stop(seconds)
        return self.processes.sum_number(float(wish), self.device) > 0

    def reporter(self, start: int, seconds: float) -> Reporter:
        """Writes reports on the first process, and only counts on the others."""
        main = self.processes.rank == 0
        peak = peak_flops(self.device, self.dtype)
        return Reporter(
            MetricsFile(self.run, start, self.config.tensorboard) if main else None,
            self.progress if main else None,
            start,
            None if peak is None else peak * self.processes.world,
            seconds,
        )

    def batches(self, start: int) -> Generator[np.ndarray, None, None]:
        """This process's rows of every update from `start` on."""
        share = self.config.batch_size // self.processes.world
        first = self.processes.rank * share
        ranges = ((step * self.config.batch_size + first, share) for step in range(start, self.config.steps))
        return prefetched(self.fetch, ranges)

    def flops(self, step: int, length: int) -> float:
        """Floating-point operations of the first `step` updates, with rows of so many tokens; the last one is only a target."""
        early = self.config.with_loss(step)
        positions = self.config.batch_size * (length - 1)
        return positions * sum(
            updates * self.model.flops_per_token(length - 1, loss.targets.first)
            for updates, loss in ((early, self.loss), (step - early, self.later_loss))
        )

    def fetch(self, start: int, count: int) -> np.ndarray:
        """Rows from the source, checked: (count, T) int64."""
        rows = self.rows(start, count)
        name = f"rows({start}, {count})"
        check_tokens(name, rows, f"({count}, T)", self.model.tokens)
        if len(rows) != count:
            raise ValueError(f"{name} has {len(rows)} rows: need integers ({count}, T)")
        if self.length is None:
            self.length = rows.shape[1]
            self.model.check_length(self.length - 1)
            prompt = self.later_loss.targets.first + 1
            if self.length <= prompt:
                raise ValueError(f"rows of {self.length} tokens hold no target after a prompt of {prompt}")
        if rows.shape[1] != self.length:
            raise ValueError(f"{name} has {rows.shape[1]} tokens a row, the earlier ones {self.length}")
        return rows.astype(np.int64)

    def update(self, batch: np.ndarray, lr: float, learned: _Loss) -> tuple[Tensor, Tensor]:
        """One optimizer step; the global mean loss before it and the gradient's norm, both still on the device."""
        targets = learned.targets.count(batch)
        scale = torch.tensor(1.0 / max(1.0, self.processes.sum_number(targets, self.device)), device=self.device)
        total = torch.zeros((), device=self.device)
        for piece in np.split(batch, self.config.accumulate):
            tokens_BT = torch.from_numpy(piece).to(self.device, non_blocking=True)
            loss = learned.scaled(tokens_BT, scale)
            loss.backward()
            total += loss.detach()
        self.processes.sum_gradients(self.parameters, torch.bfloat16 if self.config.reduce == "bf16" else torch.float32)
        self.processes.sum_tensor(total)
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self.config.clip:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.config.clip, norm)
        self.optimizers.step(lr)
        return total, norm

    def check(self, step: int, loss: float, norm: float) -> None:
        """Raise TrainingDiverged unless all is finite and the loss is below twice that of a uniform guess."""
        limit = 2 * math.log(self.model.config.vocab_size) + 1
        reason = None
        if not math.isfinite(loss):
            reason = f"the loss is {loss}"
        elif not math.isfinite(norm):
            reason = f"the gradient's norm is {norm}"
        elif loss > limit and step > self.config.warmup:
            reason = f"the loss is {loss:.3g}, more than twice a uniform guess's"
        if reason is not None:
            snapshots = list_snapshots(self.run)
            raise TrainingDiverged(step, reason, snapshots[-1] if snapshots else None)

    def save(self, step: int, seconds: float) -> None:
        """Write the state to resume from, after checking that every weight is finite."""
        if not all(torch.isfinite(p).all() for p in self.parameters):
            snapshots = list_snapshots(self.run)
            raise TrainingDiverged(step, "a weight is not finite", snapshots[-1] if snapshots else None)
        if self.processes.rank == 0:
            state = TrainingState(step, seconds, self.card, self.model.state_dict(), self.optimizers.state_dict())
            write_resume(self.run, state)
        self.processes.barrier()

    def snapshot(self, step: int) -> None:
        """Write a snapshot of the weights that `save` has just written: killed in between, a resumed run writes it."""
        if self.processes.rank == 0:
            write_snapshot(self.run, step, self.model, self.card, self.tokenizer)
        self.processes.barrier()
