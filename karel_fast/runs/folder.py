"""Where everything of a run lies, and the only place that says so.

    RUN/config.json                     the run's settings, as `reproduce` wrote them
    RUN/snapshots/step-000100/          a Hugging Face folder and its card, see `karel_fast.runs.snapshots`
    RUN/resume.safetensors              the newest state of training, see there
    RUN/metrics.jsonl                   one training log line per entry: {"step", "loss", "targets", ...}
    RUN/tensorboard/                    the same for TensorBoard, if asked
    RUN/evaluation/step-000100.json     what the snapshot generates: the metrics of `karel_fast.training.evaluate.evaluate`,
                                        or of karel_fast.training.interpret, any of which may be missing or null
    RUN/probing/step-000100.json        probe scores: {"step", "records", "differences", "notes", ...}
    RUN/probing/step-000100.npz         sums of every probe, per test program and per place in a program; closer, latent too
    RUN/probing/step-000100.safetensors the weights of those probes, if asked; closer, latent too
    RUN/closer/step-000100.json         the same of a closer look at one snapshot: more programs, depths, baselines
    RUN/paper-grid/step-000100.json     the same of the published code's grid of probes; RUN/paper: trained as there, too
    RUN/paper-grid/step-000100.pieces/  the pieces of such a grid that are done, until all are (karel_fast.probing.pieces)
    RUN/examples/step-000100.json       a few specifications with the written program, its trace and what probes read
    RUN/latent/space/step-000100.json   probe scores on programs the model only read; input, space: what stood in place
                                        of the specifications' outputs; shown: the outputs themselves
    RUN/rank/step-000100.json           probe scores under every bijective mapping (karel_fast.probing.mapping_rank); pieces beside it
    RUN/latent-grid/step-000100.json    the grid of latent causal probing, over seeds (karel_fast.probing.latent_grid); pieces beside it
    RUN/steering/step-000100.json       {"step", "sites", "records", ..}: what is written while states are edited; pieces beside it
    RUN/tables/step-000100/NAME/        hidden states (karel_fast.probing.table): train, validation, test, ...
    RUN/time.json                       wall seconds of each stage: {"train": {"seconds", "longest"}, ...}
    RUN/summary.json                    the few numbers that people quote, and what they cost: karel_fast.analysis.summary
    RUN/report/report.html              and results.json (karel_fast.analysis.results), figures/*.png, *.svg, *.csv

Results of one kind and other settings than the run's own stand beside these: RUN/probing/settings-1a2b3c4d/step-000100.json
(`karel_fast.runs.side_by_side`), and what is reported of them in RUN/report/settings-1a2b3c4d/.

JSON has no NaN: a missing number is null. Every file is whole or absent (`karel_fast.support.files`); only metrics.jsonl
grows line by line, so that its last one may be cut short by a kill.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args

from karel_fast.runs.contents import CONFIG_SHAPE, check_result, checked
from karel_fast.support.checksums import CARD as CARD
from karel_fast.support.files import as_text, parse_json, read_json_if_whole
from karel_fast.support.shapes import anything

CONFIG, METRICS, TENSORBOARD, TIME = "config.json", "metrics.jsonl", "tensorboard", "time.json"
"""Files that are written before there is a folder to be read; the folder makes paths of all others."""
LossTargets = Literal["all", "outputs", "program"]
LOSS_TARGETS: tuple[str, ...] = get_args(LossTargets)
"""Which tokens a loss of the training log is of: all; outputs, and the program; or only the program."""
PAPER = ("paper-grid", "paper")
"""Folders of the published code's grid of probes: trained our way, and as there."""
SNAPSHOTS = "snapshots"
"""Where snapshots lie; CARD says of one where it comes from: `karel_fast.runs.snapshots` writes and reads them."""
LATENT = {"latent/shown": None, "latent/input": "input", "latent/space": "space"}
"""Folders of latent causal probing, and what is withheld in each."""

_STEP = re.compile(r"step-(\d{1,15})", re.ASCII)


def step_name(step: int) -> str:
    """`step-000100`: the name of a snapshot everywhere in a run folder."""
    return f"step-{step:06d}"


