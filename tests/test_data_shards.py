"""Shards: the same digests however they are made, resuming after a kill, damage of every kind, traces, the commands."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import given, settings
from test_data_recipe import recipes
from typer.testing import CliRunner

import karel_fast as kf
from karel_fast.cli import data as commands
from karel_fast.data import Recipe, ShardError, generate, open_shards, verify, write_shards
from karel_fast.data.storage import packing, shards
from karel_fast.data.storage.manifest import EARLIER_FILE, FILE, Entry, Manifest
from karel_fast.karel.backends import available_backends
from karel_fast.support.files import read_json, write_whole
from karel_fast.support.locks import locked

RECIPE = Recipe.paper(seed=5)
WAIT = 60  # seconds for a process to get somewhere

app = typer.Typer()
commands.register(app)


def digests(manifest):
    return [entry.digest for _, entry in manifest.shards]


def assert_same(a, b):
    np.testing.assert_array_equal(a.symbols, b.symbols)
    np.testing.assert_array_equal(a.lengths, b.lengths)
    assert a.inputs == b.inputs
    assert a.outputs == b.outputs
    assert (a.split, a.start, a.recipe) == (b.split, b.start, b.recipe)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shards")
    write_shards(RECIPE, "train", path, count=2500, shard_size=1000)
    return path


@pytest.fixture
def copy(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_contents(folder):
    shards = open_shards(folder)
    assert len(shards) == 2500
    assert (shards.recipe, shards.split) == (RECIPE, "train")
    assert_same(shards[990:1010], generate(RECIPE, "train", 990, 20))
    assert_same(shards[2490:], generate(RECIPE, "train", 2490, 10))
    assert_same(shards.samples(0, 2500), generate(RECIPE, "train", 0, 2500))
    assert [len(batch) for batch in shards.batches(1000)] == [1000, 1000, 500]
    assert len(shards[7:7]) == 0
    with pytest.raises(ValueError, match="outside"):
        shards.samples(2400, 101)


def test_more_row_groups_than_one(tmp_path):
    write_shards(RECIPE, "test", tmp_path, count=12_000)
    shards = open_shards(tmp_path)
    assert shards.manifest.shard_count == 1
    assert_same(shards[4990:5010], generate(RECIPE, "test", 4990, 20))
    assert_same(shards[11_990:], generate(RECIPE, "test", 11_990, 10))


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("backend", [name for name in available_backends() if name != "reference"])
def test_digests_do_not_depend_on_how(folder, tmp_path, threads, backend):
    made = write_shards(RECIPE, "train", tmp_path, count=2500, shard_size=1000, threads=threads, backend=backend)
    assert digests(made) == digests(Manifest.read(folder))


def test_values_do_not_depend_on_shard_size(folder, tmp_path):
    write_shards(RECIPE, "train", tmp_path, count=2500, shard_size=333)
    for name, rows in open_shards(tmp_path).columns(0, 2500).items():
        np.testing.assert_array_equal(rows, open_shards(folder).columns(0, 2500)[name])


@given(recipe=recipes())
@settings(max_examples=20, deadline=None)
def test_packing(recipe):
    samples = generate(recipe, "train", 3, 7)
    columns = packing.pack(samples, backend="reference")
    for backend in available_backends():
        for name, rows in packing.pack(samples, backend=backend, threads=2).items():
            np.testing.assert_array_equal(rows, columns[name], err_msg=name)
    widths = packing.column_widths(recipe, traces=False)
    assert widths == {name: rows.shape[1] for name, rows in columns.items()}
    packing.check_values(columns, recipe, 3)
    assert_same(packing.unpack(packing.from_table(packing.to_table(columns, {}), widths), recipe, "train", 3), samples)


def test_slices_make_the_whole(folder, tmp_path):
    code = (
        "import sys; from karel_fast.data import Recipe, write_shards; write_shards(Recipe.paper(seed=5), 'train',"
        " sys.argv[1], count=2500, shard_size=1000, part=(int(sys.argv[2]), 2), threads=1)"
    )
    slices = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(k)]) for k in (1, 2)]
    assert [process.wait(WAIT) for process in slices] == [0, 0]
    assert digests(Manifest.read(tmp_path)) == digests(Manifest.read(folder))
    assert verify(tmp_path).rows == 2500


def test_control_flow_and_sizes(tmp_path):
    recipe = Recipe.control_flow(height=5, width=12, examples=2, held_out=1)
    write_shards(recipe, "val", tmp_path, count=300, shard_size=200)
    assert_same(open_shards(tmp_path)[150:250], generate(recipe, "val", 150, 100))
    assert verify(tmp_path, fraction=0.5).shards == 1


def test_datasets_can_read_the_columns(folder):
    """`datasets` reads Parquet through pyarrow; of its byte types it knows only the variable-length one."""
    types = {str(field.type) for field in pq.read_schema(folder / "shard-00000.parquet")}
    assert types == {"uint8", "binary"}


def test_a_sample_takes_few_bytes(tmp_path):
    write_shards(RECIPE, "train", tmp_path, count=10_000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 150 * 10_000


def test_traces(tmp_path):
    write_shards(RECIPE, "train", tmp_path, count=300, shard_size=200, traces="flip")
    samples = generate(RECIPE, "train", 190, 20)
    right = kf.trace(samples.compiled, samples.inputs, semantics="flip")
    stored = open_shards(tmp_path).traces(190, 20)
    longest = right.actions.shape[1]
    for name, rows in stored.items():
        width = {"actions": longest}.get(name, longest + 1)
        np.testing.assert_array_equal(rows[:, :width] if rows.ndim > 1 else rows, getattr(right, name), err_msg=name)
    assert verify(tmp_path).rows == 300
    with pytest.raises(ShardError, match="traces"):
        write_shards(RECIPE, "train", tmp_path, count=300, shard_size=200)


# -- killing and resuming ---------------------------------------------------------------------------------------------

SLOW = """
import sys, time
from karel_fast.data import Recipe
from karel_fast.data.storage import shards
whole = shards.write_shard
def write_shard(*args, **how):
    print("shard", flush=True)
    time.sleep(0.05)
    return whole(*args, **how)
