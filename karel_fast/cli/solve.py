"""The commands `karel-fast solve` (one's own worlds) and `karel-fast solve-samples` (many of a split's specifications)."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from karel_fast.cli.data import part_of, read_recipe
from karel_fast.cli.numbers import whole_option
from karel_fast.cli.options import SEMANTICS_HELP, Address, Engine, Threads, check_engine
from karel_fast.cli.worlds import STANDARD_INPUT, draw_runs, read_worlds
from karel_fast.data.sampling.recipe import PRESETS, Recipe
from karel_fast.exact.graph import END
from karel_fast.exact.solution import MAX_STATES, Solution, solve
from karel_fast.exact.solution_files import SHARD_SIZE, SolutionSet, read_solutions, write_solutions
from karel_fast.karel.execution import run
from karel_fast.karel.language import Action, resolve_semantics
from karel_fast.support.progress import Progress


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("solve")(solve_command)
    app.command("solve-samples")(solve_samples_command)


def solve_command(
    inputs: Annotated[
        str, typer.Option(help="File with one world, or several separated by blank lines; - reads standard input.")
    ],
    outputs: Annotated[str, typer.Option(help="File with what each of them must become, in the same order.")],
    recipe: Annotated[
        str, typer.Option(help=f"Prior over programs: {', '.join(PRESETS)}, or a JSON file.")
    ] = "paper-short",
    shortest: Annotated[int | None, whole_option("Actions of the shortest programs; default: the recipe's.")] = None,
    longest: Annotated[int | None, whole_option("Actions of the longest programs; default: the recipe's.")] = None,
    semantics: Annotated[
        str | None, typer.Option(help=f"Solve under this meaning; by default the recipe's. {SEMANTICS_HELP}")
    ] = None,
    show: Annotated[int, whole_option("Also print so many of the programs.", least=0)] = 0,
    max_states: Annotated[int, whole_option("States the search may keep, up to 200 bytes each.")] = MAX_STATES,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of drawings.")] = False,
) -> None:
    """Find every program that turns these worlds into those, and draw the run of the shortest."""
    if inputs == outputs == STANDARD_INPUT:
        raise ValueError("only one of --inputs and --outputs can come from standard input")
    before, after = read_worlds(inputs), read_worlds(outputs)
    prior = _prior(recipe, shortest, longest, semantics)
    solution = solve(before, after, recipe=prior, examples=len(before), max_states=max_states)
    listed = (
        [str(program) for program in itertools.islice(solution.programs(0), min(show, sys.maxsize))] if show else []
    )
    if as_json:
        typer.echo(json.dumps(_as_json(solution, listed), indent=1))
        return
    low, high = prior.lengths
    count = int(solution.counts[0])
    typer.echo(f"{count:,} program{'' if count == 1 else 's'} of {low} to {high} actions")
    if not count:
        return
    posterior = solution.posterior(0)
    first = ", ".join(f"{Action(a).name.lower()} {posterior[a]:.3f}" for a in range(END) if posterior[a])
    typer.echo(
        f"prior probability {solution.mass[0]:.3g}; entropy {solution.entropy[0]:.3f} nats; first action: {first}\n"
        f"shortest: {solution.shortest[0]} actions, {solution.shortest_counts[0]:,} of them; the first:\n"
        f"{solution.shortest_programs[0]}"
    )
    draw_runs(before, run(solution.shortest_programs[0], before, semantics=prior.semantics))
    for source in listed:
        typer.echo(source)


def solve_samples_command(
    out: Annotated[Path, typer.Option(help="Folder for Parquet files; a call that was killed goes on there.")],
    count: Annotated[int, whole_option("How many specifications.")],
    recipe: Annotated[str, typer.Option(help="A preset's name or a recipe's JSON file.")] = "paper",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    start: Annotated[int, whole_option("Number of the first.")] = 0,
    shard_size: Annotated[int, whole_option("Specifications per file.")] = SHARD_SIZE,
    shards: Annotated[str, typer.Option(help="k/n solves the k-th of n slices only, for job arrays.")] = "1/1",
    engine: Engine = "local",
    address: Address = None,
    threads: Threads = None,
) -> None:
    """Solve specifications of a recipe's split exactly, and store what is found: one row each."""
    wanted = SolutionSet(read_recipe(recipe), split, count, start, shard_size)
    part = part_of(shards)
    check_engine(engine, address)
    if engine == "ray" and (part != (1, 1) or threads is not None):
        raise ValueError("--engine ray shares the files out itself: leave out --shards and --threads")
    with Progress(unit="specifications") as shown:
        write_solutions(
            wanted, out, part=part, engine=engine, address=address, threads=threads, progress=shown.bar("solve").show
        )
    if part == (1, 1):
        table = read_solutions(out)
        floor = sum(table["floor_loss"].to_pylist()) / sum(table["tokens"].to_pylist())
        solved = sum(1 for programs in table["counts"].to_pylist() if programs)
        typer.echo(f"{solved:,} of {count:,} can be satisfied; no reader loses less than {floor:.4f} nats per token")
    typer.echo(str(out))


def _prior(name: str, shortest: int | None, longest: int | None, semantics: str | None) -> Recipe:
    recipe = read_recipe(name)
    if semantics is not None:
        recipe = recipe.replace(semantics=resolve_semantics(semantics))
    low = recipe.lengths[0] if shortest is None else shortest
    high = max(low, recipe.lengths[1]) if longest is None else longest
    return recipe.replace(lengths=(low, high))


def _as_json(solution: Solution, listed: list[str]) -> dict[str, Any]:
    solved = bool(solution.counts[0])
    return {
        "programs": int(solution.counts[0]),
        "mass": float(solution.mass[0]),
        "entropy": float(solution.entropy[0]) if solved else None,
        "shortest": int(solution.shortest[0]) if solved else None,
        "shortest_programs": int(solution.shortest_counts[0]),
        "first_shortest": str(solution.shortest_programs[0]) if solved else None,
        "mode": str(solution.modes[0]) if solved else None,
        "first_token": solution.posterior(0).tolist() if solved else None,
        "listed": listed,
    }
