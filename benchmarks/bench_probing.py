"""Probing: building labels, training the 675 probes of an experiment together, and the report.

Probes: 3 features x 3 depths x 3 semantics x 5 offsets x 5 seeds. The plain loop trains one probe of each feature and depth, and its time
is multiplied; so is ours, where a size trains fewer together. The published code trains for 100 epochs, ours for 6 or 7 with a falling
rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import OURS, Compare, Contender, Figure
from fake_run import make as make_fake_run
from probing_setup import CLASSES, PROBING_SIZES, WORLDS, PlainProbe, PublishedProbe, Size, split, synthetic
from torch_measures import place

import karel_fast as kf
from karel_fast.karel.language import CompiledPrograms
from karel_fast.model.device import resolve_device, resolve_precision
from karel_fast.probing.features import FEATURES, Setting, label_set
from karel_fast.probing.probes.training import DEPTHS, TEST, TRAIN, ProbeConfig, Task, train_probes
from karel_fast.report import write_report

pytestmark = pytest.mark.timeout(3600)
PER_SHAPE = 75  # probes of one feature and depth: 3 semantics x 5 offsets x 5 seeds
PUBLISHED_EPOCHS = 100


@dataclass(frozen=True)
class Bench:
    size: Size
    device: torch.device
    dtype: torch.dtype
    precision: str
    config: ProbeConfig
    states: torch.Tensor
    labels: dict[str, np.ndarray]

    @property
    def setting(self) -> dict[str, Any]:
        return {
            **place(self.device),
            "precision": self.precision,
            "rows": self.size.rows,
            "rows of a timed epoch": self.size.epoch_rows,
            "width": self.size.width,
            "hidden layers": {depth: list(sizes) for depth, sizes in DEPTHS.items()},
            "batch": self.config.batch_size,
            "epochs": self.epochs,
            "tasks together": self.size.tasks,
            "seeds together": self.size.seeds,
        }

    @property
    def epochs(self) -> int:
        """As many as `train_probes` makes of all rows: few rows are gone through more often."""
        steps = int((split(self.size.rows) == TRAIN).sum()) // self.config.batch_size
        return max(self.config.epochs, -(-self.config.least_steps // max(1, steps)))

    @property
    def scale(self) -> float:
        return PER_SHAPE / (self.size.tasks * self.size.seeds)

    def tasks(self, feature: str, rows: int) -> list[Task]:
        """Tasks of one feature; the first has the true labels, the others those of other rows."""
        labels = self.labels[feature][:rows]
        return [Task({"task": i}, np.roll(labels, i, 0), CLASSES[feature]) for i in range(self.size.tasks)]

    def together(self, rows: int, features: list[str], config: ProbeConfig) -> list[Any]:
        tasks = [task for feature in features for task in self.tasks(feature, rows)]
        seeds = range(self.size.seeds)
        return train_probes(self.states[:rows], tasks, split(rows), seeds=seeds, config=config, device=self.device)

    def plain(self, depth: str, feature: str, rows: int) -> PlainProbe:
        return PlainProbe(
            DEPTHS[depth], feature, self.states[:rows], self.labels[feature][:rows], self.device, self.dtype,
            self.config.batch_size,
        )  # fmt: skip


@pytest.fixture(scope="module")
def bench(size: str, pytestconfig: pytest.Config) -> Bench:
    chosen = PROBING_SIZES[size]
    device = resolve_device(pytestconfig.getoption("device"))
    dtype = resolve_precision("auto", device)
    low = dtype == torch.bfloat16
    config = ProbeConfig(precision="bfloat16" if low else "float32")
    if size == "quick":
        config = replace(config, epochs=1, least_steps=1)
    return Bench(chosen, device, dtype, "bf16" if low else "fp32", config, *synthetic(chosen.rows, chosen.width))


@pytest.mark.benchmark(group="probing")
def bench_labels(compare: Compare, bench: Bench) -> None:
    """All features of every program on 5 worlds under 3 semantics; the target is half a second for 100,000 programs."""
    programs = bench.size.programs
    rng = np.random.default_rng(0)
    lengths = rng.integers(6, 11, programs)
    compiled = CompiledPrograms.from_actions(rng.integers(0, 5, (programs, 10)).astype(np.uint8), lengths)
    worlds = kf.Worlds.random(programs * WORLDS, seed=0)
    traces = [kf.trace(compiled, worlds, semantics=s) for s in ("original", "flip", "adversarial")]

    def labels() -> list[dict[str, np.ndarray]]:
        return [label_set(t, tuple(FEATURES), lengths=lengths, setting=Setting(8, 8, 10)) for t in traces]

    flipped, world = labels()[1], 3
    for program in rng.integers(0, programs, 50):
        robot = traces[1].robot[program * WORLDS + world].astype(int)
        row, column, _ = robot[0]
        for k in range(lengths[program] - 1):
            assert flipped["direction"][program, k, world, 0] == robot[k + 1, 2]
            assert flipped["position"][program, k, world].tolist() == [
                robot[k + 1, 1] - column + 5,
                robot[k + 1, 0] - row + 5,
            ]
        assert (flipped["direction"][program, lengths[program] - 1 :] == -1).all()
    compare(labels, {}, units=programs, unit="programs", rounds=5, target_rate=100_000 / 0.5)


@pytest.mark.benchmark(group="probing")
def bench_probes_equal_epochs(compare: Compare, bench: Bench) -> None:
    """An epoch of the 675 probes."""
    rows, config = bench.size.epoch_rows, replace(bench.config, epochs=1, least_steps=1)
    check_company(bench, config)
    plain = [bench.plain(depth, feature, rows) for depth in DEPTHS for feature in CLASSES]

    def published(name: str) -> Figure:
        share = PUBLISHED_EPOCHS / bench.epochs
        return Figure(lambda seconds: share * seconds[name] / seconds[OURS], unit="x as fast")

    loader, sliced = "one by one, DataLoader", "one by one, sliced tensors"
    compare(
        lambda: bench.together(rows, list(CLASSES), config),
        {
            loader: Contender(lambda: [probe.epoch_loader() for probe in plain], 20.0, True, PER_SHAPE),
            sliced: Contender(lambda: [probe.epoch_sliced() for probe in plain], 20.0, True, PER_SHAPE),
            f"DataLoader, {PUBLISHED_EPOCHS} epochs to {bench.epochs}": published(loader),
            f"sliced, {PUBLISHED_EPOCHS} epochs to {bench.epochs}": published(sliced),
        },
        units=675, unit="probe epochs", rounds=bench.size.rounds, scale=bench.scale, setting=bench.setting,
        name=f"675 probes, equal epochs, {bench.precision}",
    )  # fmt: skip


def check_company(bench: Bench, config: ProbeConfig) -> None:
    """A probe is the same trained alone or together with others."""
    rows = min(5000, len(bench.states))
    labels, states, parts = bench.labels["facing"][:rows], bench.states[:rows], split(rows)
    mine, other = Task({}, labels, 2), Task({"other": 1}, labels[::-1].copy(), 2)
    exact = replace(config, precision="float32")
    alone = train_probes(states, [mine], parts, seeds=(1,), config=exact)
    crowd = train_probes(states, [mine, other], parts, seeds=(0, 1), config=exact)
    assert [r.accuracy for r in alone] == [r.accuracy for r in crowd if r.seed == 1 and not r.key]


@pytest.mark.benchmark(group="probing")
def bench_probes_equal_accuracy(compare: Compare, bench: Bench, size: str) -> None:
    """The 225 probes of direction; a plain loop is stopped after the epoch that brings it within 0.2 points of ours."""
    rows = bench.size.rows
    reached: dict[str, tuple[float, int]] = {}
    ours: dict[str, list[float]] = {}

    def together() -> None:
        ours.clear()
        for result in bench.together(rows, ["direction"], bench.config):
            if result.key["task"] == 0:
                ours.setdefault(result.depth, []).append(result.accuracy)

    def one_by_one(epoch: Callable[[PlainProbe], None]) -> None:
        for depth in DEPTHS:
            probe, best, epochs = bench.plain(depth, "direction", rows), 0.0, 0
            while best < min(ours[depth]) - 0.002 and epochs < bench.size.cap:
                epoch(probe)
                best, epochs = max(best, probe.accuracy(TEST)), epochs + 1
            reached[depth] = best, epochs

    together()  # what the plain loops are to reach
    names = {"one by one, DataLoader": PlainProbe.epoch_loader, "one by one, sliced tensors": PlainProbe.epoch_sliced}
    compare(
        together,
        {
            **{
                name: Contender(lambda epoch=epoch: one_by_one(epoch), 20.0, True, PER_SHAPE)
                for name, epoch in names.items()
            },
            **{
                f"epochs to equal {depth} (cap {bench.size.cap})": Figure(lambda _, d=depth: reached[d][1])
                for depth in DEPTHS
            },
        },
        units=225, unit="probes", rounds=1, warm=False, scale=bench.scale, setting=bench.setting,
        name=f"225 probes, equal accuracy, {bench.precision}",
    )  # fmt: skip
    if size != "quick":
        for depth, (best, _) in reached.items():
            assert best < max(ours[depth]) + 0.01, f"the plain loop is better at {depth}"


@pytest.mark.benchmark(group="probing")
def bench_published_grid(compare: Compare, bench: Bench, size: str) -> None:
    """A tenth of the published grid, 270 probes of the first world, trained our way; and the published 100 epochs, one by one."""
    rows, epochs = bench.size.rows, 1 if size == "quick" else PUBLISHED_EPOCHS
    first = {feature: labels[:rows, :1] for feature, labels in bench.labels.items()}
    tasks = [
        Task({"feature": feature, "task": i}, np.roll(labels, i, 0), CLASSES[feature])
        for feature, labels in first.items()
        for i in range(bench.size.tasks)
    ]
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}

    def together() -> None:
        results = train_probes(
            bench.states[:rows],
            tasks,
            split(rows),
            seeds=range(bench.size.seeds),
            config=bench.config,
            device=bench.device,
        )
        ours.update({r.depth: r.accuracy or 0 for r in results if dict(r.key) == {"feature": "direction", "task": 0}})

    def one_by_one() -> None:
        for depth, hidden in DEPTHS.items():
            states, labels = bench.states[:rows], bench.labels["direction"][:rows]
            theirs[depth] = PublishedProbe(hidden, "direction", states, labels, bench.device, epochs).train()

    compare(
        together,
        {
            f"one by one, {epochs} epochs": Contender(one_by_one, None, True, 270 / len(DEPTHS)),
            **{f"ours, {depth}": Figure(lambda _, d=depth: 100 * ours[d], unit=" % right") for depth in DEPTHS},
            **{f"published, {depth}": Figure(lambda _, d=depth: 100 * theirs[d], unit=" % right") for depth in DEPTHS},
        },
        units=270, unit="probes", rounds=1, warm=False, scale=270 / (len(tasks) * len(DEPTHS) * bench.size.seeds),
        setting=bench.setting, name=f"270 probes of the published grid, {bench.precision}",
    )  # fmt: skip


@pytest.mark.benchmark(group="probing")
def bench_report(compare: Compare, size: str, tmp_path: Path) -> None:
    """The report on a made-up run of 20 snapshots; to be done in 15 seconds, its page below 5 MB."""
    run = make_fake_run(tmp_path / "run", snapshots=3 if size == "quick" else 20, seeds=5, examples=20)
    pages: list[Path] = []
    compare(
        lambda: pages.append(write_report(run)),
        {"page": Figure(lambda _: pages[-1].stat().st_size / 1e6, target=5, unit=" MB")},
        units=1, unit="reports", rounds=3, target_rate=1 / 15,
    )  # fmt: skip
    assert "<svg" in pages[-1].read_text(encoding="utf-8")
