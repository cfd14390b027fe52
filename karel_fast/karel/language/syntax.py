"""The syntax tree of a Karel program, the flat form every tool that walks it shares, and its source text.

A program may be nested tens of thousands of blocks deep, so nothing here recurses. Equality, hashing, printing,
pickling and compiling all work on `flatten(body)`: the tree in reading order as a list of integers,

    0, 1, ..             an action, by its code
    IF      condition    opens a block; the condition's code, plus NEGATED when it is under `not`
    IFELSE  condition    opens a block with two halves
    WHILE   condition    opens a block
    REPEAT  count        opens a block
    ELSE                 begins the second half of the innermost IFELSE
    CLOSE                ends the innermost block

and `unflatten(codes)` turns the list back into the tree. `to_source` writes either syntax; `parse` reads both back to an
equal program.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias, Union

from karel_fast.karel.language.vocabulary import ACTION_NAMES, CONDITION_NAMES, Action, Condition, camel_case

MAX_REPEAT = 2**24 - 1
"""The largest count of a `repeat`."""

IF, IFELSE, WHILE, REPEAT, ELSE, CLOSE = range(len(Action), len(Action) + 6)  # the codes after those of the actions
NEGATED = 8


class Compound:
    """What the four kinds of block have in common: comparing, hashing, printing and pickling without recursion."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Compound):
            return NotImplemented
        return self is other or flatten((self,)) == flatten((other,))

    def __hash__(self) -> int:
        return hash(tuple(flatten((self,))))

    def __repr__(self) -> str:
        return f"<{statements_source((self,))}>"

    def __reduce__(self) -> tuple:
        return _build_one, (flatten((self,)),)

    def __copy__(self) -> Compound:
        return self

    def __deepcopy__(self, memo: dict) -> Compound:
        return self

    def _opening(self) -> tuple[int, int]:
        raise NotImplementedError


def _set(block: object, **values: object) -> None:
    for name, value in values.items():
        object.__setattr__(block, name, value)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class If(Compound):
    """`if (condition) {body}`; `negated` puts the condition under `not`."""

    condition: Condition
    negated: bool
    body: tuple[Statement, ...]

    def __post_init__(self) -> None:
        _set(self, condition=Condition(self.condition), negated=bool(self.negated), body=_statements(self.body))

    def _opening(self) -> tuple[int, int]:
        return IF, self.condition | (NEGATED if self.negated else 0)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IfElse(Compound):
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
class While(Compound):
    """`while (condition) {body}`."""

    condition: Condition
    negated: bool
    body: tuple[Statement, ...]

    def __post_init__(self) -> None:
        _set(self, condition=Condition(self.condition), negated=bool(self.negated), body=_statements(self.body))

    def _opening(self) -> tuple[int, int]:
        return WHILE, self.condition | (NEGATED if self.negated else 0)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Repeat(Compound):
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
        """The straight-line program of these action codes (integers or `Action`s; a NumPy row works)."""
        return cls(tuple([_action(position, code) for position, code in enumerate(codes)]))

    @property
    def actions(self) -> tuple[Action, ...] | None:
        """The actions of a straight-line program; None if the program has any control flow."""
        actions = tuple([statement for statement in self.body if isinstance(statement, Action)])
        return actions if len(actions) == len(self.body) else None

    def __hash__(self) -> int:
        return hash(tuple(flatten(self.body)))

    def __str__(self) -> str:
        return to_source(self)

    def __repr__(self) -> str:
        return f"parse({str(self)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the source."""
        return f"<pre><code>{escape(str(self))}</code></pre>"

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
        raise TypeError(
            f"action {position} is {code!r}; give an Action or its code, 0 to {len(_ACTIONS) - 1}"
        ) from None
    if not 0 <= index < len(_ACTIONS):
        raise ValueError(
            f"action {position} has code {index}; the codes are 0 to {len(_ACTIONS) - 1} (see karel_fast.Action)"
        )
    return _ACTIONS[index]


