"""Sphinx's settings; docs/build.py puts this beside the pages of the site."""

from __future__ import annotations

import re
from typing import Any

import karel_fast

project = "karel_fast"
author = "the authors of karel_fast"
version = release = karel_fast.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc"]
html_theme = "furo"
html_title = "karel_fast"
html_show_copyright = False
exclude_patterns = ["**.ipynb_checkpoints"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # nbconvert has executed them
nb_output_stderr = "remove"  # progress bars
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
suppress_warnings = ["myst.header"]


def as_markup(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Docstrings are written to be read as they are: code in single backticks, indented blocks shown as they stand."""
    out: list[str] = []
    block = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not block:
            out += ["", "::", ""]
        elif block and not indented and line.strip():
            out.append("")
        block = indented or (block and not line.strip())
        if indented:
            out.append(line)
            continue
        parts = re.split(r"(`+[^`]*`+)", line)
        # Outside code, a star, bar or ending underscore is a character like any other.
        plain = [part if i % 2 else re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part) for i, part in enumerate(parts)]
        for i in range(1, len(plain), 2):
            # reStructuredText wants a boundary after code, which "`Action`s" has not.
            plain[i] = f"``{plain[i].strip('`')}``" + ("\\ " if plain[i + 1][:1].isalnum() else "")
        out.append("".join(plain))
    lines[:] = out


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", as_markup)
