"""The settings of a training run, of how its snapshots are evaluated, and of the samples it sees; without torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal, get_args

from karel_fast.data.sampling.active_examples import ActiveExamples
from karel_fast.data.sampling.philox import INDEX_BITS
from karel_fast.data.sampling.recipe import SPLITS, Split
from karel_fast.model.shape import PRECISIONS, Precision
from karel_fast.runs.folder import LOSS_TARGETS, LossTargets
from karel_fast.support.checks import InputError, one_of, real, whole
from karel_fast.support.settings import check_used, keep_whole, named, part, setting
from karel_fast.training.schedule import SCHEDULES, Schedule, first_difference

OptimizerName = Literal["muon", "adamw"]
OPTIMIZERS: tuple[str, ...] = get_args(OptimizerName)
Reduced = Literal["fp32", "bf16"]

# Of an optimizer's moving means: with 1 they would never move.
MOST_MEMORY = 0.999999
# May differ when a run is resumed, if no update that is done would have had another rate or loss.
EXTENDS = ("steps", "restarts", "later_lr", "program_after")
# What may differ when a run is resumed: none of these changes a number that the run computes, but for rounding on another device.
FREE_ON_RESUME = frozenset({"log_every", "snapshot_every", "extra_snapshots", "tensorboard", "device"})


@named
@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which samples a run is trained on, and which of their examples tell the truth."""

    samples: int = setting(0, "Training samples, used over and over; 0: never the same one twice.")
    first_sample: int = setting(
        0,
        "First sample of the train split to use: another place is another data order. A preset's runs begin elsewhere for every seed.",
    )
    active: ActiveExamples = part(ActiveExamples)

    def __post_init__(self) -> None:
        keep_whole(self, ("samples",), 0)
        keep_whole(self, ("first_sample",), 0, 2**INDEX_BITS - 1)


