"""The language: syntax tree, parser, printer, semantics tables, and the compiler to what the backends run."""

from karel_fast.karel.language.compiler import CompiledPrograms, compile
from karel_fast.karel.language.parser import KarelSyntaxError, parse
from karel_fast.karel.language.printer import to_source
from karel_fast.karel.language.semantics import NAMED_SEMANTICS, Semantics, resolve_semantics
from karel_fast.karel.language.syntax import (
    MAX_REPEAT,
    Action,
    Condition,
    Direction,
    If,
    IfElse,
    Program,
    Repeat,
    Statement,
    While,
)

__all__ = [
    "MAX_REPEAT",
    "NAMED_SEMANTICS",
    "Action",
    "CompiledPrograms",
    "Condition",
    "Direction",
    "If",
    "IfElse",
    "KarelSyntaxError",
    "Program",
    "Repeat",
    "Semantics",
    "Statement",
    "While",
    "compile",
    "parse",
    "resolve_semantics",
    "to_source",
]
