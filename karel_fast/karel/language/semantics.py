"""Which action is performed for each action written: the text stays the same, its meaning changes.

"original", "flip" and "adversarial" are those of Jin & Rinard (2024); "map0" to "map11" are the numbered mappings of
their code, some of which are equal to one another; "identity" performs every action as it is written.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from karel_fast.karel.language.vocabulary import ACTION_CODES, ACTION_NAMES, Action
from karel_fast.support.checks import nearest


class Semantics:
    """A mapping from each written action to the action performed; actions not named stay themselves.

    `Semantics(move="turn_left")` turns left where `move` is written. Values are names ("turn_left" or "turnLeft") or
    `Action`s. `name` is for reports and takes no part in comparisons; without one, it lists what changes. Raises
    ValueError for a value that names no action, TypeError for any other value and for a keyword that is no action.
    """

    __slots__ = ("_codes", "_name")

    def __init__(self, *, name: str | None = None, **performed: str | Action) -> None:
        for written in performed:
            if written not in ACTION_NAMES:
                raise TypeError(f"Semantics maps {written!r}, which names no action; {nearest(written, ACTION_NAMES)}")
        self._codes = tuple(_performed_code(written, performed.get(written, written)) for written in ACTION_NAMES)
        changed = [
            f"{ACTION_NAMES[written]}>{ACTION_NAMES[code]}"
            for written, code in enumerate(self._codes)
            if written != code
        ]
        self._name = name if name is not None else ",".join(changed) or "original"

    @property
    def name(self) -> str:
        """What reports call this semantics."""
        return self._name

    @property
    def table(self) -> NDArray[np.uint8]:
        """uint8 (actions,): the code performed for each written code."""
        return np.array(self._codes, dtype=np.uint8)

    def __eq__(self, other: object) -> bool:
        return self._codes == other._codes if isinstance(other, Semantics) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._codes)

    def __repr__(self) -> str:
        pairs = [f"{written}={ACTION_NAMES[code]!r}" for written, code in zip(ACTION_NAMES, self._codes, strict=True)]
        return f"Semantics({', '.join(pairs)}, name={self._name!r})"

    def __reduce__(self) -> tuple:
        return _from_codes, (self._codes, self._name)


def _from_codes(codes: tuple[int, ...], name: str) -> Semantics:
    return Semantics(**dict(zip(ACTION_NAMES, map(Action, codes), strict=True)), name=name)


def _performed_code(written: str, value: object) -> int:
    if isinstance(value, Action):
        return int(value)
    if not isinstance(value, str):
        raise TypeError(f"{written}={value!r} is not an action; give a name such as 'turn_left', or an Action")
    if value not in ACTION_CODES:
        raise ValueError(f"{written}={value!r} names no action; {nearest(value, ACTION_NAMES)}")
    return ACTION_CODES[value]


def _numbered(number: int, changes: str) -> Semantics:
    """From the short form of the authors' code: `p>u` reads pick_marker performs put_marker."""
    letters = {"M": "move", "L": "turn_left", "R": "turn_right", "p": "pick_marker", "u": "put_marker"}
    mapping = {letters[change[0]]: letters[change[2]] for change in changes.split()}
    return Semantics(**mapping, name=f"map{number}")


NAMED_SEMANTICS: dict[str, Semantics] = {
    semantics.name: semantics
    for semantics in (
        Semantics(name="original"),
        Semantics(turn_left="turn_right", turn_right="turn_left", name="flip"),
        Semantics(
            move="turn_left",
            turn_left="turn_right",
            turn_right="move",
            pick_marker="turn_right",
            put_marker="turn_left",
            name="adversarial",
        ),
        _numbered(0, "p>u u>p R>L L>R"),
        _numbered(1, "p>L u>M R>p L>u M>R"),
        _numbered(2, "p>u u>R R>L L>M M>p"),
        _numbered(3, "p>R u>L R>M L>R M>L"),
        _numbered(4, "p>R u>M R>u L>p M>L"),
        _numbered(5, "p>u u>p R>M L>R M>L"),
        _numbered(6, "p>u u>p R>M L>R M>L"),
        _numbered(7, "p>u u>p R>L L>R"),
        _numbered(8, "p>u u>p L>M M>L"),
        _numbered(9, "p>u u>p R>M M>R"),
        _numbered(10, "p>u u>p R>M L>R M>L"),
        _numbered(11, "p>u u>p R>L L>M M>R"),
        # What "original" is, but where that name stands for another meaning that a run was trained on.
        Semantics(name="identity"),
    )
}
"""Every semantics that has a name, by that name."""


def resolve_semantics(semantics: str | Semantics | Mapping[str, str | Action]) -> Semantics:
    """The semantics of this name, this object itself, or one made from a mapping such as {"move": "turn_left"}, which may
    also be written as "move>turn_left+turn_left>move" (written>performed).

    Raises ValueError for an unknown name or action, TypeError for anything else.
    """
    if isinstance(semantics, Semantics):
        return semantics
    if isinstance(semantics, str):
        if semantics in NAMED_SEMANTICS:
            return NAMED_SEMANTICS[semantics]
        if ">" not in semantics:
            raise ValueError(
                f"unknown semantics {semantics!r}; {nearest(semantics, NAMED_SEMANTICS)} "
                "(or write pairs such as 'move>turn_right+turn_right>move')"
            )
        semantics = parse_mapping(semantics)
    if isinstance(semantics, Mapping):
        by_name: dict[str, str | Action] = {}
        for written, performed in semantics.items():
            if not isinstance(written, str) or written not in ACTION_CODES:
                raise ValueError(f"semantics maps {written!r}, which names no action; use {', '.join(ACTION_NAMES)}")
            name = ACTION_NAMES[ACTION_CODES[written]]
            if name in by_name:
                raise ValueError(f"semantics maps {name} twice, in two spellings; write one pair for each action")
            by_name[name] = performed
        return Semantics(**by_name)  # type: ignore[arg-type]
    raise TypeError(
        f"semantics is {type(semantics).__name__}; give a name ({', '.join(list(NAMED_SEMANTICS)[:3])}, ..),"
        " a Semantics, or a mapping"
    )


def parse_mapping(text: str) -> dict[str, str]:
    """ "move>turn_left+turn_left>move" as a mapping from written to performed actions; a comma joins pairs, too, as in a
    semantics' name. Raises ValueError.
    """
    pairs = [[part.strip() for part in pair.split(">")] for pair in text.replace(",", "+").split("+")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ValueError(f"semantics {text!r} is no list of written>performed pairs joined by +")
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError(f"semantics {text!r} maps an action twice; write one pair for each")
    return mapping
