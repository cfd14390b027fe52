"""Writing shards: killed and gone on with, twice at once, beside other data, onto a disk that refuses."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from stored_shards import RECIPE, WAIT, stored

from karel_fast.data import Recipe, ShardError, open_shards, verify, write_shards
from karel_fast.data.storage import packing
from karel_fast.support.files import write_whole


@pytest.fixture
def copy(tmp_path):
    return stored(tmp_path)


SLOW = """
import sys, time
from karel_fast.data import Recipe
from karel_fast.data.storage import shards_writing
whole = shards_writing.write_shard
def write_shard(*args, **how):
    print("shard", flush=True)
    time.sleep(0.05)
    return whole(*args, **how)
shards_writing.write_shard = write_shard
shards_writing.write_shards(Recipe.paper(seed=5), "train", sys.argv[1], count=2500, shard_size=100, threads=1)
"""


def start_slow(folder):
    return subprocess.Popen([sys.executable, "-c", SLOW, str(folder)], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
@pytest.mark.parametrize("shards_begun", [1, 4, 9])
def test_kill_and_resume(tmp_path, shards_begun):
    process = start_slow(tmp_path)
    for _ in range(shards_begun):
        assert process.stdout.readline() == "shard\n"
    process.send_signal(signal.SIGKILL)
    process.wait(WAIT)
    process.stdout.close()
    (tmp_path / ".shard-00020.parquet.1-of-1.tmp").write_bytes(b"half")
    with pytest.raises(ShardError, match="missing"):
        open_shards(tmp_path)
    ages = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.parquet")}
    assert len(ages) < 25
    write_shards(RECIPE, "train", tmp_path, count=2500, shard_size=100)
    assert all((tmp_path / name).stat().st_mtime_ns == age for name, age in ages.items()), "whole shards are kept"
    assert verify(tmp_path).rows == 2500
    assert not list(tmp_path.glob(".*.tmp"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".parquet") == [
        f"shard-{k:05d}.parquet" for k in range(25)
    ]


def test_two_processes_in_one_folder(tmp_path):
    process = start_slow(tmp_path)
    try:
        assert process.stdout.readline() == "shard\n"
        with pytest.raises(BlockingIOError, match="another process is generating"):
            write_shards(RECIPE, "train", tmp_path, count=2500, shard_size=100)
    finally:
        process.kill()
        process.wait(WAIT)
        process.stdout.close()


def test_resuming_makes_nothing_again(copy):
    ages = {path.name: path.stat().st_mtime_ns for path in copy.glob("*.parquet")}
    calls = []
    write_shards(RECIPE, "train", copy, count=2500, shard_size=1000, progress=lambda *at: calls.append(at))
    assert ages == {path.name: path.stat().st_mtime_ns for path in copy.glob("*.parquet")}
    assert calls == [(2500, 2500)]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"recipe": RECIPE.replace(lengths=(6, 9))}, r"recipe\.lengths \[6, 10\] there, \[6, 9\] here"),
        ({"split": "test"}, "split 'train' there"),
        ({"count": 2501}, "count 2500 there"),
        ({"shard_size": 500}, "shard_size 1000 there"),
    ],
)
def test_no_mixing(copy, changes, says):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    arguments = {"recipe": RECIPE, "split": "train", "count": 2500, "shard_size": 1000} | changes
    with pytest.raises(ShardError, match=says):
        write_shards(directory=copy, **arguments)
    assert before == {path.name: path.read_bytes() for path in copy.iterdir()}


@pytest.mark.parametrize(
    "changes", [{"count": 0}, {"shard_size": 0}, {"part": (3, 2)}, {"part": (0, 2)}, {"split": "dev"}, {"threads": 0}]
)
def test_wrong_arguments(tmp_path, changes):
    arguments = {"recipe": RECIPE, "split": "train", "directory": tmp_path, "count": 10} | changes
    with pytest.raises(ValueError, match=r"count|shard_size|part|dev|threads"):
        write_shards(**arguments)
    assert not list(tmp_path.glob("*.parquet"))


def test_shards_beyond_two_gigabytes_are_refused_before_any_work(tmp_path):
    recipe = Recipe(height=64, width=64, examples=100, held_out=100)
    most = packing.most_rows(recipe, traces=False)
    assert most * packing.column_widths(recipe, traces=False)["output_markers"] <= 2**31 - 1
    with pytest.raises(ValueError, match=rf"shard_size is 50000: .* use at most {most}$"):
        write_shards(recipe, "train", tmp_path / "x", count=50_000)
    assert not (tmp_path / "x").exists()
    rows = np.broadcast_to(np.zeros(1, np.uint8), (3, 2**30))
    with pytest.raises(ValueError, match="column 'program' has 3,221,225,472 bytes"):
        packing.to_table({"program": rows}, {})


def test_no_folder_of_shards(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        open_shards(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_shards(RECIPE, "train", tmp_path / "file", count=10)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk(tmp_path, monkeypatch):
    """Writing a shard fails half-way: nothing is left in place, and the error is the system's."""
    write_table = pq.write_table

    def to_full_disk(table, path, **how):
        Path(path).write_bytes(b"half")
        with open("/dev/full", "wb") as disk:
            write_table(table, disk, **how)

    monkeypatch.setattr(pq, "write_table", to_full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_shards(RECIPE, "train", tmp_path, count=100)
    monkeypatch.undo()
    assert not [path for path in tmp_path.iterdir() if "shard" in path.name]
    assert len(write_shards(RECIPE, "train", tmp_path, count=100).shards) == 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        write_shards(RECIPE, "train", tmp_path, count=100)


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("new")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_whole(path, fail)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x", "old")]
