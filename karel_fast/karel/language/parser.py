"""Source text to programs: one loop with an explicit stack serves both syntaxes, which differ only in their `_Grammar`.

program    curly: def run() { statements }       tokens: DEF run m( statements m)
statements separated by `;` in the curly syntax (one more at the end is fine), by nothing in the token syntax
statement  action | if | if .. else | while | repeat   (ifelse .. else is the same as if .. else)
condition  name, or `not` of one; names may be snake_case or camelCase in either syntax
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

from karel_fast.karel.language.syntax import (
    CLOSE,
    ELSE,
    IF,
    IFELSE,
    MAX_REPEAT,
    NEGATED,
    REPEAT,
    WHILE,
    Program,
    unflatten,
)
from karel_fast.karel.language.vocabulary import (
    ACTION_CODES,
    ACTION_NAMES,
    CONDITION_CODES,
    CONDITION_NAMES,
    camel_case,
)
from karel_fast.support.checks import nearest


class KarelSyntaxError(ValueError):
    """Source text that is not a Karel program; `.line` and `.column` (from 1) say where, the message shows it."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column

    def __reduce__(self) -> tuple:
        return type(self), (str(self), self.line, self.column)


@dataclass(frozen=True, slots=True)
class _Grammar:
    pattern: re.Pattern[str]
    header: tuple[str, ...]
    close: str  # ends the program
    separator: str  # between statements; empty for none
    call: list[str]  # follows the name of an action or a condition
    condition: tuple[str, str]
    count: tuple[str, str]  # around a repeat count
    count_prefix: str
    blocks: dict[str, tuple[int, str, str]]  # keyword -> kind, opening, closing
    orelse: tuple[str, str, str]  # keyword, opening, closing


_CURLY = _Grammar(
    # The first two alternatives are all that right programs need, and quick; the next is for names in other alphabets.
    # A number takes its sign and trailing letters along, so that `-3` and `3x` are named whole in errors.
    pattern=re.compile(r"[A-Za-z_]\w*|[(){};]|[^\W\d]\w*|[-+]?[0-9][\w.]*|\S"),
    header=("def", "run", "(", ")", "{"),
    close="}",
    separator=";",
    call=["(", ")"],
    condition=("(", ")"),
    count=("(", ")"),
    count_prefix="",
    blocks={
        "if": (IF, "{", "}"),
        "ifelse": (IFELSE, "{", "}"),
        "while": (WHILE, "{", "}"),
        "repeat": (REPEAT, "{", "}"),
    },
    orelse=("else", "{", "}"),
)
_TOKENS = _Grammar(
    pattern=re.compile(r"\S+"),
    header=("DEF", "run", "m("),
    close="m)",
    separator="",
    call=[],
    condition=("c(", "c)"),
    count=("", ""),
    count_prefix="R=",
    blocks={
        "IF": (IF, "i(", "i)"),
        "IFELSE": (IFELSE, "i(", "i)"),
        "WHILE": (WHILE, "w(", "w)"),
        "REPEAT": (REPEAT, "r(", "r)"),
    },
    orelse=("ELSE", "e(", "e)"),
)
_NEGATED_BY = {
    name.replace("_", "").replace("clear", "blocked"): name for name in CONDITION_NAMES if name.endswith("_is_clear")
}
_MEANT_BY = {
    "markernotpresent": "no_markers_present",
    "markersnotpresent": "no_markers_present",
    "notnexttoamarker": "no_markers_present",
    "nexttoamarker": "markers_present",
    "pickupmarker": "pick_marker",
    "putdownmarker": "put_marker",
}
"""What other dialects call it, in small letters without underscores, "marker" for "beeper"."""

_COMMENT = re.compile(r"(?:#|//)[^\n]*")
_END = ""  # stands for the end of the source in the list of tokens


