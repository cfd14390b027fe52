"""The pages people read: links, paths, commands, code blocks and figures in them are those of the tree."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from test_architecture import ROOMS

import karel_fast as kf
from karel_fast import cli
from karel_fast.data.tokens.registry import LAYOUTS
from karel_fast.probing.features import FEATURES
from karel_fast.probing.snapshot import ProbeRun, probe_snapshot
from karel_fast.runs.snapshots import write_snapshot

ROOT = Path(__file__).parent.parent
specification = importlib.util.spec_from_file_location("site_build", ROOT / "docs" / "build.py")
site = importlib.util.module_from_spec(specification)
specification.loader.exec_module(site)
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
TABLES = [
    "README.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("results*.md")),
    "docs/performance.md",
    "docs/protocol.md",
]
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


@pytest.mark.parametrize("page", [*PAGES, "benchmarks/NOTES.md"])
def test_lines(page):
    """Of prose, not of tables."""
    for number, line in enumerate(text_of(page).splitlines(), 1):
        if not line.startswith("|"):
            assert len(line) <= LONGEST_LINE, f"{page} line {number} has {len(line)} characters"


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


SMALL = kf.data.Recipe(height=5, width=5, examples=2, held_out=2, lengths=(3, 5))
SMALLER = {
    "count=10_000": "count=8",
    "count=2000": "count=60",
    "count=500": "count=20",
    "count=200": "count=9",
    "max_iter=1000": "max_iter=20",
}
"""What pages do with thousands is run with a few."""
OF_A_PATCH = "turn_around"
"""What a page shows of a language that its own patch makes; .ci/extending applies that and tests it."""


def before_exact(names: dict[str, object]) -> None:
    samples = kf.data.generate(SMALL, "test", count=8)
    names.update(actions=samples.actions, lengths=samples.lengths, others=kf.data.generate(SMALL, "val", count=8))


def before_data(names: dict[str, object]) -> None:
    recipe = kf.data.Recipe.paper()
    kf.data.write_shards(recipe, "train", "datasets/paper", count=100)
    samples = kf.data.generate(recipe, "train", count=2)
    kf.data.write_msr("val.json", list(samples.programs), *samples.shown())


def before_experiments(names: dict[str, object]) -> None:
    """A run of a model with random weights where the page has one that was trained."""
    tokenizer = kf.data.Tokenizer(SMALL)
    config = kf.model.model_config(
        tokenizer.vocab_size, tokenizer.sequence_length, layers=6, width=16, heads=4, rotary_dim=4,
        prompt_length=tokenizer.prompt_length, pad_id=tokenizer.pad_id, end_id=tokenizer.end_id,
    )  # fmt: skip
    card = {"recipe": SMALL.to_json(), "recipe_hash": SMALL.hash, "layout": "compact"}
    torch.manual_seed(1)  # other weights may write programs of one action alone, which leave nothing to probe
    snapshot = write_snapshot(Path("runs/laptop"), 5600, kf.model.Transformer(config), card)
    asked = ProbeRun.of(
        features=("direction",), depths=("linear",), offsets=(0,), semantics=("original",), seeds=(0,), least_steps=5, epochs=1,
        programs={"train": 20, "validation": 5, "test": 5}, unfinished=True, untrained=False, examples=0,
    )  # fmt: skip
    probed = probe_snapshot("runs/laptop", snapshot, asked, compile_model=False, save_probes=True)
    aside = probed.parent / "settings-1a2b3c4d"  # as the page has them: the run's own have other settings
    aside.mkdir()
    for file in probed.parent.glob("step-*"):
        file.rename(aside / file.name)


def before_extending(names: dict[str, object]) -> None:
    names.update(kf=kf, program=kf.parse("def run() { move() }"), worlds=kf.Worlds.from_text(["####\n#>.#\n####"]))


BEFORE = {
    "docs/data.md": before_data,
    "docs/exact.md": before_exact,
    "docs/experiments.md": before_experiments,
    "docs/extending.md": before_extending,
}
"""What a page takes for granted."""


@pytest.mark.filterwarnings("ignore:.*failed to converge.*")
@pytest.mark.parametrize("page", [page for page in PAGES if page != "README.md" and blocks(page, "python")])
def test_python_runs(page, tmp_path, monkeypatch):
    """Every Python block of a page, one after the other."""
    names: dict[str, object] = {"__name__": "page"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    known = [(registry, dict(registry)) for registry in (LAYOUTS, FEATURES)]
    if page in BEFORE:
        BEFORE[page](names)
    try:
        for block in blocks(page, "python"):
            for many, few in SMALLER.items():
                block = block.replace(many, few)
            if page == "docs/exact.md":
                block = block.replace("Recipe.paper()", "SMALL")
                names["SMALL"] = SMALL
            if OF_A_PATCH not in block:
                exec(compile(block, page, "exec"), names)
    finally:
        for registry, before in known:
            registry.clear()
            registry.update(before)


# -- the site and its tutorials


def test_the_site_has_every_page(tmp_path):
    """Each page is in the contents once, and no link of a page leads out of the site."""
    (tmp_path / "pictures").mkdir()
    listed = {name for names in site.GROUPS.values() for name in names}
    assert listed | {"index"} == {Path(name).stem for name in site.PAGES.values()} | {"api"}
    assert set(site.TUTORIALS) == {path.stem for path in (ROOT / "docs" / "tutorials").glob("*.ipynb")}
    for page in site.PAGES:
        for link in LINK.findall(FENCE.sub("", site.site_text(page, tmp_path / "pictures"))):
            path = link.partition("#")[0]
            there = path in site.PAGES.values() or (tmp_path / path).is_file()
            assert not path or link.startswith("http") or there, f"{page}: {link}"


@pytest.mark.parametrize("package", site.API)
def test_public_names_are_explained(package):
    """The API's page is made of docstrings."""
    module = importlib.import_module(package)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), f"{package}.{name} has no docstring"


@pytest.mark.parametrize("name", site.TUTORIALS)
def test_tutorials_are_kept_without_outputs(name):
    """Their outputs are made with the site; what is kept is what people wrote."""
    cells = json.loads((ROOT / "docs" / "tutorials" / f"{name}.ipynb").read_text())["cells"]
    assert cells[0]["source"][0].startswith("# ")
    for cell in cells:
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            assert text.startswith("%%bash") or compile(text, name, "exec")
        assert len(text.splitlines()) < 45


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
