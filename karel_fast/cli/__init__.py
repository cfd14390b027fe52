"""The command line: `karel-fast COMMAND`. Each room of the house brings its own commands; `run` and `info` are in karel.py.

Wrong input is one message on standard error and exit code 2; KAREL_FAST_TRACEBACK=1 shows where it came from. A model whose
numbers are not finite is one message and exit code 1. A fault of karel_fast is a traceback and exit code 1.
"""

from __future__ import annotations

import dis
import errno
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from karel_fast.cli import bench, reproduce
from karel_fast.cli import crossover as crossover_commands
from karel_fast.cli import data as data_commands
from karel_fast.cli import features as features_commands
from karel_fast.cli import karel as commands
from karel_fast.cli import latent as latent_commands
from karel_fast.cli import probing as probing_commands
from karel_fast.cli import rank as rank_commands
from karel_fast.cli import report as report_commands
from karel_fast.cli import solve as solve_commands
from karel_fast.cli import steering as steering_commands
from karel_fast.cli import training as training_commands
from karel_fast.support.checks import InputError, NotFiniteError, one_line
from karel_fast.support.version import VERSION


def print_version(wanted: bool) -> None:
    """The version, where it is asked for."""
    if wanted:
        typer.echo(f"karel_fast {VERSION}")
        raise typer.Exit


app = typer.Typer(
    name="karel-fast",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Does a language model trained only on program text come to represent what the programs do? Karel, fast and exact."""


for room in (
    commands,
    data_commands,
    training_commands,
    probing_commands,
    features_commands,
    steering_commands,
    rank_commands,
    crossover_commands,
    latent_commands,
    report_commands,
    solve_commands,
    reproduce,
    bench,
):
    room.register(app)


def main() -> None:
    """Entry point of the console script."""
    if not isinstance(warnings.formatwarning, _OneLine):
        warnings.formatwarning = _OneLine()
    try:
        if "" in sys.argv[1:]:
            raise InputError(
                "an argument is empty, as an unset variable in quotes is; give a name or a value, or leave it out"
            )
        app()
    except Exception as error:
        if os.environ.get("KAREL_FAST_TRACEBACK") or not _is_about_input(error):
            raise
        sys.stderr.write(f"karel-fast: {_message(error)}\n")
        sys.exit(1 if isinstance(error, NotFiniteError) else 2)


class _OneLine:
    """Warnings of this package as one line each, and each once; those of others as Python writes them."""

    def __init__(self) -> None:
        self.told: set[str] = set()
        self.others = warnings.formatwarning

    def __call__(
        self, message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if not Path(filename).is_relative_to(PACKAGE):
            return self.others(message, category, filename, lineno, line)
        text = f"karel-fast: warning: {message}\n"
        if text in self.told:
            return ""
        self.told.add(text)
        return text


PACKAGE = Path(__file__).parents[1]


def _is_about_input(error: Exception) -> bool:
    """Whether the error speaks to the user, or else is a fault of ours, which must look like one.

    Wrong input is what karel_fast itself refuses: its own kinds of errors, `InputError` among them, and the ValueErrors
    and TypeErrors that its checks raise. Their traceback ends at a `raise` in this package; an error from the depths of
    another library ends there, or at the call. Files that cannot be used and full memory are no fault either.
    """
    if isinstance(error, InputError | MemoryError) or type(error).__module__.startswith("karel_fast"):
        return True
    if isinstance(error, OSError) and (error.filename is not None or error.errno in FULL):
        return True
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("karel_fast"):
        return True
    return isinstance(error, ValueError | TypeError | OSError | ImportError) and _raised_here(error)


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
"""A disk that takes no more: whoever notices it may not know the file's name."""


def _raised_here(error: Exception) -> bool:
    """Whether a `raise` statement of this package raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code = trace.tb_frame.f_code
    ours = str(trace.tb_frame.f_globals.get("__name__", "")).startswith("karel_fast")
    return ours and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return one_line(error)
    if isinstance(error, ModuleNotFoundError) and error.msg.startswith(("No module named", "import of")):
        return f"this needs the package {error.name}, which is not installed: pip install {error.name}"
    return str(error) or type(error).__name__
