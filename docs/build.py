"""Build the documentation's site: python docs/build.py FOLDER [--without-running]

Pages are the Markdown files that people read in the repository, their links turned into those of the site. Tutorials are executed by
nbconvert first, so that their outputs are this version's; a cell that raises stops the build, as does any warning of Sphinx.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/NOTES.md": "notes.md",
    **{f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))},
}
"""Where each page of the repository is on the site."""
TUTORIALS = ("five-minutes", "own-feature", "own-checkpoint", "capture-and-edit", "cluster-data", "read-the-report")
"""In the order of reading."""
GROUPS = {
    "Using it": [
        "data",
        "experiments",
        "analyses",
        "interventions",
        "exact",
        "extending",
        "extending-layouts",
        "reliability",
        "performance",
    ],
    "What was found": [
        "results",
        "results-paper",
        "record",
        "making-again",
        "results-first",
        "results-avoid-noops",
        "preregistration",
        "protocol",
    ],
    "Reference": ["api", "glossary", "architecture", "contributing", "notes"],
}
API = (
    "karel_fast",
    "karel_fast.data",
    "karel_fast.model",
    "karel_fast.exact",
    "karel_fast.training",
    "karel_fast.probing",
    "karel_fast.report",
)
"""Packages whose `__all__` is the public API."""

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def site_text(page: str, pictures: Path) -> str:
    """A page with its links turned: to pages of the site where there is one, else to nothing; pictures are copied."""
    here = (ROOT / page).parent

    def turn(match: re.Match[str]) -> str:
        picture, text, link = match.groups()
        if re.match(r"https?:|#|mailto:", link):
            return match[0]
        path, _, anchor = link.partition("#")
        target = (here / path).resolve().relative_to(ROOT).as_posix()
        if picture:
            name = target.replace("/", "-")
            shutil.copy(ROOT / target, pictures / name)
            return f"![{text}]({pictures.name}/{name})"
        if target in PAGES:
            return f"[{text}]({PAGES[target]}{'#' + anchor if anchor else ''})"
        return text  # a file of the repository that is no page

    return _LINK.sub(turn, (ROOT / page).read_text(encoding="utf-8"))


def api_page() -> str:
    """The public names of `API`, each by its docstring."""
    lines = ["# API", "", "Everything public, from the docstrings. `import karel_fast as kf`.", ""]
    for name in API:
        package = importlib.import_module(name)
        lines += [f"## {name}", "", (inspect.getdoc(package) or "").split("\n", 1)[0], "", "```{eval-rst}"]
        for public in package.__all__:
            value = getattr(package, public)
            if inspect.ismodule(value) or public.startswith("__"):
                continue
            kind = "autoclass" if inspect.isclass(value) else "autofunction" if callable(value) else "autodata"
            lines += [f".. {kind}:: {name}.{public}", *(["   :members:", ""] if kind == "autoclass" else [""])]
        lines += ["```", ""]
    lines += ["## What kf.load opens", "", "```{eval-rst}"]
    lines += [
        line
        for one in ("Lab", "States")
        for line in (f".. autoclass:: karel_fast.probing.lab.{one}", "   :members:", "")
    ]
    return "\n".join([*lines, "```", ""])


def contents() -> str:
    """The site's table of contents, for the end of its first page."""
    groups = {"Tutorials": [f"tutorials/{name}" for name in TUTORIALS], **GROUPS}
    return "".join(
        "\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *names, "```", ""])
        for title, names in groups.items()
    )


def run_tutorials(folder: Path) -> None:
    """Execute the notebooks of a folder in place, one after the other. Raises CalledProcessError where a cell raises."""
    names = [str(folder / f"{name}.ipynb") for name in TUTORIALS]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--to",
        "notebook",
        "--execute",
        "--inplace",
        "--log-level=WARN",
        *names,
    ]
    subprocess.run(command, check=True, cwd=folder, env=environment)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="where the site goes")
    parser.add_argument("--without-running", action="store_true", help="show the tutorials without outputs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary)
        (source / "pictures").mkdir()
        for page, name in PAGES.items():
            (source / name).write_text(site_text(page, source / "pictures"), encoding="utf-8")
        with open(source / "index.md", "a", encoding="utf-8") as index:
            index.write(contents())
        (source / "api.md").write_text(api_page(), encoding="utf-8")
        shutil.copy(ROOT / "docs" / "conf.py", source)
        shutil.copytree(
            ROOT / "docs" / "tutorials", source / "tutorials", ignore=shutil.ignore_patterns(".ipynb_checkpoints")
        )
        if not arguments.without_running:
            run_tutorials(source / "tutorials")
        built = [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "html",
            str(source),
            str(arguments.folder),
        ]
        subprocess.run(built, check=True)
    print(arguments.folder / "index.html")


if __name__ == "__main__":
    main()