shards.write_shard = write_shard
shards.write_shards(Recipe.paper(seed=5), "train", sys.argv[1], count=2500, shard_size=100, threads=1)
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


def test_locks_end_with_their_process(tmp_path):
    with locked(tmp_path / "lock", "busy"):
        pass
    with locked(tmp_path / "lock", "busy"):
        pass


def test_resuming_makes_nothing_again(copy):
    ages = {path.name: path.stat().st_mtime_ns for path in copy.glob("*.parquet")}
    calls = []
    write_shards(RECIPE, "train", copy, count=2500, shard_size=1000, progress=lambda *at: calls.append(at))
    assert ages == {path.name: path.stat().st_mtime_ns for path in copy.glob("*.parquet")}
    assert calls == [(2500, 2500)]


def test_lost_manifest_is_made_again(copy):
    before = Manifest.read(copy)
    (copy / FILE).unlink()
    ages = {path.name: path.stat().st_mtime_ns for path in copy.glob("*.parquet")}
    assert write_shards(RECIPE, "train", copy, count=2500, shard_size=1000) == before
    assert ages == {path.name: path.stat().st_mtime_ns for path in copy.glob("*.parquet")}


# -- damage -----------------------------------------------------------------------------------------------------------


def test_missing_shard(copy):
    (copy / "shard-00001.parquet").unlink()
    for use in (open_shards, verify):
        with pytest.raises(ShardError, match=r"shard-00001\.parquet \(rows 1000\.\.1999\) is missing"):
            use(copy)
    write_shards(RECIPE, "train", copy, count=2500, shard_size=1000)
    assert verify(copy).rows == 2500


def test_truncated_shard(copy):
    path = copy / "shard-00002.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ShardError, match=r"shard-00002\.parquet \(rows 2000\.\.2499\)"):
        open_shards(copy).samples(2000, 1)
    with pytest.raises(ShardError, match="shard-00002"):
        verify(copy)
    write_shards(RECIPE, "train", copy, count=2500, shard_size=1000)
    assert verify(copy).rows == 2500


@pytest.mark.parametrize("place", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_flipped_bit(copy, place):
    path = copy / "shard-00000.parquet"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 16
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"shard-00000\.parquet \(rows 0\.\.999\)"):
        verify(copy)


