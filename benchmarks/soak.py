"""Long campaigns: millions of runs compared between backends, commands killed at random and gone on with, hours of mixed work.

    python benchmarks/soak.py executions --count 10000000
    python benchmarks/soak.py kills --count 200
    python benchmarks/soak.py mixed --minutes 60

Each ends with a line of figures (docs/reliability.md keeps the last) and exit code 1 if anything differed.
"""

from __future__ import annotations

import random
import time
from typing import Annotated

import numpy as np
import typer
from soak_kills import kills
from soak_mixed import mixed

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
EVERY = 20  # of so many rounds as many as there are recipes have their first samples run by the reference, too
FOR_REFERENCE = 100

app = typer.Typer(add_completion=False)
app.command()(kills)
app.command()(mixed)


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


if __name__ == "__main__":
    app()
