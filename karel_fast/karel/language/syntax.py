"""The syntax tree of a Karel program, and the flat form every tool that walks it shares.

A program may be nested tens of thousands of blocks deep, so nothing here recurses. Equality, hashing, printing,
pickling and compiling all work on `flatten(body)`: the tree in reading order as a list of integers,

    0..4                 an action, by its code
    IF      condition    opens a block; the condition's code, plus NEGATED when it is under `not`
    IFELSE  condition    opens a block with two halves
    WHILE   condition    opens a block
    REPEAT  count        opens a block
    ELSE                 begins the second half of the innermost IFELSE
    CLOSE                ends the innermost block

and `build(codes)` turns the list back into the tree.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias, Union

MAX_REPEAT = 2**24 - 1
"""The largest count of a `repeat`."""

IF, IFELSE, WHILE, REPEAT, ELSE, CLOSE = range(5, 11)
NEGATED = 8


class Action(IntEnum):
    """What the robot can be told to do; the value is the code used in every array."""

    MOVE = 0
    TURN_LEFT = 1
    TURN_RIGHT = 2
    PICK_MARKER = 3
    PUT_MARKER = 4


class Condition(IntEnum):
    """What the robot can ask about the cell it stands on and the cells next to it."""

    FRONT_IS_CLEAR = 0
    LEFT_IS_CLEAR = 1
    RIGHT_IS_CLEAR = 2
    MARKERS_PRESENT = 3
    NO_MARKERS_PRESENT = 4


class Direction(IntEnum):
    """Where the robot looks, clockwise: north is towards row 0, east towards higher columns."""

    NORTH = 0
    EAST = 1
    SOUTH = 2
    WEST = 3


class Block:
    """What the four kinds of block have in common: comparing, hashing, printing and pickling without recursion."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Block):
            return NotImplemented
        return self is other or flatten((self,)) == flatten((other,))

    def __hash__(self) -> int:
        return hash(tuple(flatten((self,))))

    def __repr__(self) -> str:
        from karel_fast.karel.language.printer import statements_source  # the printer needs this module first

        return f"<{statements_source((self,))}>"

    def __reduce__(self) -> tuple:
        return _build_one, (flatten((self,)),)

    def __copy__(self) -> Block:
        return self

    def __deepcopy__(self, memo: dict) -> Block:
        return self

    def _opening(self) -> tuple[int, int]:
        raise NotImplementedError


def _set(block: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(block, name, value)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class If(Block):
    """`if (condition) {body}`; `negated` puts the condition under `not`."""

    condition: Condition
    negated: bool
    body: tuple[Statement, ...]

    def __post_init__(self) -> None:
        _set(self, condition=Condition(self.condition), negated=bool(self.negated), body=_statements(self.body))

    def _opening(self) -> tuple[int, int]:
        return IF, self.condition | (NEGATED if self.negated else 0)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IfElse(Block):
    """`ifelse (condition) {body} else {orelse}`."""

    condition: Condition
    negated: bool
    body: tuple[Statement, ...]
    orelse: tuple[Statement, ...]

    def __post_init__(self) -> None:
        _set(self, condition=Condition(self.condition), negated=bool(self.negated))
        _set(self, body=_statements(self.body), orelse=_statements(self.orelse))

    def _opening(self) -> tuple[int, int]:
        return IFELSE, self.condition | (NEGATED if self.negated else 0)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class While(Block):
    """`while (condition) {body}`."""

    condition: Condition
    negated: bool
    body: tuple[Statement, ...]

    def __post_init__(self) -> None:
        _set(self, condition=Condition(self.condition), negated=bool(self.negated), body=_statements(self.body))

    def _opening(self) -> tuple[int, int]:
        return WHILE, self.condition | (NEGATED if self.negated else 0)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Repeat(Block):
    """`repeat (count) {body}`, with 0 <= count <= MAX_REPEAT."""

    count: int
    body: tuple[Statement, ...]

    def __post_init__(self) -> None:
        count = operator.index(self.count)
        if not 0 <= count <= MAX_REPEAT:
            raise ValueError(f"repeat count {count} is out of range; give a whole number from 0 to {MAX_REPEAT}")
        _set(self, count=count, body=_statements(self.body))

    def _opening(self) -> tuple[int, int]:
        return REPEAT, self.count


Statement: TypeAlias = Union[Action, If, IfElse, While, Repeat]  # noqa: UP007  (evaluated while the names are still strings)


@dataclass(frozen=True, slots=True, repr=False)
class Program:
    """A Karel program: `body` is a tuple of statements, each an `Action`, `If`, `IfElse`, `While` or `Repeat`.

    Programs are immutable, hashable (the hash is the same in every process) and compare by structure. `str(program)` is
    its source in the curly syntax, which `parse` reads back to an equal program.
    """

    body: tuple[Statement, ...]

    def __post_init__(self) -> None:
        _set(self, body=_statements(self.body))

    @classmethod
    def from_actions(cls, codes: Iterable[int]) -> Program:
        """The straight-line program of these action codes (integers 0..4 or `Action`; a NumPy row works)."""
        return cls(tuple([_action(position, code) for position, code in enumerate(codes)]))

    @property
    def actions(self) -> tuple[Action, ...] | None:
        """The actions of a straight-line program; None if the program has any control flow."""
        actions = tuple([statement for statement in self.body if isinstance(statement, Action)])
        return actions if len(actions) == len(self.body) else None

    def __hash__(self) -> int:
        return hash(tuple(flatten(self.body)))

    def __str__(self) -> str:
        from karel_fast.karel.language.printer import to_source  # the printer needs this module first

        return to_source(self)

    def __repr__(self) -> str:
        return f"parse({str(self)!r})"

    def __reduce__(self) -> tuple:
        return _build_program, (flatten(self.body),)

    def __copy__(self) -> Program:
        return self

    def __deepcopy__(self, memo: dict) -> Program:
        return self


_ACTIONS = tuple(Action)


def _action(position: int, code: object) -> Action:
    try:
        index = operator.index(code)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"action {position} is {code!r}; give an Action or its code, 0 to 4") from None
    if not 0 <= index < len(_ACTIONS):
        raise ValueError(f"action {position} has code {index}; the codes are 0 to 4 (see karel_fast.Action)")
    return _ACTIONS[index]


