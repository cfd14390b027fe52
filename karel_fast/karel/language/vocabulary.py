"""How actions and conditions are spelt, and the hint an error gives when a name is nearly one of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from karel_fast.karel.language.syntax import Action, Condition


def camel_case(name: str) -> str:
    """turn_left -> turnLeft."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


ACTION_NAMES: tuple[str, ...] = tuple(action.name.lower() for action in Action)
CONDITION_NAMES: tuple[str, ...] = tuple(condition.name.lower() for condition in Condition)

# Both spellings, to plain integers: the parser looks these up once per statement.
ACTION_CODES: dict[str, int] = {
    spelling: code for code, name in enumerate(ACTION_NAMES) for spelling in (name, camel_case(name))
}
CONDITION_CODES: dict[str, int] = {
    spelling: code for code, name in enumerate(CONDITION_NAMES) for spelling in (name, camel_case(name))
}


def shortened(text: str, limit: int = 40) -> str:
    """The text as a quoted literal, cut where it would flood a message."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean 'move'?`, or else the list of names there are."""
    known = list(known)
    if len(word) <= 40:
        lowered = {name.lower(): name for name in reversed(known)}
        close = get_close_matches(word.lower(), lowered, n=1)
        if close:
            return f"did you mean {lowered[close[0]]!r}?"
    return f"use one of {', '.join(known)}"
