"""Numbers on the command line: as people write them, and refused by name.

typer's own message says that a number was expected, and not what was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import typer

from karel_fast.support.checks import InputError

MOST_DIGITS = 20
"""Of a whole number: as many as the largest seed's, 2**64 - 1. 1e9999999 would take all memory before anything could refuse it."""


def whole_option(help: str, least: int | None = None, **more: Any) -> Any:
    """An option for a whole number, of at least `least`; `more` is as of `typer.Option`."""
    return typer.Option(help=help, parser=partial(_parsed, partial(_at_least, least)), metavar="<int>", **more)


def decimal_option(help: str, **more: Any) -> Any:
    """An option for a number."""
    return typer.Option(help=help, parser=partial(_parsed, decimal), metavar="<float>", **more)


def _parsed(read: Callable[[Any], Any], text: Any) -> Any:
    try:
        return read(text)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error


def _at_least(least: int | None, text: str | int) -> int:
    number = whole_count(text)
    if least is not None and number < least:
        raise InputError(f"{_quoted(text)} is too small; give at least {least}")
    return number


def whole_count(text: str | int) -> int:
    """A whole number as people write it: 1000000, 1_000_000, 1,000,000 or 1e6. InputError for anything else."""
    plain = str(text)
    grouped = "," not in plain or re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", plain)  # 1,5 is no 15
    exact: Decimal | None = None
    number: int | None = None
    try:
        exact = Decimal(plain.replace("_", "").replace(",", ""))
        number = int(exact) if exact.adjusted() < MOST_DIGITS else None
    except (ArithmeticError, ValueError):
        pass
    if exact is not None and exact.is_finite() and number is None:
        raise InputError(f"{_quoted(text)} is far out of range; give a number of at most {MOST_DIGITS} digits")
    if number is None or number != exact or not grouped:
        raise InputError(f"{_quoted(text)} is no whole number; give one such as 1000000 or 1e6")
    return number


def decimal(text: str | float) -> float:
    """A number as Python writes it. InputError for anything else."""
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{_quoted(text)} is no number; give one such as 0.004 or 4e-3") from None


def _quoted(text: str | float) -> str:
    plain = str(text)
    return repr(plain if len(plain) <= 40 else f"{plain[:20]}...{plain[-10:]}")
