"""Tables as plain text, so that they can be piped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def percent(value: float | None) -> str:
    """A share in percent, or a difference of shares in points; - where there is none."""
    return "-" if value is None else f"{100 * value:.1f}"


def columns(lines: Sequence[Sequence[str]], left: int = 1, aligned: str | None = None) -> Iterator[str]:
    """The lines in columns two spaces apart: the first `left` columns flush left, all others flush right; or as `aligned`
    says, a letter l or r for each.
    """
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    sides = aligned or "l" * left + "r" * (len(widths) - left)
    for line in lines:
        cells = [
            text.ljust(w) if side == "l" else text.rjust(w) for text, w, side in zip(line, widths, sides, strict=True)
        ]
        yield "  ".join(cells).rstrip()
