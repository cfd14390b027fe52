"""The command line: `karel-fast COMMAND`. Each room of the house brings its own commands; `run` and `info` are in karel.py.

Wrong input is one message on standard error and exit code 2. KAREL_FAST_TRACEBACK=1 shows where it came from.
"""

from __future__ import annotations

import os
import sys

import typer

from karel_fast.cli import bench
from karel_fast.cli import data as data_commands
from karel_fast.cli import karel as commands
from karel_fast.cli import probing as probing_commands
from karel_fast.cli import report as report_commands
from karel_fast.cli import solve as solve_commands
from karel_fast.cli import training as training_commands
from karel_fast.experiment import reproduce

app = typer.Typer(
    name="karel-fast",
    help="Does a language model trained only on program text come to represent what the programs do? Karel, fast and exact.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for room in (
    commands,
    data_commands,
    training_commands,
    probing_commands,
    report_commands,
    solve_commands,
    reproduce,
    bench,
):
    room.register(app)


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except Exception as error:
        if os.environ.get("KAREL_FAST_TRACEBACK") or not _is_about_input(error):
            raise
        sys.stderr.write(f"karel-fast: {_message(error)}\n")
        sys.exit(2)


def _is_about_input(error: Exception) -> bool:
    """Whether the error speaks to the user: wrong values, files that cannot be used, or a failure that karel_fast named."""
    ours = type(error).__module__.startswith("karel_fast")
    return ours or isinstance(error, ValueError | TypeError | OSError | MemoryError | ImportError)


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__