def step_of(name: str) -> int | None:
    """100 for `step-000100`, None for any other name."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match else None


class RunFolder:
    """The files of one run. Raises FileNotFoundError when the folder is not there.

    settings: read the results of these settings (`settings-1a2b3c4d`) wherever there are some, and report of them; ValueError if
    there are none. Reading skips what is damaged or not JSON and notes it in `.problems`, one line each, so that a report of the
    others can be made and says what it left out. What is whole and holds something else than its kind does is an InputError that names
    the file and the key: nobody knows what its numbers are (`karel_fast.runs.contents`).
    """

    def __init__(self, path: str | Path, settings: str | None = None) -> None:
        self.path = Path(path)
        self.settings_name = settings
        self.problems: list[str] = []
        if not self.path.is_dir():
            raise FileNotFoundError(f"there is no run folder at {self.path}")
        if settings is not None and settings not in (known := self.beside()):
            there = f"there are {', '.join(known)}" if known else "all have the run's own"
            raise ValueError(f"{self.path} has no results of {settings}; {there}")

    def beside(self) -> dict[str, list[str]]:
        """The settings other than the run's own that there are results of, and the kinds of these: {"settings-1a2b3c4d": ["probing"]}."""
        kinds: dict[str, list[str]] = {}
        for path in sorted([*self.path.glob("*/settings-*"), *self.path.glob("*/*/settings-*")]):
            kind = path.parent.relative_to(self.path).as_posix()
            if path.is_dir() and kind != "report":
                kinds.setdefault(path.name, []).append(kind)
        return dict(sorted(kinds.items()))

    def _shown(self, kind: str) -> str:
        """Where a kind's results are read: those of `settings_name`, if there are any."""
        return f"{kind}/{self.settings_name}" if self.has_other(kind) else kind

    def has_other(self, kind: str) -> bool:
        """Whether there are results of this kind that have the other settings that were asked for."""
        return self.settings_name is not None and (self.path / kind / self.settings_name).is_dir()

    def file(self, kind: str, step: int) -> Path:
        """The JSON file of a snapshot; `kind` is evaluation, probing, closer, examples, rank, steering, or one of PAPER or LATENT."""
        return self.path / self._shown(kind) / f"{step_name(step)}.json"

    def sums(self, kind: str, step: int) -> Path:
        """The sums beside a snapshot's probe records, in their order; see `karel_fast.probing.clusters` and `places`."""
        return self.file(kind, step).with_suffix(".npz")

    def probes(self, kind: str, step: int) -> Path:
        """The weights of a snapshot's probes, in the order of their records, if they were asked for; see
        `karel_fast.probing.probes.storage`.
        """
        return self.file(kind, step).with_suffix(".safetensors")

    def pieces(self, kind: str, step: int) -> Path:
        """The folder of what is done of a snapshot's grid of probes that is kept in pieces."""
        return self.path / kind / f"{step_name(step)}.pieces"

    def table(self, step: int, name: str) -> Path:
        """The folder of a snapshot's hidden states."""
        return self.path / "tables" / step_name(step) / name

    @property
    def page(self) -> Path:
        return self._report / "report.html"

    @property
    def results(self) -> Path:
        return self._report / "results.json"

    @property
    def figures(self) -> Path:
        return self._report / "figures"

    @property
    def _report(self) -> Path:
        return self.path / "report" / (self.settings_name or "")

    @property
    def settings(self) -> Path:
        return self.path / CONFIG

    @property
    def summary(self) -> Path:
        return (self._report if self.settings_name else self.path) / "summary.json"

    def times(self) -> dict[str, Any]:
        """What each stage took, {} when nobody has timed them."""
        path = self.path / TIME
        found = self._read(path) or {} if path.exists() else {}
        checked(found, anything, path)
        return found

    def trained_with(self) -> dict[str, Any]:
        """What the last snapshot's card says of its training, named as in config.json; {} if there is none."""
        path = self._last_card()
        card = read_json_if_whole(path) if path else None
        if not card or not isinstance(card.get("train"), dict):
            return {}
        parts = {name: card.get(name) for name in ("recipe_hash", "layout", "model_hash", "samples", "active")}
        return {**parts, "training": card["train"], "data": {"first_sample": card.get("first_sample", 0)}}

    def config(self) -> dict[str, Any]:
        """The run's settings, {} when it has none."""
        found = self._read(self.settings) or {} if self.settings.exists() else {}
        checked(found, CONFIG_SHAPE, self.settings)
        return found

    def recipe(self) -> str | dict[str, Any] | None:
        """What the run was trained on: the JSON text in a snapshot's card, or the table in the run's settings; None without both."""
        path = self._last_card()
        found = (self._read(path) or {}).get("recipe") if path else None
        if isinstance(found, str):
            return found
        experiment = self.config().get("experiment")
        return dict(experiment.get("recipe", {})) if isinstance(experiment, dict) else None

    def _last_card(self) -> Path | None:
        """That of the snapshot with the most updates; None without any."""
        paths = [path for path in (self.path / SNAPSHOTS).glob(f"*/{CARD}") if step_of(path.parent.name) is not None]
        return max(paths, key=lambda path: step_of(path.parent.name) or 0, default=None)

    def metrics(self) -> list[dict[str, Any]]:
        """The training log, by step."""
        path = self.path / METRICS
        lines = []
        if path.exists():
            for number, line in enumerate(path.read_bytes().splitlines(), 1):
                try:
                    value = parse_json(as_text(line, METRICS), METRICS)
                except ValueError:
                    self._problem(f"{METRICS} line {number} is not whole; it was left out")
                    continue
                if isinstance(value, dict) and type(value.get("step")) is int and 0 <= value["step"] < 10**15:
                    lines.append(value)
        return sorted(lines, key=lambda v: v["step"])

    def read_all(self, kind: str) -> dict[int, dict[str, Any]]:
        """Every snapshot's file of `kind` by step, in order of steps."""
        values = {}
        folder = self.path / self._shown(kind)
        for path in sorted(folder.glob("step-*.json")) if folder.is_dir() else ():
            step = step_of(path.stem)
            value = None if step is None else self._read(path)
            if step is not None and value is not None:
                check_result(value, kind, path, step)
                values[step] = value
        return dict(sorted(values.items()))

    def _read(self, path: Path) -> dict[str, Any] | None:
        value = read_json_if_whole(path)
        if value is None:
            self._problem(f"{path.relative_to(self.path)} is not whole; it was left out")
        return value

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)
