"""The report of a run: figures and one self-contained page, made from the files of a run folder alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from karel_fast.support.lazy import lazy

if TYPE_CHECKING:
    from karel_fast.report.page import write_report as write_report

_HOME = {"write_report": "page"}

__all__ = sorted(_HOME)

__getattr__, __dir__ = lazy(__name__, _HOME)
