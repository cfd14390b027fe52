"""The commands `karel-fast run` and `karel-fast info`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from karel_fast.cli.numbers import whole_option
from karel_fast.cli.options import SEMANTICS_HELP, Backend
from karel_fast.cli.worlds import STANDARD_INPUT, animate_runs, draw_runs, read_named, read_worlds
from karel_fast.karel.backends import (
    BACKENDS,
    BackendUnavailableError,
    available_backends,
    resolve_backend,
    unavailable,
)
from karel_fast.karel.execution import Result, Trace, available_threads, run, trace
from karel_fast.karel.language import Action, Program, parse
from karel_fast.karel.pictures import run_gif, run_svg
from karel_fast.karel.status import Status
from karel_fast.karel.world import Worlds
from karel_fast.support.files import check_apart, check_file, write_bytes, write_text
from karel_fast.support.machine import processor

NOT_ENDED = 3
"""Exit code of a strict run that crashed or met a limit."""

PACKAGES = ("numpy", "numba", "torch", "transformers", "pyarrow", "pybind11", "ray")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("run")(run_command)
    app.command("info")(info_command)


def run_command(
    program: Annotated[str, typer.Argument(help="File with the program's source; - reads standard input.")],
    world: Annotated[
        str, typer.Option(help="File with one world, or several separated by blank lines; - reads standard input.")
    ],
    show_trace: Annotated[bool, typer.Option("--trace", help="Also show every step.")] = False,
    semantics: Annotated[str, typer.Option(help=SEMANTICS_HELP)] = "original",
    max_steps: Annotated[int, whole_option("Actions a run may take.")] = 1000,
    on_error: Annotated[
        str, typer.Option(help="ignore: blocked moves and empty picks do nothing; crash: they stop the run.")
    ] = "ignore",
    backend: Backend = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of drawings.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Also draw the worlds before and after into this SVG file.")] = None,
    gif: Annotated[Path | None, typer.Option(help="Also draw every step into this animated GIF file.")] = None,
    animate: Annotated[bool, typer.Option("--animate", help="Show the runs step by step in the terminal.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 unless every run came to its end: crashed, or met a limit.")
    ] = False,
) -> None:
    """Run a program on worlds and draw them before and after."""
    if program == world == STANDARD_INPUT:
        raise ValueError("only one of the program and --world can come from standard input")
    read = {"the program": program, "the world": world}
    check_apart({"--svg": svg, "--gif": gif}, {name: file for name, file in read.items() if file != STANDARD_INPUT})
    for option, path in (("--svg", svg), ("--gif", gif)):
        if path is not None:
            check_file(option, path)
    parsed = read_named(program, parse)
    worlds = read_worlds(world)
    arguments: dict[str, Any] = {
        "semantics": semantics, "max_steps": max_steps, "on_error": on_error, "backend": backend
    }  # fmt: skip
    result = run(parsed, worlds, **arguments)
    steps = trace(parsed, worlds, **arguments) if show_trace or svg or gif or animate else None
    if svg is not None:
        write_text(svg, run_svg(worlds, result, steps))
    if gif is not None and steps is not None:
        write_bytes(gif, run_gif(steps))
    if animate and steps is not None:
        animate_runs(steps)
    steps = steps if show_trace else None
    if as_json:
        typer.echo(json.dumps([_as_json(parsed, worlds, result, steps, i) for i in range(len(worlds))], indent=1))
    else:
        draw_runs(worlds, result, steps)
    if strict and (result.status != Status.OK).any():
        raise typer.Exit(NOT_ENDED)


def _as_json(program: Program, worlds: Worlds, result: Result, steps: Trace | None, i: int) -> dict[str, Any]:
    record: dict[str, Any] = {
        "program": str(program),
        "status": Status(int(result.status[i])).name,
        "steps": int(result.steps[i]),
        "before": worlds[i].to_text()[0].split("\n"),
        "after": result.worlds[i].to_text()[0].split("\n"),
    }
    if steps is not None:
        end = int(steps.steps[i])
        record["trace"] = {
            "actions": [Action(code).name.lower() for code in steps.actions[i, :end].tolist()],
            "robot": steps.robot[i, : end + 1].tolist(),
            **{
                name: getattr(steps, name)[i, : end + 1].tolist()
                for name in ("markers_here", "front_clear", "left_clear", "right_clear")
            },
        }
    return record


def info_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which backend, processor features, threads and versions are in use, and why."""
    from karel_fast.support.version import VERSION

    backend, problem = _chosen(resolve_backend)
    facts: dict[str, Any] = {
        "karel_fast": VERSION,
        "python": platform.python_version(),
        "backend": backend,
        "backend_problem": problem,
        "backend_variable": os.environ.get("KAREL_FAST_BACKEND"),
        "backends": {known: unavailable().get(known, "available") for known in BACKENDS},
        "processor": processor(),
        "threads": available_threads(),
        "packages": {package: _version(package) for package in PACKAGES},
    }
    if "cpp" in available_backends():
        from karel_fast import _core

        chosen, isa_problem = _chosen(_core.instruction_set)
        problem = problem or isa_problem
        facts |= {
            "instruction_set": chosen,
            "instruction_set_problem": isa_problem,
            "instruction_set_variable": os.environ.get("KAREL_FAST_ISA"),
            "instruction_sets": _core.instruction_sets(),
        }
    typer.echo(json.dumps(facts, indent=1) if as_json else "\n".join(_info_lines(facts)))
    if problem:
        raise typer.Exit(2)


def _chosen(choose: Callable[[], str]) -> tuple[str | None, str | None]:
    """What was chosen, or what is wrong with the wish."""
    try:
        with warnings.catch_warnings():  # the lines on backends say the same
            warnings.simplefilter("ignore", RuntimeWarning)
            return choose(), None
    except (ValueError, BackendUnavailableError) as error:
        return None, str(error)


def _info_lines(facts: dict[str, Any]) -> list[str]:
    def why(variable: str, default: str) -> str:
        return f"chosen by {variable}" if os.environ.get(variable) else default

    lines = [f"karel_fast {facts['karel_fast']} on Python {facts['python']}"]
    for known, state in facts["backends"].items():
        reason = f"in use, {why('KAREL_FAST_BACKEND', 'the best available')}" if known == facts["backend"] else state
        lines.append(f"backend {known}: {reason}")
    if facts["backend_problem"]:
        lines.append(f"problem: {facts['backend_problem']}")
    if "instruction_sets" in facts:
        sets = ", ".join(facts["instruction_sets"])
        reason = why("KAREL_FAST_ISA", "the best this processor has")
        lines.append(
            f"problem: {facts['instruction_set_problem']}"
            if facts["instruction_set_problem"]
            else f"kernels: {facts['instruction_set']}, {reason} (of {sets}; KAREL_FAST_ISA picks another)"
        )
    processor = facts["processor"]
    lines.append(f"processor: {processor['model']}" + (f" ({processor['features']})" if processor["features"] else ""))
    lines.append(f"threads: {facts['threads']}, the processors that this process may use")
    return lines + [f"{package}: {version or 'not installed'}" for package, version in facts["packages"].items()]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
