"""Running and tracing programs: straight-line programs of 6 to 10 actions on 8x8 worlds, and long loops.

The limit of `run` is a memcpy of its inputs and outputs; peers are the plain-Python reference and the other backends.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from conftest import Compare, Contender, memcpy

import karel_fast as kf

REFERENCE_PROGRAMS = 2_000
ACTION_WEIGHTS = np.array([5, 3, 3, 2, 2]) / 15


@dataclass(frozen=True)
class Batch:
    programs: kf.CompiledPrograms
    worlds: kf.Worlds

    def inputs(self) -> list[np.ndarray]:
        worlds, programs = self.worlds, self.programs
        return [worlds.walls, worlds.markers, worlds.robot, programs.actions, programs.starts, programs.lengths]

    def first(self, count: int) -> Batch:
        return Batch(kf.compile([self.programs.program(i) for i in range(count)]), self.worlds[:count])


@pytest.fixture(scope="module")
def batch(size: str) -> Batch:
    rng = np.random.default_rng(0)
    count = REFERENCE_PROGRAMS if size == "quick" else 100_000
    actions = rng.choice(5, (count, 10), p=ACTION_WEIGHTS).astype(np.uint8)
    programs = kf.CompiledPrograms.from_actions(actions, rng.integers(6, 11, count))
    return Batch(programs, kf.Worlds.random(count, seed=1))


def outputs(result: kf.Result) -> list[np.ndarray]:
    return [result.worlds.walls, result.worlds.markers, result.worlds.robot, result.steps, result.status]


def trace_arrays(trace: kf.Trace) -> list[np.ndarray]:
    names = ("actions", "robot", "markers_here", "front_clear", "left_clear", "right_clear", "steps", "status")
    return [getattr(trace, name) for name in names]


def assert_equals_reference(batch: Batch, backend: str) -> None:
    few = batch.first(REFERENCE_PROGRAMS)
    expected = kf.run(few.programs, few.worlds, backend="reference")
    result = kf.run(batch.programs, batch.worlds, backend=backend)
    assert result.worlds[:REFERENCE_PROGRAMS] == expected.worlds
    assert (result.steps[:REFERENCE_PROGRAMS] == expected.steps).all()
    traced = kf.trace(batch.programs, batch.worlds, backend=backend)
    for ours, theirs in zip(
        trace_arrays(traced), trace_arrays(kf.trace(few.programs, few.worlds, backend="reference")), strict=True
    ):
        assert (ours[:REFERENCE_PROGRAMS] == theirs).all()


@pytest.mark.benchmark(group="execution")
def bench_run(compare: Compare, batch: Batch) -> None:
    """One thread, compiled programs."""
    assert_equals_reference(batch, "cpp")
    result = kf.run(batch.programs, batch.worlds, backend="cpp")
    compare(
        lambda: kf.run(batch.programs, batch.worlds, backend="cpp", threads=1),
        {"memcpy of inputs and outputs": memcpy([*batch.inputs(), *outputs(result)], target=3.0)},
        units=len(batch.worlds), unit="programs", target_rate=25e6,
    )  # fmt: skip


@pytest.mark.benchmark(group="execution")
def bench_run_against_the_reference(compare: Compare, batch: Batch) -> None:
    few = batch.first(REFERENCE_PROGRAMS)
    compare(
        lambda: kf.run(few.programs, few.worlds, backend="cpp", threads=1),
        {"plain-Python reference": Contender(lambda: kf.run(few.programs, few.worlds, backend="reference"), at_least=True)},
        units=REFERENCE_PROGRAMS, unit="programs", rounds=5,
    )  # fmt: skip


@pytest.mark.benchmark(group="execution")
def bench_trace(compare: Compare, batch: Batch) -> None:
    """One thread; the limit is twice the time of `run` and a memcpy of the trace."""
    copy = memcpy(trace_arrays(kf.trace(batch.programs, batch.worlds, backend="cpp")))

    def twice_run_and_copy() -> None:
        kf.run(batch.programs, batch.worlds, backend="cpp", threads=1)
        kf.run(batch.programs, batch.worlds, backend="cpp", threads=1)
        copy.action()

    compare(
        lambda: kf.trace(batch.programs, batch.worlds, backend="cpp", threads=1),
        {"2 x run + memcpy of the trace": Contender(twice_run_and_copy, target=1.0)},
        units=len(batch.worlds), unit="programs",
    )  # fmt: skip


@pytest.mark.benchmark(group="execution")
def bench_two_threads(compare: Compare, batch: Batch) -> None:
    """Four times the programs, so that starting a thread does not count; the outputs are still small enough for the
    allocator to use again, as memory that is new to the process costs more than the runs."""
    programs = kf.CompiledPrograms.from_actions(
        np.random.default_rng(2).choice(5, (4 * len(batch.worlds), 10), p=ACTION_WEIGHTS).astype(np.uint8)
    )
    worlds = kf.Worlds.concatenate([batch.worlds] * 4)
    one = kf.run(programs, worlds, backend="cpp", threads=1)
    assert kf.run(programs, worlds, backend="cpp", threads=2).worlds == one.worlds
    compare(
        lambda: kf.run(programs, worlds, backend="cpp", threads=2),
        {
            "one thread": Contender(
                lambda: kf.run(programs, worlds, backend="cpp", threads=1), target=1.8, at_least=True
            )
        },
        units=4 * len(batch.worlds), unit="programs", rounds=7,
    )  # fmt: skip


@pytest.mark.benchmark(group="execution")
def bench_numba(compare: Compare, batch: Batch) -> None:
    assert_equals_reference(batch, "numba")
    compare(
        lambda: kf.run(batch.programs, batch.worlds, backend="numba", threads=1),
        {
            "cpp": Contender(
                lambda: kf.run(batch.programs, batch.worlds, backend="cpp", threads=1), target=0.5, at_least=True
            )
        },
        units=len(batch.worlds), unit="programs",
    )  # fmt: skip


LOOPS = "def run() { repeat (1000) { repeat (1000) { put_marker(); pick_marker(); move(); turn_left(); move(); turn_right(); put_marker(); pick_marker(); move(); turn_left() } } }"  # noqa: E501


@pytest.mark.benchmark(group="execution")
def bench_loops(compare: Compare) -> None:
    """One program of 10 M executed actions."""
    program, world = kf.compile(LOOPS), kf.Worlds.random(1, seed=3)
    short = LOOPS.replace("1000", "10")
    assert kf.run(short, world, backend="cpp").worlds == kf.run(short, world, backend="reference").worlds
    result = kf.run(program, world, backend="cpp", max_steps=20_000_000)
    assert (result.steps[0], result.status[0]) == (10_000_000, kf.Status.OK)
    compare(
        lambda: kf.run(program, world, backend="cpp", max_steps=20_000_000),
        {"numba": Contender(lambda: kf.run(program, world, backend="numba", max_steps=20_000_000), at_least=True)},
        units=10_000_000, unit="actions", target_rate=300e6, rounds=7,
    )  # fmt: skip


@pytest.mark.benchmark(group="execution")
def bench_import(compare: Compare) -> None:
    """A fresh interpreter that imports karel_fast, against one that imports numpy."""

    def start(code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    heavy = start("import sys, karel_fast; print([m for m in ('torch', 'numba') if m in sys.modules])")
    assert heavy == "[]\n"
    compare(
        lambda: start("import karel_fast"),
        {"python -c 'import numpy'": Contender(lambda: start("import numpy"))},
        units=1, unit="imports", rounds=7, target_rate=5.0,
    )  # fmt: skip
