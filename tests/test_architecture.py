"""The house in one column: who may import whom, read from the source."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "karel_fast"
ROOMS = (
    "support", "karel", "model", "data", "exact", "runs", "training", "probing", "analysis", "report", "experiment", "cli"
)  # fmt: skip


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str, known: dict[str, Path] = MODULES) -> set[str]:
    """The package's modules that this one imports: in functions and for type checkers, too, since both tie it to them."""
    found = set()
    for node in ast.walk(ast.parse(known[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} line {node.lineno}: a relative import"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                # The compiled core is a module without a source file.
                found.add(whole if whole in known or name.name == "_core" else str(node.module))
    return {name for name in found if name == "karel_fast" or name.startswith("karel_fast.")} - {"karel_fast._core"}


GRAPH = {module: imports(module) for module in MODULES}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_folder_is_a_room():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(ROOMS)


def test_a_room_imports_only_rooms_above_it():
    inside = {module: found for module, found in GRAPH.items() if room(module) in ROOMS}
    outward = [(module, other) for module, found in inside.items() for other in found if room(other) not in ROOMS]
    assert outward == [], "a room imports the package itself: import from where the name is defined"
    upward = {
        (module, other)
        for module, found in inside.items()
        for other in found
        if ROOMS.index(room(other)) > ROOMS.index(room(module))
    }
    assert upward == set()


def test_each_room_imports_the_rooms_that_the_documentation_says():
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)
    said = {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    used: dict[str, set[str]] = {name: set() for name in ROOMS}
    for module, found in GRAPH.items():
        if room(module) in ROOMS:
            used[room(module)] |= {room(other) for other in found}
    assert said == {name: rooms - {name, "support"} for name, rooms in used.items()}


def test_no_circles():
    # What a package imports for type checkers, it loads when it is first used.
    kept = {module: found - {module} for module, found in GRAPH.items()}
    TopologicalSorter(kept).prepare()  # CycleError names the circle


def test_only_runs_says_what_a_run_folder_holds():
    names = {"snapshots", "metrics.jsonl", "time.json", "resume.safetensors", "tensorboard", "karel_fast.json"}
    for module, path in MODULES.items():
        if room(module) != "runs":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            said = {
                part.right.value
                for part in ast.walk(tree)
                if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div) and isinstance(part.right, ast.Constant)
            }
            assert not said & names, module
            assert "step-{step" not in path.read_text(encoding="utf-8"), module


@pytest.mark.parametrize("module", ["karel_fast", "karel_fast.report.page"])
def test_what_loads_no_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, check=False).returncode == 0


def test_names_of_test_modules_are_unique():
    folders = [PACKAGE.parent / name for name in ("tests", "benchmarks")]
    names = [path.name for folder in folders for path in folder.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_no_lazy_name_is_also_a_module():
    """Importing a module sets its name in the package, over what `lazy` offers under that name."""
    for module, path in MODULES.items():
        if path.name == "__init__.py":
            package = importlib.import_module(module)
            inside = {other.stem for other in path.parent.iterdir()}
            assert not inside & set(getattr(package, "_HOME", ())), module
