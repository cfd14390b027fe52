"""The words of the language and what they mean, written once: csrc/karel/vocabulary.hpp says the same in C++.

Everything that handles actions or conditions derives from here: bytecode, parser, semantics, backends, samplers, tokens.
docs/extending.md says how to add a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

MOST_ACTIONS = 7  # the fast kernels keep what all actions do in one 64-bit word, with a byte for "no action"
MOST_CONDITIONS = 8  # a branch instruction has three bits for its condition


@dataclass(frozen=True, slots=True)
class Effect:
    """What an action does: one step ahead, one marker put or picked, or so many quarter turns clockwise (1..3).

    Raises ValueError unless it does exactly one of these.
    """

    moves: bool = False
    puts: bool = False
    picks: bool = False
    turns: int = 0

    def __post_init__(self) -> None:
        if self.turns not in range(4) or self.moves + self.puts + self.picks + (self.turns > 0) != 1:
            raise ValueError(f"{self} must move, put, pick or turn (by 1 to 3 quarters): exactly one of these")

    @property
    def byte(self) -> int:
        """For the kernels: bit 0 moves, bit 1 puts, bit 2 picks, bits 3 and 4 quarter turns clockwise."""
        return self.moves | self.puts << 1 | self.picks << 2 | self.turns << 3


@dataclass(frozen=True, slots=True)
class Sense:
    """What a condition looks at, and what it must find there to hold.

    towards: the cell next to the robot after this many quarter turns clockwise (0..3), which is found clear or not; None
        for the robot's own cell, which is found with markers or without.
    found: the finding under which the condition holds.
    """

    towards: int | None
    found: bool

    def __post_init__(self) -> None:
        if self.towards is not None and self.towards not in range(4):
            raise ValueError(f"{self} must look towards 0 to 3 quarter turns clockwise, or None for the markers here")

    @property
    def byte(self) -> int:
        """For the kernels: bits 0 and 1 quarter turns clockwise, bit 2 the markers here, bit 3 holds if not found."""
        return (4 if self.towards is None else self.towards) | (not self.found) << 3


class Action(IntEnum):
    """What the robot can be told to do; the value is the code used in every array, `effect` is what it does."""

    effect: Effect

    def __new__(cls, code: int, effect: Effect | None = None) -> Action:
        if effect is None:
            raise ValueError(f"action {code} has no effect: give the code and an Effect")
        member = int.__new__(cls, code)
        member._value_ = code
        member.effect = effect
        return member

    MOVE = 0, Effect(moves=True)
    TURN_LEFT = 1, Effect(turns=3)
    TURN_RIGHT = 2, Effect(turns=1)
    PICK_MARKER = 3, Effect(picks=True)
    PUT_MARKER = 4, Effect(puts=True)


class Condition(IntEnum):
    """What the robot can ask about the cell it stands on and the cells next to it; `sense` is where it looks."""

    sense: Sense

    def __new__(cls, code: int, sense: Sense | None = None) -> Condition:
        if sense is None:
            raise ValueError(f"condition {code} looks at nothing: give the code and a Sense")
        member = int.__new__(cls, code)
        member._value_ = code
        member.sense = sense
        return member

    FRONT_IS_CLEAR = 0, Sense(towards=0, found=True)
    LEFT_IS_CLEAR = 1, Sense(towards=3, found=True)
    RIGHT_IS_CLEAR = 2, Sense(towards=1, found=True)
    MARKERS_PRESENT = 3, Sense(towards=None, found=True)
    NO_MARKERS_PRESENT = 4, Sense(towards=None, found=False)


class Direction(IntEnum):
    """Where the robot looks, clockwise: north is towards row 0, east towards higher columns."""

    NORTH = 0
    EAST = 1
    SOUTH = 2
    WEST = 3


for _words, _most in ((Action, MOST_ACTIONS), (Condition, MOST_CONDITIONS)):
    if [int(word) for word in _words] != list(range(len(_words))) or len(_words) > _most:
        raise ValueError(
            f"{_words.__name__} has codes {[int(word) for word in _words]}; number them 0, 1, .. below {_most}"
        )


def camel_case(name: str) -> str:
    """turn_left -> turnLeft."""
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


ACTION_NAMES: tuple[str, ...] = tuple(action.name.lower() for action in Action)
CONDITION_NAMES: tuple[str, ...] = tuple(condition.name.lower() for condition in Condition)
DIRECTION_NAMES: tuple[str, ...] = tuple(direction.name.lower() for direction in Direction)

ROBOT_SIGNS = "^>v<"
"""What the robot is drawn as in a world's text, by direction."""

# Both spellings, to plain integers: the parser looks these up once per statement.
ACTION_CODES: dict[str, int] = {
    spelling: code for code, name in enumerate(ACTION_NAMES) for spelling in (name, camel_case(name))
}
CONDITION_CODES: dict[str, int] = {
    spelling: code for code, name in enumerate(CONDITION_NAMES) for spelling in (name, camel_case(name))
}
