"""One process that does everything by turns for as long as it is told, for soak.py: the same results, and no more memory."""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

import karel_fast as kf
from karel_fast.data import Recipe, Tokenizer, generate, open_shards, verify, write_shards
from karel_fast.exact import solve
from karel_fast.experiment.preset import load_preset
from karel_fast.experiment.reproduce import reproduce
from karel_fast.support.files import read_json
from karel_fast.support.progress import Progress

WARM = 0.25  # of the rounds: until then caches fill
GROWTH = 0.03  # of the memory in use after that, by how much its median may have risen at the end

EXPERIMENT = {
    "training": {"steps": 8, "batch_size": 8, "warmup": 2, "snapshot_every": 4, "compile": False, "precision": "fp32", "device": "cpu"},
    "decoding": {"precision": "fp32", "device": "cpu"},
    "evaluation": {"specifications": 40, "ideal": True},
    "probing": {"programs": {"train": 60, "validation": 20, "test": 20}, "features": ["direction"], "least_steps": 5, "epochs": 1},
}  # fmt: skip
"""What smoke does, in seconds."""


def mixed(
    minutes: Annotated[float, typer.Option(help="How long.")] = 60,
) -> None:
    """Generate, run, trace, encode, store, verify, solve, train, evaluate, probe and report over and over in one process."""
    if minutes <= 0:
        raise typer.BadParameter("must be above 0", param_hint="--minutes")
    end = time.monotonic() + 60 * minutes
    digests: set[str] = set()
    memory: list[int] = []
    with Progress() as progress:
        bar = progress.bar("rounds")
        while time.monotonic() < end or len(memory) < 8:
            with tempfile.TemporaryDirectory() as place:
                digests.add(_round(Path(place)))
            memory.append(_resident())
            bar.show(len(memory), len(memory), f"{memory[-1] / 2**20:.0f} MiB")
    late = memory[int(WARM * len(memory)) :]
    third = max(len(late) // 3, 1)
    first, last = statistics.median(late[:third]), statistics.median(late[-third:])
    typer.echo(
        f"{len(memory)} rounds in {minutes:g} minutes, {len(digests)} different result{'s' * (len(digests) > 1)}; resident memory "
        f"{memory[0] / 2**20:.0f} MiB after the first round, then {first / 2**20:.0f}, at the end {last / 2**20:.0f} (medians)"
    )
    if len(digests) > 1 or last > (1 + GROWTH) * first:
        raise typer.Exit(1)


def _round(place: Path) -> str:
    """Some of everything; a digest of all results."""
    found = hashlib.sha256()

    def take(*arrays: np.ndarray) -> None:
        for array in arrays:
            found.update(np.ascontiguousarray(array).tobytes())

    for recipe in (Recipe.paper(), Recipe.control_flow(), Recipe(height=64, width=9, lengths=(1, 30))):
        samples = generate(recipe, "train", 10**7, 2000)
        for backend in ("cpp", "numba"):
            ran = kf.run(samples.compiled, samples.inputs, backend=backend)
            take(ran.worlds.markers, ran.worlds.robot, ran.steps, ran.status)
        traced = kf.trace(samples.compiled, samples.inputs)
        take(traced.actions, traced.robot, traced.front_clear)
        take(Tokenizer(recipe, layout="compact").encode(samples))
        write_shards(recipe, "train", place / recipe.hash, count=3000, shard_size=1000)
        verify(place / recipe.hash)
        take(open_shards(place / recipe.hash).samples(500, 2000).symbols)
    solved = solve(generate(Recipe.paper(), "val", 0, 200))
    take(solved.counts, solved.shortest)
    run = place / "run"
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        reproduce(load_preset("smoke", EXPERIMENT), run, Console(file=nowhere))
    for path in sorted(
        [*run.glob("snapshots/*/model.safetensors"), *run.glob("probing/*.json"), *run.glob("evaluation/*.json")]
    ):
        content = (
            {name: value for name, value in read_json(path).items() if "seconds" not in name}
            if path.suffix == ".json"
            else None
        )
        found.update(path.read_bytes() if content is None else repr(content).encode())
    return found.hexdigest()


def _resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
