"""Death at every file operation: a process that dies there loses nothing, and going on gives what an undisturbed call gives.

Where that takes seconds each time, only every so-manyth operation is tried; KAREL_FAST_DEATHS_EVERY=1 tries all.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from probed_model import RECIPE as PROBED
from probed_model import SMALL, make_model
from tiny_model import tiny_config, tiny_rows

from karel_fast.data import Recipe, Tokenizer, open_shards, verify, write_shards
from karel_fast.exact.solution_files import SolutionSet, read_solutions, write_solutions
from karel_fast.probing.snapshot import probe_snapshot
from karel_fast.report import page
from karel_fast.report.plots import Plot
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.side_by_side import make_room, settings_name
from karel_fast.runs.snapshots import has_state, list_snapshots, write_snapshot
from karel_fast.support.files import read_json, write_folder, write_json
from karel_fast.training import TrainConfig, train

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"),
    # Of later Pythons, about forking beside threads: the child does nothing but this work, and ends at once.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
RECIPE = Recipe(height=4, width=4, examples=1, held_out=1, lengths=(1, 3))
OPERATIONS = ("open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir")
DEAD = 41
EVERY = int(os.environ.get("KAREL_FAST_DEATHS_EVERY", "0"))
"""The stride of a long campaign; 0: that of each test."""


def dies_at(number: int, work: Callable[[], Any]) -> bool:
    """Do the work in a process of its own that dies before its file operation `number`; whether it died."""
    child = os.fork()
    if child == 0:
        left = number

        def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
            def operation(*arguments: Any, **named: Any) -> Any:
                nonlocal left
                if left == 0:
                    os._exit(DEAD)
                left -= 1
                return real(*arguments, **named)

            return operation

        for name in OPERATIONS:
            setattr(os, name, deadly(getattr(os, name)))
        try:
            work()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()  # which os._exit does not
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, DEAD), f"the work failed at operation {number}"
    return code == DEAD


def every_death(
    work: Callable[[Path], Any],
    check: Callable[[Path], None],
    place: Path,
    begin: Callable[[Path], Any] = Path.mkdir,
    every: int = 1,
) -> int:
    """Die once at each operation of the work, or at every so-manyth, each time in a folder of its own that `begin` makes, go on,
    and check; returns how many operations there are.
    """
    every = min(every, EVERY or every)
    number = 0
    while True:
        folder = place / f"death-{number}"
        begin(folder)
        if not dies_at(number, lambda: work(folder)):  # noqa: B023
            return number
        work(folder)
        check(folder)
        number += every


def every_death_leaves_the_same(
    work: Callable[[Path], Any], made: Path, place: Path, every: int
) -> tuple[int, set[str]]:
    """Die as in `every_death`, each time in a folder with a copy of the run `made`, which must end with the files of an undisturbed
    work; how many operations there are, and the names of those files.
    """

    def begin(folder: Path) -> None:
        shutil.copytree(made, folder / "run")

    begin(place / "whole")
    work(place / "whole")
    wanted = files_of(place / "whole" / "run")

    def check(folder: Path) -> None:
        assert files_of(folder / "run") == wanted

    return every_death(work, check, place, begin, every), set(wanted)


def test_shards(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        write_shards(RECIPE, "train", folder, count=25, shard_size=10, threads=1)

    def check(folder: Path) -> None:
        assert verify(folder).rows == 25
        assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]

    (tmp_path / "whole").mkdir()
    write(tmp_path / "whole")
    wanted = open_shards(tmp_path / "whole").manifest
    assert every_death(write, check, tmp_path) > 10
    assert open_shards(tmp_path / "death-3").manifest == wanted


def test_solutions(tmp_path: Path) -> None:
    wanted = SolutionSet(RECIPE, "test", count=12, shard_size=5)
    write_solutions(wanted, tmp_path / "whole")
    table = read_solutions(tmp_path / "whole")

    def check(folder: Path) -> None:
        assert read_solutions(folder).equals(table)
        assert not list(folder.glob("*.tmp"))

    assert every_death(lambda folder: write_solutions(wanted, folder, threads=1), check, tmp_path) > 5


def test_a_folder_is_the_old_one_the_new_one_or_none(tmp_path: Path) -> None:
    def content(name: str) -> Callable[[Path], None]:
        def write(folder: Path) -> None:
            for part in ("a", "b"):
                write_json(folder / f"{part}.json", {"of": name})

        return write

    found = set()
    number = 0
    while True:
        place = tmp_path / str(number)
        write_folder(place / "snapshot", content("old"))
        died = dies_at(number, lambda: write_folder(place / "snapshot", content("new")))  # noqa: B023
        there = place / "snapshot"
        found.add(
            "/".join(sorted(read_json(path)["of"] for path in there.glob("*.json"))) if there.exists() else "none"
        )
        write_folder(there, content("new"))
        assert [path.name for path in place.iterdir()] == ["snapshot"]
        if not died:
            break
        number += 1
    assert found == {"old/old", "new/new", "none"}


def test_results_that_are_moved_aside(tmp_path: Path) -> None:
    own, other = {"experiment": {"seeds": [0, 1]}}, {"experiment": {"seeds": [0]}}
    aside = f"probing/{settings_name(other)}"
    number = 0
    while True:
        (tmp_path / str(number)).mkdir()
        folder = RunFolder(tmp_path / str(number))
        path = folder.file("probing", 100)
        write_json(path, {"step": 100, **other})
        path.with_suffix(".npz").write_text(json.dumps(other))
        died = dies_at(number, lambda: make_room(folder, "probing", 100, own))  # noqa: B023
        make_room(folder, "probing", 100, own)
        assert read_json(folder.file(aside, 100)) == {"step": 100, **other}
        assert folder.sums(aside, 100).read_text() == json.dumps(other)
        assert not path.exists()
        if not died:
            break
        number += 1
    assert number >= 3


@pytest.fixture
def one_thread():
    """The threads of a pool do not come along when a process forks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def weights(run: Path) -> dict[str, bytes]:
    return {path.name: (path / "model.safetensors").read_bytes() for path in list_snapshots(run)}