def _statements(body: Iterable[Statement]) -> tuple[Statement, ...]:
    if isinstance(body, Action | Block | str):
        raise TypeError(f"a body is a tuple of statements, not one {type(body).__name__}; write (statement,)")
    body = tuple(body)
    for position, statement in enumerate(body):
        if type(statement) is not Action and not isinstance(statement, Block):
            raise TypeError(
                f"statement {position} is {statement!r}; a statement is an Action, If, IfElse, While or Repeat"
                " (Program.from_actions takes integer codes)"
            )
    return body


def flatten(body: Sequence[Statement | Block]) -> list[int]:
    """The statements in reading order as integers; the module's docstring has the format."""
    codes: list[int] = []
    agenda: list = list(reversed(body))
    while agenda:
        item = agenda.pop()
        if isinstance(item, int):  # an action, or an ELSE or CLOSE put on the agenda below
            codes.append(int(item))
            continue
        codes += item._opening()
        agenda.append(CLOSE)
        if isinstance(item, IfElse):
            agenda += reversed(item.orelse)
            agenda.append(ELSE)
        agenda += reversed(item.body)
    return codes


def build(codes: Iterable[int]) -> tuple[Statement, ...]:
    """The statements that `flatten` made these integers from."""
    statements: list[Statement] = []
    stack: list[tuple[int, int, list[Statement], tuple[Statement, ...]]] = []
    first_half: tuple[Statement, ...] = ()
    stream = iter(codes)
    for code in stream:
        if code < IF:
            statements.append(_ACTIONS[code])
        elif code == ELSE:
            kind, argument, outer, _ = stack.pop()
            stack.append((kind, argument, outer, tuple(statements)))
            statements = []
        elif code == CLOSE:
            kind, argument, outer, first_half = stack.pop()
            outer.append(_block(kind, argument, first_half, tuple(statements)))
            statements = outer
        else:
            stack.append((code, next(stream), statements, ()))
            statements = []
    return tuple(statements)


def _block(kind: int, argument: int, first_half: tuple[Statement, ...], last: tuple[Statement, ...]) -> Statement:
    if kind == REPEAT:
        return Repeat(argument, last)
    condition, negated = Condition(argument & ~NEGATED), argument >= NEGATED
    if kind == IFELSE:
        return IfElse(condition, negated, first_half, last)
    return (If if kind == IF else While)(condition, negated, last)


def _build_program(codes: Iterable[int]) -> Program:
    return Program(build(codes))


def _build_one(codes: Iterable[int]) -> Statement:
    return build(codes)[0]
