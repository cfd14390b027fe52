"""Making data sets: the paper's recipe, ten world pairs a sample.

Peers: NumPy drawing as many 16-bit values with its own Philox (what a sampler must do at the least), a memcpy of a
sample's arrays, and the plain-Python reference. The paper's authors' generator makes about 140 samples/s.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from conftest import Compare, Contender, memcpy

import karel_fast as kf
from karel_fast.data import Recipe, Samples, SampleStream, Tokenizer, generate, open_shards, verify, write_shards

RECIPE = Recipe.paper()
TOKENIZER = Tokenizer(RECIPE)
SAMPLES = 2_000  # made at a time
VALUES = 10 * 37 + 9  # 16-bit values in a sample: 36 cells and a pose per world; length and 8 actions of the program
BATCH = 256


@pytest.fixture
def training_set(size: str) -> int:
    return 20_000 if size == "quick" else 500_000


def checked(backend: str) -> Samples:
    """Samples equal to the reference's, and to what running their programs gives."""
    samples = generate(RECIPE, "train", 0, SAMPLES, backend=backend, threads=1)
    few = generate(RECIPE, "train", 0, 20, backend="reference")
    assert (samples.symbols[:20] == few.symbols).all()
    assert samples.inputs[:200] == few.inputs
    assert samples.outputs[:200] == few.outputs
    assert kf.run(samples.compiled, samples.inputs).worlds == samples.outputs
    return samples


def sample(backend: str = "cpp") -> Samples:
    return generate(RECIPE, "train", 0, SAMPLES, backend=backend, threads=1)


@pytest.mark.benchmark(group="data")
def bench_sample_execute_tokenize(compare: Compare) -> None:
    """One thread, in memory."""
    samples = checked("cpp")
    rows = TOKENIZER.encode(samples, backend="cpp")
    assert (rows == TOKENIZER.encode(samples, backend="reference")).all()
    draws = np.random.Generator(np.random.Philox(1))
    before, after = samples.inputs, samples.outputs
    arrays = [samples.symbols, before.walls, before.markers, before.robot, after.markers, after.robot, rows]
    compare(
        lambda: TOKENIZER.encode(sample(), backend="cpp", threads=1),
        {
            "NumPy's Philox, as many values": Contender(
                lambda: draws.integers(0, 1 << 16, SAMPLES * VALUES, dtype=np.uint16), target=2.5
            ),
            "memcpy of the arrays": memcpy(arrays),
        },
        units=SAMPLES, unit="samples", rounds=31, target_rate=400_000,
    )  # fmt: skip


@pytest.mark.benchmark(group="data")
def bench_sample_against_numba(compare: Compare) -> None:
    """One thread, without tokens; the target is that Numba takes at most twice as long."""
    checked("numba")
    compare(
        lambda: sample("numba"), {"cpp": Contender(lambda: sample("cpp"), target=2.0)}, units=SAMPLES, unit="samples"
    )


@pytest.mark.benchmark(group="data")
def bench_sample_against_the_reference(compare: Compare) -> None:
    compare(
        lambda: generate(RECIPE, "train", 0, 20, backend="cpp", threads=1),
        {"plain Python": Contender(lambda: generate(RECIPE, "train", 0, 20, backend="reference"), at_least=True)},
        units=20, unit="samples", rounds=5,
    )  # fmt: skip


@pytest.mark.benchmark(group="data")
def bench_rows_only(compare: Compare) -> None:
    """Token rows for training; the worlds are not kept."""
    assert (TOKENIZER.generate("train", 0, SAMPLES) == TOKENIZER.encode(checked("cpp"))).all()
    compare(
        lambda: TOKENIZER.generate("train", 0, SAMPLES, threads=1),
        {"sample, then tokenize": Contender(lambda: TOKENIZER.encode(sample(), threads=1), at_least=True)},
        units=SAMPLES, unit="samples",
    )  # fmt: skip


@pytest.mark.benchmark(group="data")
def bench_stream(compare: Compare) -> None:
    """Batches of 256 for training, on one thread; the target is one millisecond each."""
    stream: Iterator = iter(SampleStream(TOKENIZER, batch_size=BATCH))
    assert (next(stream).numpy() == TOKENIZER.encode(generate(RECIPE, "train", 0, BATCH))).all()
    compare(lambda: next(stream), {}, units=1, unit="batches", rounds=101, target_rate=1000)


@pytest.mark.benchmark(group="data")
def bench_training_set_in_memory(compare: Compare, training_set: int) -> None:
    """500,000 samples on two threads; the target is one second."""
    threads = [generate(RECIPE, "train", 0, 20_000, threads=n) for n in (1, 2)]
    assert threads[0].outputs == threads[1].outputs
    compare(
        lambda: generate(RECIPE, "train", 0, training_set, threads=2), {},
        units=training_set, unit="samples", rounds=3, target_rate=500_000,
    )  # fmt: skip


@pytest.mark.benchmark(group="data")
def bench_training_set_on_disk(compare: Compare, training_set: int) -> None:
    """500,000 samples written as shards and verified, on two threads; to be done in five seconds, at 150 bytes each."""

    def write_and_verify() -> None:
        with TemporaryDirectory() as name:
            folder = Path(name)
            write_shards(RECIPE, "train", folder, count=training_set, threads=2)
            assert verify(folder, threads=2).rows == training_set
            assert sum(path.stat().st_size for path in folder.iterdir()) < 150 * training_set
            last = open_shards(folder)[training_set - 10 :]
            assert last.outputs == generate(RECIPE, "train", training_set - 10, 10).outputs

    compare(write_and_verify, {}, units=training_set, unit="samples", rounds=2, target_rate=500_000 / 5)