def test_wrong_row_is_named(copy):
    path = copy / "shard-00001.parquet"
    table = pq.read_table(path)
    programs = table.column("program").to_pylist()
    programs[345] = bytes(symbol if symbol == 255 else 1 - min(symbol, 1) for symbol in programs[345])
    wrong = table.set_column(1, table.schema.field("program"), [programs])
    pq.write_table(wrong, path)
    with pytest.raises(ShardError, match="row 1345 is wrong, first in column 'program'"):
        verify(copy)


def test_wrong_digest_in_manifest(copy):
    good = Manifest.read(copy)
    (first, entry), *others = good.shards
    good.with_shards({first: replace(entry, digest=entry.digest[::-1]), **dict(others)}).write(copy, "test")
    with pytest.raises(ShardError, match="manifest is damaged"):
        verify(copy)


def test_swapped_shards(copy):
    (copy / "shard-00000.parquet").rename(copy / "x")
    (copy / "shard-00001.parquet").rename(copy / "shard-00000.parquet")
    (copy / "x").rename(copy / "shard-00001.parquet")
    with pytest.raises(ShardError, match="another data set"):
        open_shards(copy).samples(0, 1)


def test_a_changed_manifest_is_damaged(copy):
    text = (copy / FILE).read_text()
    (copy / FILE).write_text(text.replace('"count": 2500', '"count": 2499'))
    with pytest.raises(ShardError, match=r"manifest\.json: its content does not match the checksum"):
        open_shards(copy)


def edit_manifest(folder, **changes):
    content = read_json(folder / FILE)
    (folder / FILE).write_text(json.dumps({**content, **changes}))


def test_manifest_of_a_newer_version(copy):
    edit_manifest(copy, format_version=2)
    with pytest.raises(ShardError, match="format version 2"):
        open_shards(copy)
    with pytest.raises(ShardError, match="format version 2"):
        write_shards(RECIPE, "train", copy, count=2500, shard_size=1000)


def test_data_of_another_generator(copy):
    edit_manifest(copy, generator_version=2)
    with pytest.raises(ShardError, match="generator version 2"):
        verify(copy)
    with pytest.raises(ShardError, match="generator_version 2 there, 1 here"):
        write_shards(RECIPE, "train", copy, count=2500, shard_size=1000)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "karel_fast shards", "format_version": 1}'])
def test_garbled_manifest(copy, text):
    (copy / FILE).write_text(text)
    with pytest.raises(ShardError, match=r"manifest\.json"):
        open_shards(copy)


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


def test_opening_is_lazy(copy):
    """Ten million samples open at once: no shard's file is read."""
    for path in copy.glob("*.parquet"):
        path.write_bytes(b"")
    edit_manifest(copy, count=10_000_000, shard_size=1000, shards=[
        {"shard": k, "digest": "", "size": 0} for k in range(10_000)
    ])  # fmt: skip
    for k in range(10_000):
        (copy / f"shard-{k:05d}.parquet").touch()
    start = time.perf_counter()
    assert len(open_shards(copy)) == 10_000_000
    assert time.perf_counter() - start < 60, "only a hang would take this long"


# -- shards from other tools, and hostile ones --------------------------------------------------------------------------


def rewrite(folder, shard=0, columns=None, **how):
    """The shard written anew, some columns replaced: {name: one list of values}; how: arguments of Parquet's writer."""
    path = folder / f"shard-{shard:05d}.parquet"
    table = pq.read_table(path)
    for name, values in (columns or {}).items():
        at = table.column_names.index(name)
        kind = pa.uint8() if name == "length" else pa.binary()
        table = table.set_column(at, pa.field(name, kind, nullable=False), pa.array(values, kind))
    pq.write_table(table, path, **how)


@pytest.mark.parametrize("row_group_size", [1, 7, 999, 1_000_000])
@pytest.mark.parametrize("use_dictionary", [False, True])
def test_other_row_groups_give_the_same_samples(copy, row_group_size, use_dictionary):
    rewrite(copy, row_group_size=row_group_size, use_dictionary=use_dictionary)
    assert verify(copy).rows == 2500
    for start, count in ((0, 2500), (600, 10), (998, 4), (995, 5)):
        assert_same(open_shards(copy).samples(start, count), generate(RECIPE, "train", start, count))


