"""The command `karel-fast bench`: the benchmarks of the checkout, and one table of what they found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from karel_fast.support.files import read_json

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SIZES = ("quick", "small", "paper")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("bench")(bench_command)


def bench_command(
    names: Annotated[
        list[str] | None, typer.Argument(help="Suites to run, as in benchmarks/bench_NAME.py; default: all.")
    ] = None,
    size: Annotated[
        str, typer.Option(help="quick: everything tiny; small: two processors; paper: the paper's model, for a GPU.")
    ] = "small",
    device: Annotated[str, typer.Option(help="Of model and probes: auto, cpu, cuda or cuda:N.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Run the benchmarks with pytest-benchmark: this project, its peers and its limits, measured in turn on this machine."""
    files = _files(names or [])
    if size not in SIZES:
        raise ValueError(f"unknown size {size!r}; choose from {', '.join(SIZES)}")
    if device not in ("auto", "cpu"):
        from karel_fast.model.device import resolve_device  # torch takes a second to load

        resolve_device(device)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "benchmarks.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--benchmark-json={output}",
            f"--size={size}",
            f"--device={device}",
            *map(str, files),
        ]
        # The table is for standard output; what pytest says goes beside it.
        code = subprocess.run(
            command, stdout=sys.stderr, cwd=BENCHMARKS.parent, env={**os.environ, "COLUMNS": "160"}, check=False
        ).returncode
        if not output.exists():
            raise ValueError(f"the benchmarks did not finish (pytest exit code {code})")
        report = read_json(output)
    machine = {"size": size, **report["machine_info"]["karel_fast"]}
    rows = [_row(bench) for bench in report["benchmarks"]]
    if as_json:
        typer.echo(json.dumps({"machine": machine, "benchmarks": rows}))
    else:
        _print_table(rows, size)
        _print_machine(machine)
    raise typer.Exit(code)


def _files(names: list[str]) -> list[Path]:
    known = {path.stem.removeprefix("bench_"): path for path in sorted(BENCHMARKS.glob("bench_*.py"))}
    if not known:
        raise ValueError(f"there are no benchmarks at {BENCHMARKS}; they come with a checkout (pip install -e .)")
    for name in names:
        if name not in known:
            raise ValueError(f"unknown suite {name!r}; choose from {', '.join(known)}")
    return [path for name, path in known.items() if not names or name in names]


def _row(bench: dict[str, Any]) -> dict[str, Any]:
    """What the `compare` fixture of benchmarks/conftest.py found."""
    return {"name": bench["name"].removeprefix("bench_"), "group": bench["group"], **bench["extra_info"]}


def _print_table(rows: list[dict[str, Any]], size: str) -> None:
    from rich.console import Console
    from rich.table import Table

    meaning = "tiny sizes: only shows that all runs" if size == "quick" else "medians, measured in turn"
    table = Table(title=f"karel_fast against its peers and limits ({meaning})")
    for heading in ("benchmark", "this project", "target", "beside", "ratio", "target ratio", "met"):
        table.add_column(heading, justify="left" if heading in {"benchmark", "beside"} else "right")
    for row in rows:
        rate, target = row["rate"], row["target_rate"]
        first = [row["name"], _rate(rate, row["unit"]), f">= {_rate(target, row['unit'])}" if target else ""]
        if not row["comparisons"]:
            table.add_row(*first, "", "", "", "" if target is None else "yes" if rate >= target else "no")
        for comparison in row["comparisons"]:
            ratio, unit = comparison["ratio"], comparison["unit"]
            goal, at_least = comparison["target"], comparison["at_least"]
            met = [] if goal is None or ratio is None else [ratio >= goal if at_least else ratio <= goal]
            met += [] if target is None else [rate >= target]
            table.add_row(
                *first,
                comparison["with"],
                "not installed" if ratio is None else f"{_short(ratio)}{unit}",
                "" if goal is None else f"{'>=' if at_least else '<='} {goal:g}{unit}",
                "" if not met else "yes" if all(met) else "no",
            )
            first, target = ["", "", ""], None
    Console(width=max(Console().width, 150)).print(table)


def _print_machine(machine: dict[str, Any]) -> None:
    """Versions, and device, threads, precision and sizes of each suite that has them."""
    settings = machine.pop("settings")
    for name, facts in {"machine": machine, **settings}.items():
        typer.echo(f"{name}: " + ", ".join(f"{key} {_plain(value)}" for key, value in facts.items()))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {_plain(each)}" for key, each in value.items()) + ")"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _rate(value: float, unit: str) -> str:
    for scale, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= scale:
            return f"{value / scale:.3g}{prefix} {unit}"
    return f"{value:.3g} {unit}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
