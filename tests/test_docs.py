"""The pages people read: links, paths, commands, code blocks and figures in them are those of the tree."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from test_architecture import ROOMS

from karel_fast import cli
from karel_fast.probing.features import FEATURES

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
TABLES = ["README.md", "docs/results.md", "docs/results-avoid-noops.md", "docs/performance.md", "docs/protocol.md"]
RESULTS = ROOT / "benchmarks" / "results" / "laptop-epyc-zen4-2cpu"

LONGEST_LINE = 160
MOST_WORDS = 12

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOURCE_PATH = re.compile(r"`((?:karel_fast|csrc|tests|benchmarks|docs)/[\w./-]*\w/?)`")
COMMAND = re.compile(r"(?:`|\$ |&& |until )karel-fast ([a-z]+(?:-[a-z]+)*)([^`\n#|;&]*)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return [body for found, body in FENCE.findall(text_of(page)) if found == language]


def anchors(page: str) -> set[str]:
    """The anchors that a page's headings get: lower case, no punctuation, hyphens for spaces."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links(page):
    for link in LINK.findall(text_of(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page} links to {link}, which is not there"
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(ROOT))), f"{page}: no heading for {link}"


@pytest.mark.parametrize("page", PAGES)
def test_paths(page):
    for path in SOURCE_PATH.findall(text_of(page)):
        assert (ROOT / path).exists(), f"{page} names {path}, which is not there"


def test_lines_of_the_readme():
    for number, line in enumerate(text_of("README.md").splitlines(), 1):
        assert len(line) <= LONGEST_LINE, f"README.md line {number} has {len(line)} characters"


@pytest.mark.parametrize("page", TABLES)
def test_tables(page):
    """Cells are short, and every row has as many as its table's first."""
    width = None
    for line in FENCE.sub("", text_of(page)).splitlines():
        if not line.startswith("|"):
            width = None
            continue
        cells = line.strip("|").split("|")
        width = width or len(cells)
        assert len(cells) == width, f"{page}: {len(cells)} cells in place of {width}: {line}"
        for cell in cells:
            assert len(cell.split()) <= MOST_WORDS, f"{page}: a cell of {len(cell.split())} words: {cell}"


@pytest.mark.parametrize("page", PAGES)
def test_python_compiles(page):
    for block in blocks(page, "python"):
        compile(block, page, "exec")


def test_python_of_the_readme_runs(capsys):
    names: dict[str, object] = {}
    try:
        for block in blocks("README.md", "python"):
            exec(block, names)
    finally:
        FEATURES.pop("beside_wall", None)  # other tests see the features that there were
    assert "#" in capsys.readouterr().out  # a world was drawn
    assert len(names["tokens"]) == 1000


def test_commands(monkeypatch, capsys):
    """Every command and option of `karel-fast` that a page names is in that command's help."""
    monkeypatch.setenv("COLUMNS", "250")  # so that no option is cut off
    named: dict[str, set[tuple[str, str]]] = {}
    for page in PAGES:
        for name, rest in COMMAND.findall(text_of(page)):
            named.setdefault(name, set()).update((page, option) for option in re.findall(r"(?<!\S)--[a-z-]+", rest))
    assert len(named) > 9  # the pages name most commands
    for name, options in named.items():
        monkeypatch.setattr(sys, "argv", ["karel-fast", name, "--help"])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code, f"there is no command `karel-fast {name}`"
        known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
        for page, option in options:
            assert option in known, f"{page}: `karel-fast {name}` has no {option}"


def test_lift_is_that_of_the_kept_results():
    """The table in docs/results-avoid-noops.md of lift by meaning; what fails here is the row that should stand there."""
    table = json.loads((RESULTS / "metrics.json").read_text())["probing"][-1]["probes"]
    lifts: dict[tuple[str, str], dict[str, str]] = {}
    for values in table["rows"]:
        row = dict(zip(table["columns"], values, strict=True))
        accuracy, majority = 100 * row["accuracy"], 100 * row["majority"]
        cell = f"{accuracy - majority:.1f} ({accuracy:.1f} - {majority:.1f})"
        lifts.setdefault((row["feature"], row["depth"]), {})[row["semantics"]] = cell
    depths = {"linear": "linear", "mlp1": "one hidden layer"}
    for (feature, depth), cells in lifts.items():
        line = f"| {feature} | {depths[depth]} | {cells['original']} | {cells['flip']} | {cells['adversarial']} |"
        assert line in text_of("docs/results-avoid-noops.md"), line


# -- the column of rooms ------------------------------------------------------------------------------------------------


def test_the_column_is_the_one_that_is_checked():
    line = re.search(r"^    (support, .*)$", text_of("docs/architecture.md"), re.MULTILINE)
    assert line is not None
    assert tuple(line[1].split(", ")) == ROOMS
