"""Programs as source text, in either syntax; `parse` reads both back to an equal program."""

from __future__ import annotations

from collections.abc import Sequence

from karel_fast.karel.language.syntax import (
    CLOSE,
    ELSE,
    IF,
    IFELSE,
    NEGATED,
    REPEAT,
    WHILE,
    Block,
    Program,
    Statement,
    flatten,
)
from karel_fast.karel.language.vocabulary import ACTION_NAMES, CONDITION_NAMES, camel_case

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


def statements_source(body: Sequence[Statement | Block]) -> str:
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
