"""The exact solver: the paper's and the laptop's specifications, and running every program instead.

What brute force finds is what the solver finds, asserted before anything is timed. Brute force is kind to itself: programs are
compiled beforehand, and an example is run only by those that satisfied the ones before it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import Compare, Contender, Figure

import karel_fast as kf
from karel_fast.data import Recipe, Samples, generate
from karel_fast.probing.ceilings import POOL_WORLDS, READERS, ceilings

PAPER = Recipe.paper()
# The laptop preset's, but with programs drawn without regard to what they change, as brute force weighs them.
LAPTOP = Recipe(height=5, width=5, examples=2, held_out=2, lengths=(5, 9))
TINY = LAPTOP.replace(lengths=(2, 4))
THREADS = 2

# The peak of a process's own memory, in kB. (Its ru_maxrss begins with that of the process that started it.)
STATUS = Path("/proc/self/status")
PEAK = """
import karel_fast as kf
from karel_fast.data import Recipe, generate
samples = generate(Recipe.paper(), "test", count={count})
solution = kf.exact.solve(samples, threads={threads})
solution.along(samples.actions, samples.lengths)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def everything(samples: Samples) -> kf.exact.Solution:
    """All that a solution holds, and the posteriors after every prefix of the samples' programs."""
    solution = kf.exact.solve(samples, threads=THREADS)
    solution.along(samples.actions, samples.lengths)
    return solution


@dataclass(frozen=True)
class Every:
    """All programs of a recipe, of one length after the other."""

    recipe: Recipe
    rows: list[np.ndarray]
    compiled: list[kf.CompiledPrograms]

    @classmethod
    def of(cls, recipe: Recipe) -> Every:
        low, high = recipe.lengths
        rows = [all_rows(length) for length in range(low, high + 1)]
        return cls(recipe, rows, [compiled(each) for each in rows])

    def satisfying(self, inputs: kf.Worlds, outputs: kf.Worlds) -> list[np.ndarray]:
        """Those that turn every input into its output, by length."""
        found = []
        for rows, programs in zip(self.rows, self.compiled, strict=True):
            for e in range(len(inputs)):
                if len(rows):
                    copies = np.full(len(rows), e)
                    result = kf.run(programs, inputs[copies], backend="cpp", threads=THREADS)
                    right = result.worlds.same_text(outputs[copies]) & (result.status == kf.Status.OK)
                    rows = rows[right]
                    programs = compiled(rows)
            found.append(rows)
        return found

    def mass(self, rows: np.ndarray) -> float:
        """Their prior probability."""
        weights = np.array(self.recipe.action_weights)
        low, high = self.recipe.lengths
        return float((weights / weights.sum())[rows].prod(axis=1).sum()) / (high - low + 1)


