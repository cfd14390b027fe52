"""Checks of values that people give: each raises one exception that names the value, its place and what would do."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something that the user gave cannot be used: a setting, a file, an argument. The message is all they need."""


class NotFiniteError(ArithmeticError):
    """A model's numbers are NaN or infinite, so that nothing can be said of it. The message names it."""


def one_line(error: BaseException) -> str:
    """What an error of another library, or of the system about a file, says, for a message of one line."""
    if isinstance(error, OSError) and error.filename is not None:
        remedy = "; it is no folder: choose another name" if isinstance(error, FileExistsError) else ""
        return f"{error.filename}: {error.strerror}{remedy}"
    return " ".join(str(error).split())


def whole(name: str, value: object, lowest: int, highest: int | None = None) -> int:
    """The value as a plain int. TypeError unless it is a whole number (NumPy's are), ValueError unless in the range."""
    expected = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:  # arrays have __index__, whatever they hold
        number = None
    if number is None:
        raise TypeError(f"{name} is {value!r}; give a whole number {expected}")
    if number < lowest or (highest is not None and number > highest):
        raise ValueError(f"{name} is {shown(number)}; give a whole number {expected}")
    return number


def shown(number: int) -> str:
    """The number, or about what it is where it has more than 40 digits: beyond 4300 Python refuses to write it out."""
    if abs(number) < 10**40:
        return str(number)
    power = math.log10(abs(number))
    return f"about {'-' if number < 0 else ''}{10 ** (power % 1):.3g}e{int(power)}"


def real(name: str, value: object, lowest: float, highest: float) -> float:
    """The value as a plain float. TypeError unless it is a number (NumPy's are), ValueError unless in the range."""
    expected = f"of at least {lowest:g}" if highest == math.inf else f"from {lowest:g} to {highest:g}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r}; give a number {expected}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{name} is {shown(int(math.floor(value)))}; give a number {expected}") from None  # noqa: RUF046
    if not lowest <= number <= highest:
        raise ValueError(f"{name} is {number}; give a number {expected}")
    return number


def one_of(name: str, value: object, choices: Iterable[str]) -> str:
    """The value. ValueError, with the nearest choice or all of them, unless it is one of the choices."""
    choices = list(choices)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}; {nearest(str(value), choices)}")
    return value


def distinct(name: str, values: Iterable[object]) -> None:
    """ValueError for a list that names something twice, which would be counted twice, or trained over itself."""
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{name} has {value!r} twice; name each once")
        seen.add(value)


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'move'?`, or else the list of names there are."""
    known = list(known)
    if len(word) <= 40:
        lowered = {name.lower(): name for name in reversed(known)}
        close = get_close_matches(word.lower(), lowered, n=1)
        if close:
            return f"did you mean {lowered[close[0]]!r}?"
    return f"use one of {', '.join(known)}"
