"""Long campaigns: millions of runs compared between backends, and commands killed at random and gone on with.

    python benchmarks/soak.py executions --count 10000000
    python benchmarks/soak.py kills --count 200

Each ends with a line of figures (docs/reliability.md keeps the last) and exit code 1 if anything differed.
"""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import karel_fast as kf
from karel_fast.data import Recipe, generate
from karel_fast.data.sampling.recipe import ControlFlow
from karel_fast.karel.language.semantics import NAMED_SEMANTICS
from karel_fast.support.progress import Progress

RECIPES = (
    Recipe.paper(),
    Recipe.paper_short(semantics="map8"),
    Recipe.control_flow(),
    Recipe(height=3, width=3, wall_probability=0, lengths=(1, 12)),
    Recipe(height=5, width=64, lengths=(3, 40), marker_probability=0.9),
    Recipe(height=64, width=64, examples=1, held_out=0, lengths=(1, 200)),
    Recipe(height=6, width=7, control=ControlFlow(while_weight=3, repeat_weight=3), lengths=(4, 9)),
)
AT_ONCE = 2_000  # samples
EVERY = 20  # of so many rounds one has its first samples run by the reference, too
FOR_REFERENCE = 100

app = typer.Typer(add_completion=False)


@app.command()
def executions(
    count: Annotated[int, typer.Option(help="Runs of a program on a world.")] = 10_000_000,
    seed: Annotated[int, typer.Option(help="Of the meanings, limits and samples.")] = 0,
) -> None:
    """Run programs of all kinds with every backend, under any meaning, step limit and rule of errors, and compare all that comes out."""
    dice = random.Random(seed)
    done = compared = rounds = 0
    start = time.perf_counter()
    with Progress() as progress:
        bar = progress.bar("runs", count)
        while done < count:
            recipe = RECIPES[rounds % len(RECIPES)].replace(seed=seed)
            samples = generate(recipe, "train", rounds * AT_ONCE, AT_ONCE)
            settings = {
                "semantics": dice.choice(list(NAMED_SEMANTICS)),
                "max_steps": dice.choice([1, 2, 7, 100, 1000]),
                "on_error": dice.choice(["ignore", "crash"]),
            }
            found = _ran(samples, "cpp", settings)
            _same(found, _ran(samples, "numba", settings), f"round {rounds}: numba, {recipe.hash}, {settings}")
            if rounds % EVERY < len(RECIPES):
                few = samples[:FOR_REFERENCE]
                part = {name: values[: len(few.inputs)] for name, values in found.items()}
                _same(part, _ran(few, "reference", settings), f"round {rounds}: reference, {recipe.hash}, {settings}")
                compared += len(few.inputs)
            done += len(samples.inputs)
            rounds += 1
            bar.show(min(done, count), count)
    seconds = time.perf_counter() - start
    typer.echo(f"{done:,} runs, cpp and numba alike in all, reference in {compared:,}; {seconds:.0f} s")


def _ran(samples: kf.data.Samples, backend: str, settings: dict[str, object]) -> dict[str, np.ndarray]:
    ran = kf.run(samples.compiled, samples.inputs, backend=backend, **settings)
    return {"markers": ran.worlds.markers, "robot": ran.worlds.robot, "steps": ran.steps, "status": ran.status}


def _same(found: dict[str, np.ndarray], other: dict[str, np.ndarray], where: str) -> None:
    for name, values in found.items():
        if not np.array_equal(values, other[name]):
            row = int(np.flatnonzero((values != other[name]).reshape(len(values), -1).any(axis=1))[0])
            typer.echo(f"{where}: {name} of run {row} differs", err=True)
            raise typer.Exit(1)


@dataclass(frozen=True)
class Work:
    """A command that leaves files in a folder. share: of all kills. again: what it is called with after the first time."""

    name: str
    share: float
    arguments: tuple[str, ...]
    again: tuple[str, ...] = ()
    folder: tuple[str, ...] = ()  # the option before the folder; none: it is an argument

    def command(self, folder: Path, begun: bool) -> list[str]:
        more = self.again if begun else ()
        return [sys.executable, "-m", "karel_fast", *self.arguments, *self.folder, str(folder), *more]


WORKS = (
    Work(
        "generate", 0.5, ("generate", "--recipe", "paper", "--count", "200000", "--shard-size", "10000"), folder=("--out",)
    ),
    Work(
        "solve-samples", 0.25, ("solve-samples", "--recipe", "paper", "--count", "4000", "--shard-size", "200"),
        folder=("--out",),
    ),
    Work(
        "train", 0.25,
        ("train", "--recipe", "paper-short", "--layers", "1", "--width", "32", "--steps", "60", "--snapshot-every", "5",
         "--log-every", "5", "--batch-size", "8", "--no-compile", "--precision", "fp32", "--device", "cpu"),
        again=("--resume",),
    ),
)  # fmt: skip


@app.command()
def kills(
    count: Annotated[int, typer.Option(help="Commands killed.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
) -> None:
    """Kill commands with SIGKILL at random moments, go on, and compare what is there at the end with what an undisturbed call leaves."""
    dice = random.Random(seed)
    figures = []
    with tempfile.TemporaryDirectory() as place, Progress() as progress:
        for work in WORKS:
            wanted = round(work.share * count)
            folder = Path(place) / work.name
            start = time.perf_counter()
            _call(work, folder, None)
            seconds, right = time.perf_counter() - start, _digest(folder)
            killed = attempt = 0
            bar = progress.bar(work.name, wanted)
            while killed < wanted:
                attempt += 1
                folder = Path(place) / f"{work.name}-{attempt}"
                while not _call(work, folder, dice.uniform(0.2, 1.1) * seconds):
                    killed += 1
                    bar.show(min(killed, wanted), wanted)
                if _digest(folder) != right:
                    typer.echo(
                        f"{work.name}, attempt {attempt}: other files than an undisturbed call's, see {folder}",
                        err=True,
                    )
                    raise typer.Exit(1)
            figures.append(f"{work.name} {killed} in {attempt} folders")
    typer.echo(f"killed: {'; '.join(figures)}; each ended with the files of an undisturbed call")


def _call(work: Work, folder: Path, seconds: float | None) -> bool:
    """Whether the command came to its end within so many seconds; else it was killed."""
    begun = folder.exists() and (work.name != "train" or (folder / "resume.safetensors").exists())
    process = subprocess.Popen(
        work.command(folder, begun), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        return False
    if process.returncode:
        typer.echo(f"{' '.join(work.command(folder, begun))}: exit code {process.returncode}\n{errors}", err=True)
        raise typer.Exit(1)
    return True


def _digest(folder: Path) -> str:
    """Of everything that is the same every time: data, weights, and not times or logs."""
    found = hashlib.sha256()
    for path in _files(folder):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(
        path for path in folder.rglob("*") if path.suffix in (".parquet", ".safetensors") and "resume" not in path.name
    )


if __name__ == "__main__":
    app()