def test_the_rows_that_stay_in_memory_are_few(tmp_path):
    write_shards(RECIPE, "train", tmp_path, count=60_000, shard_size=20_000, threads=1)
    shards = open_shards(tmp_path)
    for start in range(0, 60_000, 2_500):
        shards.samples(start, 2_500)
    assert sum(len(columns["length"]) for columns in shards._kept.values()) <= 40_000


@pytest.mark.parametrize("name", ["program", "walls", "markers", "robot", "output_markers", "output_robot"])
@pytest.mark.parametrize("width", [0, 1, 5])
def test_columns_of_another_width_are_refused(copy, name, width):
    values = pq.read_table(copy / "shard-00000.parquet").column(name).to_pylist()
    rewrite(copy, columns={name: [value[:width] for value in values]})
    with pytest.raises(ShardError, match=rf"shard-00000.*column '{name}' has a value of {width} bytes"):
        open_shards(copy).samples(0, 10)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("length", 0), ("length", 200), ("program", b"\x09" * 10), ("program", b"\xff" * 10),
        ("robot", b"\xff\xff" * 10), ("output_robot", b"\x90\x00" * 10), ("markers", b"\xff" * 45),
    ],
)  # fmt: skip
def test_values_that_no_sample_has_are_refused(copy, name, value):
    values = pq.read_table(copy / "shard-00000.parquet").column(name).to_pylist()
    values[17] = value
    rewrite(copy, columns={name: values})
    edit_manifest(copy, shards=[dict(s, sha256=None) for s in read_json(copy / FILE)["shards"]])
    with pytest.raises(ShardError, match=rf"shard-00000.*row 17 has a value in column '{name}'"):
        open_shards(copy).samples(0, 10)


def test_a_file_that_unpacks_to_more_than_its_rows_is_refused(copy):
    rewrite(copy, columns={"program": [bytes(1_000_000)] * 1000}, compression="zstd", use_dictionary=False)
    assert (copy / "shard-00000.parquet").stat().st_size < 1_000_000
    with pytest.raises(ShardError, match=r"'program' unpacks to .* bytes, more than its rows take"):
        open_shards(copy).samples(0, 1)
    rewrite(copy, columns={"program": [bytes(60_000)] * 1000}, compression="zstd", use_dictionary=True)
    with pytest.raises(ShardError, match="'program' has a value of 60000 bytes"):
        open_shards(copy).samples(0, 1)


def test_other_values_with_a_right_head_are_refused(copy):
    """A whole file of the right shape whose values are another sample's: only the manifest's digest can tell."""
    values = pq.read_table(copy / "shard-00000.parquet").column("output_markers").to_pylist()
    rewrite(copy, columns={"output_markers": [bytes(len(values[0]))] * len(values)})
    with pytest.raises(ShardError, match=r"shard-00000.*damaged"):
        open_shards(copy).samples(0, 1)


@pytest.mark.parametrize("place", [0.1, 0.6, 0.99])
def test_generating_again_replaces_a_damaged_shard_of_equal_size(copy, place):
    path = copy / "shard-00001.parquet"
    good = path.read_bytes()
    content = bytearray(good)
    content[int(place * (len(good) - 1))] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardError, match="shard-00001"):
        open_shards(copy).samples(1000, 5)
    write_shards(RECIPE, "train", copy, count=2500, shard_size=1000)
    assert path.read_bytes() == good
    assert verify(copy).repaired == ()


def test_repair(copy):
    good = {path.name: path.read_bytes() for path in copy.glob("*.parquet")}
    (copy / "shard-00002.parquet").write_bytes(good["shard-00002.parquet"][:-30])
    (copy / "shard-00000.parquet").unlink()
    assert verify(copy, repair=True).repaired == (0, 2)
    assert {path.name: path.read_bytes() for path in copy.glob("*.parquet")} == good
    assert verify(copy, repair=True).repaired == ()