def _statements(body: Iterable[Statement]) -> tuple[Statement, ...]:
    if isinstance(body, Action | Compound | str):
        raise TypeError(f"a body is a tuple of statements, not one {type(body).__name__}; write (statement,)")
    body = tuple(body)
    for position, statement in enumerate(body):
        if type(statement) is not Action and not isinstance(statement, Compound):
            raise TypeError(
                f"statement {position} is {statement!r}; a statement is an Action, If, IfElse, While or Repeat"
                " (Program.from_actions takes integer codes)"
            )
    return body


def flatten(body: Sequence[Statement | Compound]) -> list[int]:
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


def unflatten(codes: Iterable[int]) -> tuple[Statement, ...]:
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
    if kind == IF:
        return If(condition, negated, last)
    if kind == WHILE:
        return While(condition, negated, last)
    raise ValueError(f"code {kind} opens no block")


def _build_program(codes: Iterable[int]) -> Program:
    return Program(unflatten(codes))


def _build_one(codes: Iterable[int]) -> Statement:
    return unflatten(codes)[0]


_KEYWORDS = {IF: "if", IFELSE: "ifelse", WHILE: "while", REPEAT: "repeat"}
_TOKEN_BRACKETS = {IF: "i", IFELSE: "i", WHILE: "w", REPEAT: "r"}


def to_source(program: Program, syntax: str = "curly") -> str:
    """The program's source on one line.

    syntax: "curly" for `def run() { move(); if (front_is_clear()) { turn_left() } }`, "tokens" for the form of the MSR
    Karel dataset, `DEF run m( move IF c( frontIsClear c) i( turnLeft i) m)`. Raises ValueError for any other.
    """
    if not isinstance(program, Program):
        raise TypeError(f"to_source takes a Program, not {type(program).__name__}; parse(source) makes one")
    if syntax == "curly":
        body = statements_source(program.body)
        return f"def run() {{ {body} }}" if body else "def run() { }"
    if syntax == "tokens":
        return " ".join(["DEF", "run", "m(", *_tokens(program.body), "m)"])
    raise ValueError(f"unknown syntax {syntax!r}; use 'curly' or 'tokens'")


def statements_source(body: Sequence[Statement | Compound]) -> str:
    """The statements alone, in the curly syntax."""
    pieces: list[str] = []
    separator = ""  # what goes before the next statement or closing brace
    stream = iter(flatten(body))
    for code in stream:
        if code < IF:
            pieces += (separator, ACTION_NAMES[code], "()")
            separator = "; "
        elif code == CLOSE:
            pieces.append(" }")
            separator = "; "
        elif code == ELSE:
            pieces.append(" } else {")
            separator = " "
        else:
            argument = next(stream)
            inside = str(argument) if code == REPEAT else _curly_condition(argument)
            pieces += (separator, _KEYWORDS[code], " (", inside, ") {")
            separator = " "
    return "".join(pieces)


def _curly_condition(argument: int) -> str:
    call = CONDITION_NAMES[argument & ~NEGATED] + "()"
    return f"not ({call})" if argument & NEGATED else call


def _tokens(body: Sequence[Statement]) -> list[str]:
    pieces: list[str] = []
    open_brackets: list[str] = []
    stream = iter(flatten(body))
    for code in stream:
        if code < IF:
            pieces.append(camel_case(ACTION_NAMES[code]))
        elif code == CLOSE:
            pieces.append(open_brackets.pop() + ")")
        elif code == ELSE:
            pieces += (open_brackets.pop() + ")", "ELSE", "e(")
            open_brackets.append("e")
        else:
            argument = next(stream)
            inside = [f"R={argument}"] if code == REPEAT else _token_condition(argument)
            pieces += (_KEYWORDS[code].upper(), *inside, _TOKEN_BRACKETS[code] + "(")
            open_brackets.append(_TOKEN_BRACKETS[code])
    return pieces


def _token_condition(argument: int) -> list[str]:
    name = camel_case(CONDITION_NAMES[argument & ~NEGATED])
    return ["c(", "not", "c(", name, "c)", "c)"] if argument & NEGATED else ["c(", name, "c)"]
