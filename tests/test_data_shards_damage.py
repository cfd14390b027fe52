"""Shards that are damaged, of other tools, or hostile: read as they were, refused by name, or repaired."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stored_shards import RECIPE, assert_same, edit_manifest, stored

from karel_fast.data import ShardError, generate, open_shards, verify, write_shards
from karel_fast.data.storage import packing
from karel_fast.data.storage.manifest import FILE, Entry, Manifest
from karel_fast.data.storage.shard_file import read_shard
from karel_fast.support.files import read_json


@pytest.fixture
def copy(tmp_path):
    return stored(tmp_path)


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


def test_swapped_shards(copy):
    (copy / "shard-00000.parquet").rename(copy / "x")
    (copy / "shard-00001.parquet").rename(copy / "shard-00000.parquet")
    (copy / "x").rename(copy / "shard-00001.parquet")
    with pytest.raises(ShardError, match="another data set"):
        open_shards(copy).samples(0, 1)


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
    columns = read_shard(manifest, copy, 1)
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
