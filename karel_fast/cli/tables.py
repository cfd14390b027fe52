"""Tables as plain text, so that they can be piped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def columns(lines: Sequence[Sequence[str]], left: int = 1) -> Iterator[str]:
    """The lines in columns two spaces apart: the first `left` columns flush left, all others flush right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        cells = [
            text.ljust(w) if i < left else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