def parse(source: str) -> Program:
    """The program that the source text spells, in time linear in its length.

    The first word tells the syntax: `DEF` begins the MSR token form, anything else is read as the curly form. What follows a # or //
    on its line is a comment.
    Raises KarelSyntaxError (a ValueError with `.line` and `.column`), or TypeError if source is not a string.
    """
    if not isinstance(source, str):
        raise TypeError(f"the source of a program is a string, not {type(source).__name__}")
    return Program(unflatten(_Parser(source).codes()))


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        # Comments are blanked, so that everything else stays where it stands in the source.
        self.code = (
            _COMMENT.sub(lambda comment: " " * len(comment[0]), source) if "#" in source or "//" in source else source
        )
        self.grammar = _TOKENS if re.match(r"\s*DEF(?!\S)", self.code) else _CURLY
        self.tokens = self.grammar.pattern.findall(self.code)
        self.tokens.append(_END)

    def codes(self) -> list[int]:
        """The program in the flat form of `syntax.flatten`."""
        grammar, tokens = self.grammar, self.tokens
        separator, call, blocks = grammar.separator, grammar.call, grammar.blocks
        call_length = len(call)
        codes: list[int] = []
        at = self.expect_all(0, grammar.header)
        close = grammar.close
        # Of each open block: kind, closing of the block around it, its keyword, and where its code stands.
        opened: list[tuple[int, str, int, int]] = []
        separator_due = False
        while True:
            token = tokens[at]
            if token == close:
                at += 1
                if not opened:
                    break
                kind, outer_close, keyword_at, code_at = opened.pop()
                if kind == IF and tokens[at] == grammar.orelse[0]:
                    codes[code_at] = kind = IFELSE
                if kind == IFELSE:
                    keyword, opening, close = grammar.orelse
                    if tokens[at] != keyword:
                        self.fail(at, f"expected {keyword!r} after the first half of an ifelse, not {self.shown(at)}")
                    at = self.expect_all(at + 1, (opening,))
                    codes.append(ELSE)
                    opened.append((ELSE, outer_close, keyword_at, code_at))
                    separator_due = False
                else:
                    codes.append(CLOSE)
                    close = outer_close
                    separator_due = bool(separator)
            elif separator_due:
                if token != separator:
                    self.fail_separator(at, close, opened)
                at += 1
                separator_due = False
            elif token in ACTION_CODES:
                if tokens[at + 1 : at + 1 + call_length] != call:
                    self.expect_all(at + 1, call, f" after {token!r}: an action is written {token}()")
                codes.append(ACTION_CODES[token])
                at += 1 + call_length
                separator_due = bool(separator)
            elif token in blocks:
                kind, opening, closing = blocks[token]
                opened.append((kind, close, at, len(codes)))
                close = closing
                at, argument = self.count(at + 1) if kind == REPEAT else self.condition(at + 1)
                codes += (kind, argument)
                at = self.expect_all(at, (opening,))
            else:
                self.fail_statement(at, close, opened)
        if tokens[at] != _END:
            self.fail(at, f"the program ended before {self.shown(at)}; a source holds one program")
        return codes

    def expect_all(self, at: int, expected: tuple[str, ...] | list[str], why: str = "") -> int:
        """The position after these tokens, which must be the next ones."""
        for token in expected:
            if self.tokens[at] != token:
                if at < len(self.grammar.header) and not why:
                    beginning = " ".join(self.grammar.header).replace(" ( )", "()")
                    why = f"; a program begins {beginning!r}"
                self.fail(at, f"expected {token!r}, not {self.shown(at)}{why}")
            at += 1
        return at

    def condition(self, at: int) -> tuple[int, int]:
        """The position after a condition in its brackets; its code, with NEGATED if it is under `not`."""
        opening, closing = self.grammar.condition
        at = self.expect_all(at, (opening,))
        if self.tokens[at] != "not":
            at, code = self.condition_name(at)
            return self.expect_all(at, (closing,)), code
        at += 1
        bracketed = self.grammar is _TOKENS or self.tokens[at] == opening  # the curly syntax may leave the brackets out
        if bracketed:
            at = self.expect_all(at, (opening,))
        if self.tokens[at] == "not":
            self.fail(at, "'not' of 'not' is not in the language; write the condition itself")
        at, code = self.condition_name(at)
        return self.expect_all(at, (closing, closing) if bracketed else (closing,)), code | NEGATED

    def condition_name(self, at: int) -> tuple[int, int]:
        token = self.tokens[at]
        if token not in CONDITION_CODES:
            self.fail_condition(at)
        why = f" after {token!r}: a condition is written {token}()"
        return self.expect_all(at + 1, self.grammar.call, why), CONDITION_CODES[token]

    def fail_condition(self, at: int) -> NoReturn:
        token = self.tokens[at]
        if token in ACTION_CODES:
            self.fail(at, f"{token!r} is an action, not a condition; use one of {', '.join(CONDITION_NAMES)}")
        if token[:1].isidentifier():
            self.fail(at, f"unknown condition {_shortened(token)}; {self.hint(token, CONDITION_NAMES)}")
        self.fail(at, f"expected a condition, not {self.shown(at)}; use one of {', '.join(CONDITION_NAMES)}")

    def hint(self, token: str, names: Iterable[str], others: Iterable[str] = ()) -> str:
        """What may have been meant, of the same meaning, as this syntax spells it."""
        spell = camel_case if self.grammar is _TOKENS else str
        plain = token.replace("_", "").lower().replace("beeper", "marker")
        if plain in _NEGATED_BY and _NEGATED_BY[plain] in names:
            name = spell(_NEGATED_BY[plain])
            return f"write 'not c( {name} c)'" if self.grammar is _TOKENS else f"write 'not {name}()'"
        same = {name.replace("_", ""): name for name in names} | {k: v for k, v in _MEANT_BY.items() if v in names}
        if plain in same:
            return f"did you mean {spell(same[plain])!r}?"
        return nearest(token, [*map(spell, names), *others])

    def count(self, at: int) -> tuple[int, int]:
        """The position after a repeat count, and the count."""
        before, after = self.grammar.count
        prefix = self.grammar.count_prefix
        if before:
            at = self.expect_all(at, (before,))
        token = self.tokens[at]
        digits = token.removeprefix(prefix)
        number = digits.lstrip("0") or "0"
        if not (token.startswith(prefix) and digits.isascii() and digits.isdecimal()):
            written = f"{prefix}n with a whole number n" if prefix else "a whole number"
            self.fail(at, f"expected a repeat count, {written} from 0 to {MAX_REPEAT}, not {self.shown(at)}")
        # The length first, and without the zeros in front: int() of a megabyte of digits is an error of its own.
        if len(number) > len(str(MAX_REPEAT)) or int(number) > MAX_REPEAT:
            self.fail(
                at, f"repeat count {_shortened(digits)} is out of range; give a whole number from 0 to {MAX_REPEAT}"
            )
        return self.expect_all(at + 1, (after,) if after else ()), int(number)

    def fail_statement(self, at: int, close: str, opened: list[tuple[int, str, int, int]]) -> NoReturn:
        token = self.tokens[at]
        if token == _END:
            self.fail_open(at, close, opened)
        if token in CONDITION_CODES:
            self.fail(at, f"{token!r} is a condition, not an action; it belongs in an if, ifelse or while")
        if token == self.grammar.orelse[0]:
            self.fail_else(at)
        if token[:1].isidentifier() and not token.endswith(("(", ")")):
            self.fail(at, f"unknown action {_shortened(token)}; {self.hint(token, ACTION_NAMES, self.grammar.blocks)}")
        self.fail(at, f"expected a statement or {close!r}, not {self.shown(at)}")

    def fail_separator(self, at: int, close: str, opened: list[tuple[int, str, int, int]]) -> NoReturn:
        if self.tokens[at] == _END:
            self.fail_open(at, close, opened)
        if self.tokens[at] == self.grammar.orelse[0]:
            self.fail_else(at)
        separator = self.grammar.separator
        self.fail(
            at, f"expected {separator!r} or {close!r}, not {self.shown(at)}; statements are separated by {separator!r}"
        )

    def fail_else(self, at: int) -> NoReturn:
        word = next(word for word, (kind, _, _) in self.grammar.blocks.items() if kind == IF)
        self.fail(
            at, f"{self.tokens[at]!r} has no {word!r}: it follows the block of one, as in {word} .. {self.tokens[at]}"
        )

    def fail_open(self, at: int, close: str, opened: list[tuple[int, str, int, int]]) -> NoReturn:
        opener = opened[-1][2] if opened else 0
        line, column = _line_and_column(self.source, self.offset(opener))
        opening = f"the {self.tokens[opener]!r} at line {line}, column {column}"
        self.fail(at, f"the source ends inside {opening}; close it with {close!r}")

    def shown(self, at: int) -> str:
        return _shortened(self.tokens[at]) if self.tokens[at] != _END else "the end of the source"

    def offset(self, at: int) -> int:
        """Where the token stands in the source; found only for errors, so that parsing need not keep it."""
        if self.tokens[at] == _END:
            return len(self.code.rstrip())
        return next(islice(self.grammar.pattern.finditer(self.code), at, None)).start()

    def fail(self, at: int, message: str) -> NoReturn:
        offset = self.offset(at)
        line, column = _line_and_column(self.source, offset)
        excerpt = _excerpt(self.source, offset)
        raise KarelSyntaxError(f"line {line}, column {column}: {message}\n{excerpt}", line, column)


def _line_and_column(source: str, offset: int) -> tuple[int, int]:
    return source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset)


def _shortened(text: str, limit: int = 40) -> str:
    """The text as a quoted literal, cut where it would flood a message."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def _excerpt(source: str, offset: int, before: int = 50, after: int = 30) -> str:
    """The line around the offset, cut to a readable width, with a caret under it."""
    line_start = source.rfind("\n", 0, offset) + 1
    line_end = source.find("\n", offset)
    line_end = len(source) if line_end < 0 else line_end
    start, end = max(line_start, offset - before), min(line_end, offset + after)
    head = "…" if start > line_start else ""
    tail = "…" if end < line_end else ""
    # One column for every character, or the caret would point beside its mark.
    shown = "".join(c if c.isprintable() else " " for c in source[start:end])
    return f"    {head}{shown}{tail}\n    {' ' * (len(head) + offset - start)}^"