def test_repair_of_a_shard_that_agrees_with_a_wrong_manifest(copy):
    """Somebody changed a value and the digests in the shard and in the manifest with it."""
    path = copy / "shard-00001.parquet"
    manifest, good = Manifest.read(copy), path.read_bytes()
    columns = shards.read_shard(manifest, copy, 1)
    columns["output_markers"] = columns["output_markers"].copy()
    columns["output_markers"][
        3, packing.unpack(columns, RECIPE, "train", 1000).inputs.walls[30, 1:-1, 1:-1].argmin()
    ] += 1
    value = packing.digest(columns)
    about = {**manifest.metadata(), "karel_fast_start": "1000", "karel_fast_digest": value}
    pq.write_table(packing.to_table(columns, about), path)
    entry = Entry(value, path.stat().st_size)
    manifest.with_shards({**manifest.written, 1: entry}).write(copy, "test")
    with pytest.raises(ShardError, match="row 1003 is wrong, first in column 'output_markers'"):
        verify(copy)
    assert verify(copy, repair=True).repaired == (1,)
    assert path.read_bytes() == good


def test_manifests_without_checksums_are_read(copy):
    """Those of earlier versions."""
    content = read_json(copy / FILE)
    for shard in content["shards"]:
        del shard["sha256"]
    (copy / FILE).write_text(json.dumps(content))
    assert_same(open_shards(copy)[990:1010], generate(RECIPE, "train", 990, 20))
    assert verify(copy).rows == 2500


@pytest.mark.parametrize(
    "shard",
    [{"shard": "x"}, {"shard": -1}, {"shard": 3}, {"size": -1}, {"size": "big"}, {"digest": None}, {"sha256": 5}],
)
def test_hostile_entries_of_a_manifest(copy, shard):
    content = read_json(copy / FILE)
    content["shards"][0] |= shard
    edit_manifest(copy, shards=content["shards"])
    with pytest.raises(ShardError, match=r"manifest\.json lacks or garbles"):
        open_shards(copy)


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


# -- the commands -----------------------------------------------------------------------------------------------------


def run_command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_commands(folder, tmp_path):
    (tmp_path / "recipe.json").write_text(RECIPE.to_json())
    out = tmp_path / "data"
    common = ("generate", "--recipe", tmp_path / "recipe.json", "--out", out, "--count", 2500, "--shard-size", 1000)
    for k in (1, 2, 3):
        assert run_command(*common, "--shards", f"{k}/3").exit_code == 0
    assert digests(Manifest.read(out)) == digests(Manifest.read(folder))
    done = run_command("verify", out)
    assert (done.exit_code, done.stdout) == (0, f"{out}: 2500 rows in 3 shards are right\n")


def test_command_with_traces(tmp_path):
    done = run_command("generate", "--count", 20, "--out", tmp_path, "--traces", "--semantics", "adversarial")
    assert done.exit_code == 0
    assert Manifest.read(tmp_path).traces == kf.data.Recipe(semantics="adversarial").semantics


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--shards", "3"), "3"),
        (("--shards", "4/3"), "4/3"),
        (("--engine", "spark"), "spark"),
        (("--semantics", "flip"), "--traces"),
        (("--address", "auto"), "--engine ray"),
        (("--engine", "ray", "--threads", "2"), "--threads"),
        (("--recipe", "tiny"), "tiny"),
        (("--count", "-4"), "-4"),
    ],
)
def test_commands_reject(tmp_path, arguments, says):
    done = run_command("generate", "--count", 10, "--out", tmp_path / "x", *arguments)
    assert isinstance(done.exception, ValueError)
    assert says in str(done.exception)


def test_a_folder_is_a_parquet_data_set(folder):
    """Readers that take a folder pass over what begins with a dot."""
    import pyarrow.dataset as ds

    count = len(open_shards(folder))
    assert pq.read_table(folder).num_rows == count
    assert ds.dataset(folder, format="parquet").count_rows() == count


def test_a_manifest_of_an_earlier_version(copy):
    (copy / FILE).rename(copy / EARLIER_FILE)
    assert verify(copy).shards == open_shards(copy).manifest.shard_count
    manifest = open_shards(copy).manifest
    next(copy.glob("shard-*.parquet")).unlink()
    write_shards(manifest.recipe, manifest.split, copy, count=manifest.count, shard_size=manifest.shard_size)
    assert (copy / FILE).exists()
    assert not (copy / EARLIER_FILE).exists()
    assert verify(copy).shards == manifest.shard_count
