"""How every figure looks: one palette, and ink that follows the page's light or dark scheme.

Colours are Okabe and Ito's, told apart under the common colour-vision deficiencies; series also differ in marker and
dash. Text and axes are drawn in colours that no data uses, which the page replaces by CSS variables, as it does those of
series, so that a dark page has brighter ones; files keep black and grey.
"""

from __future__ import annotations

import io
import re
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES: tuple[object, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1)), (0, (1, 3)))

DOTTED = (0, (1, 2))
"""The line of what a figure compares with: nothing read, or the most frequent answer."""

# Colours no data uses: stand-ins for the page's ink, its faint rules and its ground.
INK, RULE, GROUND = "#010203", "#b1b2b3", "#fdfefc"
_PAGE = {INK: "var(--ink)", RULE: "var(--rule)", GROUND: "var(--ground)"} | {
    colour.lower(): f"var(--series-{index})" for index, colour in enumerate(PALETTE)
}

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
}


def styled() -> AbstractContextManager[None]:
    """Everything drawn inside looks alike; matplotlib's own settings are back afterwards."""
    return mpl.rc_context(_STYLE)


def new_figure(
    width: float, height: float, rows: int = 1, columns: int = 1, **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of that size in inches, outside pyplot's global state, and its axes row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    return figure, list(axes.flat)


def look(index: int) -> dict[str, Any]:
    """Colour, marker and dash of series `index`: no two of 36 are alike."""
    again, colour = divmod(index, len(PALETTE))
    other = (colour + again) % len(PALETTE)  # a colour that comes again has another marker and dash
    return {"color": PALETTE[colour], "marker": MARKERS[other], "linestyle": DASHES[other]}


def render(figure: Figure, name: str) -> tuple[str, str, bytes]:
    """(SVG for the page, SVG for a file, PNG at 160 dots per inch); the same bytes for the same figure."""
    svg = _svg(figure, name)
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        # The ground is white in files.
        boxes = [(artist, artist.get_bbox_patch().get_facecolor()) for artist in figure.findobj(_has_box)]  # type: ignore[attr-defined]
        for artist, _ in boxes:
            artist.get_bbox_patch().set_facecolor("white")  # type: ignore[attr-defined]
        layout = figure.get_layout_engine()
        figure.set_layout_engine("none")  # laid out by the first drawing
        png = io.BytesIO()
        FigureCanvasAgg(figure)
        figure.savefig(png, format="png", dpi=160, facecolor="white", metadata={"Software": None})
        figure.set_layout_engine(layout)
        for artist, colour in boxes:
            artist.get_bbox_patch().set_facecolor(colour)  # type: ignore[attr-defined]
    return _for_page(svg, name), svg.replace(GROUND, "#ffffff"), png.getvalue()


def render_for_page(figure: Figure, name: str) -> str:
    """Only the SVG for the page."""
    return _for_page(_svg(figure, name), name)


def _svg(figure: Figure, name: str) -> str:
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _for_page(svg: str, name: str) -> str:
    page = _own_ids(re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL), name)
    for stand_in, variable in _PAGE.items():
        page = page.replace(stand_in, variable)
    page = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", page, count=1)
    return re.sub(r'(<svg[^>]*?) width="[^"]*"', r'\1 width="100%"', page, count=1)


def _has_box(artist: Any) -> bool:
    return hasattr(artist, "get_bbox_patch") and artist.get_bbox_patch() is not None


def _own_ids(svg: str, name: str) -> str:
    """Keep only ids that the drawing refers to, each once and under the figure's name: a page holds many drawings."""
    used = set(re.findall(r"#([\w-]+)\b", " ".join(re.findall(r'(?:href="#[^"]*"|url\(#[^)]*\))', svg))))
    seen: set[str] = set()

    def rename(match: re.Match[str]) -> str:
        if match[1] not in used or match[1] in seen:
            return ""
        seen.add(match[1])
        return f' id="{name}-{match[1]}"'

    svg = re.sub(r' id="([^"]*)"', rename, svg)
    return re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