@named
@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of one run; every field is checked when it is made (ValueError or TypeError naming the field).

    schedule, warmup, decay_fraction, final_lr, restarts and later_lr are explained at `schedule.rate_factor`. A snapshot is written before
    the first update and after the last, too. precision "bf16" is autocast over float32 weights.
    """

    steps: int = setting(2000, "Optimizer updates.")
    batch_size: int = setting(32, "Rows per update, over all processes.")
    accumulate: int = setting(1, "Pieces each process takes its share of an update in: same gradients, less memory.")
    optimizer: OptimizerName = setting("muon", "muon (matrices inside blocks; AdamW for the rest) or adamw.")
    lr: float = setting(2e-3, "Peak learning rate.")
    weight_decay: float = setting(0.01, "How much weight matrices shrink in every update, as a factor of the rate.")
    beta1: float = setting(0.9, "AdamW's memory of the gradient.")
    beta2: float = setting(0.98, "AdamW's memory of its square.")
    momentum: float = setting(0.95, "Muon's memory of the gradient.")
    schedule: Schedule = setting("wsd", "wsd (warm-up, stable, decay), cosine, linear or constant.")
    warmup: int = setting(100, "Updates until the peak rate.")
    decay_fraction: float = setting(0.2, "Share of the updates over which wsd falls.")
    final_lr: float = setting(0.0, "Where the rate ends, as a factor of the peak.")
    restarts: Sequence[int] = setting(
        (),
        "Updates after which the schedule begins anew and the optimizer forgets, as in 24000,30000: a finished model goes on.",
    )
    later_lr: float = setting(1.0, "Peak rate after a restart, as a factor of lr; of no effect without restarts.")
    clip: float = setting(1.0, "Largest gradient norm; 0: none.")
    loss: LossTargets = setting(
        "all", "Which tokens are targets: all, as in the paper; outputs, and the program; or only the program."
    )
    program_after: int = setting(
        0, "Updates after which only the program is a target, whatever loss says; 0: loss says it to the end."
    )
    precision: Precision = setting("auto", "bf16, fp32, or auto: bf16 where the device multiplies it faster.")
    compile: bool = setting(True, "Compile the training step.")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N.")
    seed: int = setting(0, "Of the initial weights.")
    snapshot_every: int = setting(500, "Updates between snapshots.")
    extra_snapshots: str | Sequence[int] = setting(
        (), "More of them: log (after 1, 2, 4, .. updates, up to the first regular one), or updates, as in 50,100,250."
    )
    log_every: int = setting(10, "Updates between reports.")
    tensorboard: bool = setting(False, "Write TensorBoard files, too.")
    reduce: Reduced = setting("fp32", "Type that gradients travel in between processes: fp32 or bf16.")

    def __post_init__(self) -> None:
        keep_whole(self, ("steps", "batch_size", "accumulate", "snapshot_every", "log_every"), 1)
        keep_whole(self, ("warmup", "program_after"), 0)
        keep_whole(self, ("seed",), 0, 2**64 - 1)
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate={self.accumulate} does not divide batch_size={self.batch_size}")
        for name, low, high in (
            ("lr", 0.0, 10.0), ("weight_decay", 0.0, 1.0), ("beta1", 0.0, MOST_MEMORY), ("beta2", 0.0, MOST_MEMORY),
            ("momentum", 0.0, MOST_MEMORY),
            ("decay_fraction", 0.0, 1.0), ("final_lr", 0.0, 1.0), ("later_lr", 0.0, 1.0), ("clip", 0.0, float("inf")),
        ):  # fmt: skip
            object.__setattr__(self, name, real(name, getattr(self, name), low, high))
        for name, choices in (
            ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("loss", LOSS_TARGETS),
            ("precision", PRECISIONS), ("reduce", get_args(Reduced)),
        ):  # fmt: skip
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}: use one of {', '.join(choices)}")
        for name in ("compile", "tensorboard"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is {getattr(self, name)!r}; give true or false")
        if not isinstance(self.device, str):
            raise TypeError(f"device is {self.device!r}; give auto, cpu, cuda or cuda:N")
        if isinstance(self.extra_snapshots, str):
            one_of("extra_snapshots", self.extra_snapshots, ("log",))
        else:
            given = _updates("extra_snapshots", self.extra_snapshots)
            extra = tuple(whole("extra_snapshots", step, 1) for step in given)
            if extra and max(extra) > self.steps:
                raise ValueError(
                    f"extra_snapshots names update {max(extra)}, but the run ends after {self.steps}; name none beyond, or [] for none"
                )
            object.__setattr__(self, "extra_snapshots", extra)
        object.__setattr__(self, "restarts", self._checked_restarts())
        if self.program_after and self.loss == "program":
            raise ValueError(
                f'program_after is {self.program_after}, but loss is "program" from the beginning; set program_after to 0, or another loss'
            )
        if self.program_after >= self.steps:
            raise ValueError(
                f"program_after is {self.program_after}, but the run ends after {self.steps} updates; give less, or 0"
            )

    def _checked_restarts(self) -> tuple[int, ...]:
        given = _updates("restarts", self.restarts)
        if given and self.steps == 1:
            raise ValueError(f"restarts is {list(given)}, but a run of one update has nothing to restart after")
        restarts = tuple(whole("restarts", restart, 1) for restart in given)
        if any(before >= after for before, after in pairwise((0, *restarts, self.steps))):
            raise ValueError(
                f"restarts is {list(restarts)}; give updates in ascending order, below the run's {self.steps}, or [] for none"
            )
        return restarts

    def has_snapshot(self, step: int) -> bool:
        """Whether there is a snapshot after so many updates."""
        if step % self.snapshot_every == 0 or step == self.steps:
            return True
        if self.extra_snapshots == "log":
            return step < self.snapshot_every and step.bit_count() == 1
        return step in self.extra_snapshots

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def with_loss(self, step: int) -> int:
        """How many of the first `step` updates have the targets of `loss`; the others have only the program."""
        return _with_loss(step, self.program_after)

    def rates(self) -> dict[str, Any]:
        """The settings that `schedule.rate_factor` takes."""
        return _rates(asdict(self))

    def check_resume(self, earlier: dict[str, Any], done: int) -> None:
        """Raise ValueError if a run begun with the settings `earlier`, `done` updates ago, cannot go on exactly with these.

        The number of updates, the restarts and program_after may be others where that changes no rate and no loss of the updates that
        are done.
        """
        defaults = {field.name: field.default for field in fields(self)}
        if unknown := sorted(earlier.keys() - defaults.keys()):
            raise ValueError(
                f"cannot resume: the run was begun by another version, with a setting {unknown[0]!r} that this one has not"
            )
        earlier = defaults | earlier  # what a run's version did not know yet was as it is by default
        for field in fields(self):
            old, new = earlier[field.name], getattr(self, field.name)
            old = earlier[field.name] = tuple(old) if isinstance(old, list) else old
            may_differ = field.name in FREE_ON_RESUME or (field.name in EXTENDS and isinstance(old, type(new)))
            if not may_differ and old != new:
                raise ValueError(
                    f"cannot resume: {field.name} was {old!r} when the run began and is {new!r} now; "
                    "set it back, or train into a new folder"
                )
        before = _with_loss(done, earlier["program_after"])
        if self.with_loss(done) != before:
            raise ValueError(
                f"cannot resume with program_after={self.program_after} in place of {earlier['program_after']}: {done} updates are done, "
                f"{before} of them with loss {self.loss!r} and not {self.with_loss(done)}; set it back, or train into a new folder"
            )
        if self.rates() != _rates(earlier):
            self._check_extends(_rates(earlier), done)

    def _check_extends(self, earlier: dict[str, Any], done: int) -> None:
        def course(steps: int, restarts: Sequence[int]) -> str:
            return f"{steps} updates" + (f" with a restart after {', '.join(map(str, restarts))}" if restarts else "")

        asked = f"cannot resume with {course(self.steps, self.restarts)} in place of {course(earlier['steps'], earlier['restarts'])}"
        if self.steps < done:
            raise ValueError(f"{asked}: {done} are done; give at least as many, or train into a new folder")
        theirs, ours = ({step for step in restarts if step < done} for restarts in (earlier["restarts"], self.restarts))
        if theirs != ours:
            raise ValueError(
                f"{asked}: {done} updates are done, and after {min(theirs ^ ours)} the optimizer would have "
                f"{'forgotten' if min(theirs ^ ours) in ours else 'remembered'}; set it back, or train into a new folder"
            )
        at = first_difference(done, earlier, self.rates())
        if at is not None and earlier["later"] != self.later_lr:
            raise ValueError(
                f"cannot resume with later_lr={self.later_lr} in place of {earlier['later']}: {done} updates are done, and from update "
                f"{at} on they would have had another learning rate; set it back, or train into a new folder"
            )
        if at is not None:
            raise ValueError(
                f"{asked}: {done} updates are done, and from update {at} on they would have had another learning rate. Schedule "
                f"{self.schedule} can be extended only until it begins to fall, or by a restart where it ended; set it back, or train "
                "into a new folder"
            )


def _updates(name: str, value: object) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {value!r}; give a list of updates")
    return tuple(value)


def _with_loss(step: int, program_after: int) -> int:
    return min(step, program_after or step)


def _rates(settings: dict[str, Any]) -> dict[str, Any]:
    names = {"final": "final_lr", "later": "later_lr"}
    return {
        name: settings[names.get(name, name)]
        for name in ("steps", "warmup", "schedule", "decay_fraction", "final", "restarts", "later")
    }


@named
@dataclass(frozen=True, slots=True)
class SearchConfig:
    """Which programs are written for a specification beside the greedy one; ValueError naming a field that cannot be."""

    draws: int = setting(0, "Programs drawn at random for each specification, for pass@k; 0: none.")
    temperature: float = setting(1.0, "Of those draws: logits are divided by it; 0: the most probable token.")
    top_p: float = setting(1.0, "Of those draws: only the most probable tokens that reach this probability together.")
    draw_seed: int = setting(0, "Of those draws.")
    beam_width: int = setting(0, "Programs that a beam search keeps for each specification; 0: no search.")
    length_penalty: float = setting(0.0, "Of that search: log-probabilities are divided by tokens to this power.")

    def __post_init__(self) -> None:
        keep_whole(self, ("draws", "beam_width"), 0)
        keep_whole(self, ("draw_seed",), 0, 2**64 - 1)
        for name, low, high in (("temperature", 0, 100), ("top_p", 0, 1), ("length_penalty", 0, 10)):
            object.__setattr__(self, name, real(name, getattr(self, name), low, high))
        if self.top_p == 0:
            raise ValueError("top_p is 0, which leaves no token; give a number above 0, at most 1")
        if not self.draws:
            check_used(self, ("temperature", "top_p", "draw_seed"), "draws")
        if not self.beam_width:
            check_used(self, ("length_penalty",), "beam_width")


@named
@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """Which specifications a snapshot writes programs for; ValueError naming a field that cannot be.

    With examples that are not active, a program is right that is so on the active ones.
    """

    specifications: int = setting(1000, "Specifications to write programs for.")
    on_the_way: int | None = setting(
        None,
        "Specifications for snapshots before a run's last one (without it: as many as for that).",
    )
    split: Split = setting("test", "train, val or test.")
    start: int = setting(0, "First specification of the split.")
    shortest: int | None = setting(
        None, "Actions of the shortest programs behind the specifications (default: the recipe's)."
    )
    free: bool = setting(True, "Also decode without the grammar, for the parse rate.")
    ideal: bool = setting(False, "Also solve the specifications exactly: the loss's floor, and the shortest programs.")
    text: bool = setting(True, "Also compare lengths, the model's own text and the parts of the prompt.")
    search: SearchConfig = part(SearchConfig)
    active: ActiveExamples = part(ActiveExamples)

    def __post_init__(self) -> None:
        if not self.active.all_active:
            for name, asked in (
                ("ideal", self.ideal),
                ("draws", self.search.draws),
                ("beam_width", self.search.beam_width),
            ):
                if asked:
                    raise ValueError(
                        f"{name} is about specifications all of whose examples are true; leave it out, or active_examples"
                    )
        keep_whole(self, ("specifications", "on_the_way", "shortest"), 1)
        keep_whole(self, ("start",), 0)
        one_of("split", self.split, SPLITS)

    def check_outputs(self) -> None:
        """Raise InputError if these settings ask for what a model has not that writes outputs, and no programs."""
        for name, asked in (
            ("ideal", self.ideal),
            ("draws", self.search.draws),
            ("beam_width", self.search.beam_width),
            ("active_examples", not self.active.all_active),
        ):
            if asked:
                raise InputError(f"{name} is about programs, and the model's layout is interpreter: leave it out")

    def count(self, last: bool) -> int:
        """How many specifications a snapshot is evaluated on."""
        return self.specifications if last or self.on_the_way is None else self.on_the_way