def all_rows(length: int) -> np.ndarray:
    numbers = np.arange(5**length)
    return np.stack([numbers // 5**k % 5 for k in reversed(range(length))], axis=1).astype(np.uint8)


def compiled(rows: np.ndarray) -> kf.CompiledPrograms:
    return kf.CompiledPrograms.from_actions(rows, np.full(len(rows), rows.shape[1], np.int32))


def brute_force(every: Every, samples: Samples) -> list[list[np.ndarray]]:
    inputs, outputs = samples.shown()
    shown = samples.recipe.examples
    spans = [slice(i * shown, (i + 1) * shown) for i in range(len(samples))]
    return [every.satisfying(inputs[span], outputs[span]) for span in spans]


def assert_equals_brute_force(every: Every, samples: Samples) -> None:
    solution = kf.exact.solve(samples, threads=THREADS)
    for i, found in enumerate(brute_force(every, samples)):
        assert solution.counts[i] == sum(map(len, found))
        assert solution.mass[i] == pytest.approx(sum(map(every.mass, found)), rel=1e-9)
        shortest = next(rows for rows in found if len(rows))
        assert (solution.shortest[i], solution.shortest_counts[i]) == (shortest.shape[1], len(shortest))
        assert solution.shortest_programs[i] == kf.Program.from_actions(shortest[0])
        if solution.counts[i] < 10_000:
            listed = [program.actions for program in solution.programs(i)]
            assert sorted(listed, key=lambda actions: (len(actions), actions)) == [
                tuple(row) for rows in found for row in rows.tolist()
            ]


@pytest.mark.benchmark(group="exact")
def bench_paper(compare: Compare, size: str) -> None:
    """Everything about 10,000 of the paper's specifications."""
    count = 100 if size == "quick" else 10_000
    samples = generate(PAPER, "test", count=count)
    if size != "quick":
        assert_equals_brute_force(Every.of(PAPER), samples[:2])
    memory = {}
    if STATUS.exists():
        command = [sys.executable, "-c", PEAK.format(count=count, threads=THREADS)]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 2**20
        memory = {"peak memory of a process that does it": Figure(lambda _: peak, target=2.0, unit=" GiB")}
    compare(
        lambda: everything(samples), memory,
        units=count, unit="specifications", target_rate=10_000 / 60, rounds=3,
        setting={"threads": THREADS, "paper": PAPER.hash, "laptop": LAPTOP.hash},
    )  # fmt: skip


@pytest.mark.benchmark(group="exact")
@pytest.mark.parametrize("avoid_noops", [False, True])
def bench_laptop(compare: Compare, size: str, avoid_noops: bool) -> None:
    """Everything about 2,000 of the laptop's specifications."""
    count = 100 if size == "quick" else 2_000
    samples = generate(LAPTOP.replace(avoid_noops=avoid_noops), "test", count=count)
    name = "laptop, no-ops avoided" if avoid_noops else "laptop"
    compare(
        lambda: everything(samples), {}, units=count, unit="specifications", target_rate=2_000 / 2, name=name, rounds=5
    )


@pytest.mark.benchmark(group="exact")
def bench_against_brute_force(compare: Compare, size: str) -> None:
    """Running all 2.4 million programs of 5 to 9 actions, for 100 of the laptop's specifications."""
    quick = size == "quick"
    recipe = TINY if quick else LAPTOP
    every = Every.of(recipe)
    samples = generate(recipe, "test", count=10 if quick else 100)
    assert_equals_brute_force(every, samples[:5])
    compare(
        lambda: everything(samples),
        {"every program run": Contender(lambda: brute_force(every, samples), target=50, at_least=True)},
        units=len(samples), unit="specifications", rounds=1, warm=False,
    )  # fmt: skip


@pytest.mark.benchmark(group="exact")
def bench_ceilings(compare: Compare, size: str) -> None:
    """What three ideal readers know of 16,000 of the paper's programs: 3 features, 5 offsets, 3 meanings."""
    offsets, meanings = (-2, -1, 0, 1, 2), ("original", "flip", "adversarial")
    small = generate(TINY.replace(lengths=(2, 3)), "test", count=3)
    asked = {"offsets": offsets, "semantics": meanings, "doubt": 0.1, "pool": generate(small.recipe, "train", count=2)}
    ours, listed = (
        ceilings(small, small.actions, small.lengths, backend=backend, **asked) for backend in ("cpp", "reference")
    )
    for reader in READERS:
        np.testing.assert_allclose(ours.right[reader], listed.right[reader], atol=1e-9)
        np.testing.assert_allclose(ours.loss[reader], listed.loss[reader], atol=1e-9)

    count = 50 if size == "quick" else 16_000
    samples = generate(PAPER, "test", count=count)
    pool = generate(PAPER, "train", count=POOL_WORLDS // PAPER.examples)
    compare(
        lambda: ceilings(
            samples, samples.actions, samples.lengths, offsets=offsets, semantics=meanings, doubt=0.1, pool=pool, threads=THREADS
        ),
        {}, units=count, unit="programs", target_rate=16_000 / 300, rounds=1, warm=False,
    )  # fmt: skip
