"""The language: vocabulary, syntax tree, parser, semantics tables, and the compiler to what the backends run."""

from karel_fast.karel.language.compiler import CompiledPrograms, compile
from karel_fast.karel.language.parser import KarelSyntaxError, parse
from karel_fast.karel.language.semantics import NAMED_SEMANTICS, Semantics, resolve_semantics
from karel_fast.karel.language.syntax import (
    MAX_REPEAT,
    If,
    IfElse,
    Program,
    Repeat,
    Statement,
    While,
    to_source,
)
from karel_fast.karel.language.vocabulary import Action, Condition, Direction

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
