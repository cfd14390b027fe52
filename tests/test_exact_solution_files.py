"""Solutions of many specifications on disk: slices, resuming, Ray, damage; the values are always those of one `solve`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli

import karel_fast as kf
from karel_fast.data.sampling.recipe import ControlFlow, Recipe
from karel_fast.data.storage.shards_writing import write_shards
from karel_fast.exact.ideal_loss import floor
from karel_fast.exact.solution_files import COLUMNS, SolutionSet, read_solutions, write_solutions
from karel_fast.support.checks import InputError

RECIPE = Recipe(height=4, width=4, examples=2, held_out=1, lengths=(2, 4))
WANTED = SolutionSet(RECIPE, "test", count=25, start=100, shard_size=10)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    write_solutions(WANTED, folder)
    return folder


def test_rows_are_those_of_solve(whole: Path) -> None:
    samples = kf.data.generate(RECIPE, "test", start=100, count=25)
    solution = kf.exact.solve(samples)
    table = read_solutions(whole)
    assert tuple(table.column_names) == COLUMNS
    for name in COLUMNS[1:10]:
        np.testing.assert_array_equal(table[name].to_numpy(), getattr(solution, name), err_msg=name)
    np.testing.assert_array_equal(table["sample"].to_numpy(), np.arange(100, 125))
    total = table["floor_loss"].to_numpy().sum() / table["tokens"].to_numpy().sum()
    assert total == pytest.approx(floor(samples, solution).mean_loss, rel=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_slices_in_any_order_give_the_same_table(whole: Path, tmp_path: Path, threads: int) -> None:
    for k in (2, 1):
        write_solutions(WANTED, tmp_path, part=(k, 2), threads=threads)
    assert read_solutions(tmp_path).equals(read_solutions(whole))


def test_ray_gives_the_same_table(whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    write_solutions(WANTED, tmp_path, engine="ray")
    assert read_solutions(tmp_path).equals(read_solutions(whole))


def test_only_missing_files_are_solved(whole: Path, tmp_path: Path) -> None:
    write_solutions(WANTED, tmp_path)
    kept = (tmp_path / "solved-00000.parquet").stat().st_mtime_ns
    (tmp_path / "solved-00001.parquet").unlink()
    with pytest.raises(InputError, match=r"solved-00001.parquet is missing"):
        read_solutions(tmp_path)
    told: list[tuple[int, int]] = []
    write_solutions(WANTED, tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told == [(15, 25), (25, 25)]
    assert (tmp_path / "solved-00000.parquet").stat().st_mtime_ns == kept
    assert read_solutions(tmp_path).equals(read_solutions(whole))


def test_a_folder_of_other_specifications_is_refused(tmp_path: Path) -> None:
    write_solutions(SolutionSet(RECIPE, "test", count=3), tmp_path)
    with pytest.raises(InputError, match=r"another split, start.*another folder"):
        write_solutions(SolutionSet(RECIPE, "val", count=3, start=9), tmp_path)


def test_a_refusal_says_which_specifications_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("specification 2: too many states")

    monkeypatch.setattr("karel_fast.exact.solution_files.solve", refuse)
    with pytest.raises(
        InputError, match=r"^of the specifications from 5 on, counted from 0: specification 2: too many"
    ):
        write_solutions(SolutionSet(RECIPE, "test", count=3, start=5), tmp_path)


@pytest.mark.parametrize("place", ["head", "middle"])
def test_damage_is_named(tmp_path: Path, place: str) -> None:
    write_solutions(SolutionSet(RECIPE, "test", count=3), tmp_path)
    path = tmp_path / "solved-00000.parquet"
    content = bytearray(path.read_bytes())
    if place == "head":
        content[-6:-4] = b"\xff\xff"
    else:
        content[60] ^= 0x10
    path.write_bytes(content)
    for use in (read_solutions, lambda folder: write_solutions(SolutionSet(RECIPE, "test", count=3), folder)):
        with pytest.raises(InputError, match=r"solved-00000.parquet is (damaged|no file of solutions).*delete it"):
            use(tmp_path)


def test_a_shard_in_the_place_of_solutions_is_named(tmp_path: Path) -> None:
    write_shards(RECIPE, "test", tmp_path / "shards", count=3)
    shard = next((tmp_path / "shards").glob("*.parquet"))
    shutil.copy(shard, tmp_path / "solved-00000.parquet")
    with pytest.raises(InputError, match=r"solved-00000\.parquet is no file of solutions"):
        read_solutions(tmp_path)


def test_wrong_input_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="control flow"):
        SolutionSet(RECIPE.replace(control=ControlFlow()), "test", 5)
    with pytest.raises(ValueError, match="count"):
        SolutionSet(RECIPE, "test", 0)
    with pytest.raises(ValueError, match="count is 72057594037927937"):
        SolutionSet(RECIPE, "test", 2**56 + 1)
    with pytest.raises(ValueError, match="part 3/2 does not exist"):
        write_solutions(WANTED, tmp_path, part=(3, 2))
    with pytest.raises(FileNotFoundError, match="holds no solved"):
        read_solutions(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path: Path, cli: Cli) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(RECIPE.to_json())
    call = [
        "solve-samples",
        "--recipe",
        recipe,
        "--count",
        25,
        "--start",
        100,
        "--shard-size",
        10,
        "--out",
        tmp_path / "out",
    ]
    code, out, error = cli(*call)
    assert code == 0, error
    assert "25 of 25 can be satisfied" in out
    code, _, error = cli(*call, "--engine", "ray", "--threads", 2)
    assert code == 2
    assert "leave out --shards and --threads" in error
