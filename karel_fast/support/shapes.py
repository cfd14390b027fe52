"""Whether a JSON value is what it should be: checks put together from few kinds, which name the place of what is wrong.

A check takes a value and raises `Misfit` where it does not fit. NaN, infinity, text that is none in UTF-8 and great depth fit nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

LARGEST = 1e100
"""The largest number that anything of ours can be; drawings of larger ones overflow."""
ROUNDING = 1e-9
"""A share that is a sum of fractions may be so much above 1."""
DEEPEST = 32
"""Lists and tables inside one another, where nothing else is said."""
LONGEST_NAME = 200

Check = Callable[[Any], None]


class Misfit(ValueError):
    """A value is not what it should be. place: where it is, as `.records[3].seed`; text: what it is, and should be."""

    def __init__(self, text: str, place: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.place = place

    def inside(self, part: str) -> Misfit:
        """The same, seen from the value around it."""
        self.place = part + self.place
        return self


def number(low: float = -LARGEST, high: float = LARGEST) -> Check:
    """A number from low to high, or null: a number that is missing."""

    def check(value: Any) -> None:
        if value is not None and (type(value) not in (float, int) or not low - ROUNDING <= value <= high + ROUNDING):
            raise Misfit(f"is {shown(value)}; it is a number from {low:g} to {high:g}, or null")

    return check


def whole(low: int = 0, high: int = 2**63 - 1) -> Check:
    """A whole number from low to high."""

    def check(value: Any) -> None:
        if type(value) is not int or not low <= value <= high:
            raise Misfit(f"is {shown(value)}; it is a whole number from {low} to {high}")

    return check


def text(value: Any) -> None:
    """Any text that can be written in UTF-8."""
    if not isinstance(value, str) or not _is_unicode(value):
        raise Misfit(f"is {shown(value)}; it is text")


def name(value: Any) -> None:
    """A short text that can stand in a figure, where a dollar sign would begin a formula."""
    if not isinstance(value, str) or not value.isprintable() or "$" in value or not 0 < len(value) <= LONGEST_NAME:
        raise Misfit(f"is {shown(value)}; it is a name of 1 to {LONGEST_NAME} letters, without $")


def flag(value: Any) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise Misfit(f"is {shown(value)}; it is true or false")


def anything(value: Any, depth: int = DEEPEST) -> None:
    """Any value that can be written down again, not too deep."""
    if isinstance(value, str):
        text(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if not abs(value) <= 1e300:
            raise Misfit(f"is {shown(value)}; it is a finite number")
    elif isinstance(value, list | dict):
        if not depth:
            raise Misfit(f"is nested more than {DEEPEST} deep")
        parts: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
        for part, inner in parts:
            try:
                if isinstance(part, str):
                    text(part)
                anything(inner, depth - 1)
            except Misfit as misfit:
                raise misfit.inside(f".{part}" if isinstance(part, str) else f"[{part}]") from None


def maybe(check: Check) -> Check:
    """What fits, or null."""

    def check_known(value: Any) -> None:
        if value is not None:
            check(value)

    return check_known


def each(check: Check, least: int = 0, most: int | None = None) -> Check:
    """A list of what fits, of least to most parts."""

    def check_all(value: Any) -> None:
        if not isinstance(value, list):
            raise Misfit(f"is {shown(value)}; it is a list")
        if len(value) < least or (most is not None and len(value) > most):
            raise Misfit(
                f"has {len(value)} parts; it is a list of {least} {'or more' if most is None else f'to {most}'}"
            )
        for index, inner in enumerate(value):
            try:
                check(inner)
            except Misfit as misfit:
                raise misfit.inside(f"[{index}]") from None

    return check_all


def table(known: Mapping[str, Check], needed: Collection[str] = (), other: Check = anything) -> Check:
    """An object; `needed` are the keys that it must have, `other` is for keys that are not known."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise Misfit(f"is {shown(value)}; it is an object")
        for key in needed:
            if key not in value:
                raise Misfit("is missing", f".{key}")
        for key, inner in value.items():
            try:
                if key not in known:
                    text(key)
                known.get(key, other)(inner)
            except Misfit as misfit:
                raise misfit.inside(f".{key}") from None

    return check


def keyed(check: Check, key: Check = name) -> Check:
    """An object whose keys and values fit."""

    def check_all(value: Any) -> None:
        if not isinstance(value, dict):
            raise Misfit(f"is {shown(value)}; it is an object")
        for one, inner in value.items():
            try:
                key(one)
                check(inner)
            except Misfit as misfit:
                raise misfit.inside(f".{one}") from None

    return check_all


def digits(value: Any) -> None:
    """The key of a table by whole number."""
    if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10):
        raise Misfit("is a key that is no whole number")


def shown(value: Any) -> str:
    """The value as JSON has it, cut short."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    words = {None: "null", True: "true", False: "false"}
    said = words[value] if value is None or isinstance(value, bool) else ascii(value)
    return said if len(said) <= 60 else said[:57] + "..."


def _is_unicode(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