@pytest.mark.skipif(
    torch.version.cuda is not None, reason="builds of torch for CUDA compute no gradients in a process that was forked"
)
@pytest.mark.usefixtures("one_thread")
def test_training(tmp_path: Path) -> None:
    config = TrainConfig(steps=3, batch_size=2, snapshot_every=2, compile=False, precision="fp32", device="cpu")

    def work(folder: Path) -> None:
        run = folder / "run"
        train(config, tiny_config(layers=1), tiny_rows, run, pad_id=0, resume=has_state(run))

    work(tmp_path / "whole")
    wanted = weights(tmp_path / "whole" / "run")
    assert len(wanted) == 3

    def check(folder: Path) -> None:
        assert weights(folder / "run") == wanted
        assert not list(folder.rglob("*.tmp"))

    assert every_death(work, check, tmp_path, every=3) > 20


def files_of(run: Path) -> dict[str, bytes]:
    """Every file of a run but its locks."""
    paths = (path for path in run.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("in_pieces", [False, True])
def test_probing(tmp_path: Path, in_pieces: bool) -> None:
    asked = replace(
        SMALL, grid=replace(SMALL.grid, offsets=(0,), seeds=(0,)), programs={"train": 30, "validation": 10, "test": 10},
        layers="mean", examples=2, pieces=in_pieces,
    )  # fmt: skip
    made = tmp_path / "made"
    card = {"recipe": PROBED.to_json(), "recipe_hash": PROBED.hash, "layout": "compact"}
    write_snapshot(made, 100, make_model(Tokenizer(PROBED), seed=100), card)

    def work(folder: Path) -> None:
        run = folder / "run"
        probe_snapshot(run, list_snapshots(run)[-1], asked, compile_model=False)

    deaths, files = every_death_leaves_the_same(work, made, tmp_path, every=17)
    assert {"probing/step-000100.json", "probing/step-000100.npz", "examples/step-000100.json"} < files
    assert deaths > 60


def test_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "made"
    write_json(made / "evaluation" / "step-000000.json", {"step": 0, "generative_accuracy": 0.5})

    def one_plot(_: Any) -> list[Plot]:
        """Drawing all of them takes seconds, and nothing of it is a file operation."""
        figure = Figure()
        figure.subplots().plot([0, 1])
        return [Plot("loss", "Loss", "A line.", ("step",), ((0,),), figure)]

    monkeypatch.setattr(page, "all_plots", one_plot)

    def work(folder: Path) -> None:
        page.write_report(folder / "run")

    deaths, _ = every_death_leaves_the_same(work, made, tmp_path, every=3)
    assert deaths > 15
