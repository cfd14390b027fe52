"""What shards hold: the same values and digests however they are made, traces, and lazy reading."""

import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from stored_shards import RECIPE, WAIT, assert_same, digests, edit_manifest, stored
from test_data_recipe import recipes

import karel_fast as kf
from karel_fast.data import Recipe, ShardError, generate, open_shards, verify, write_shards
from karel_fast.data.storage import packing
from karel_fast.data.storage.manifest import Manifest
from karel_fast.exact.solution_files import SolutionSet, write_solutions
from karel_fast.karel.backends import available_backends


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stored(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def copy(tmp_path):
    return stored(tmp_path)


def test_contents(folder):
    shards = open_shards(folder)
    assert len(shards) == 2500
    assert (shards.recipe, shards.split) == (RECIPE, "train")
    assert_same(shards[990:1010], generate(RECIPE, "train", 990, 20))
    assert_same(shards[2490:], generate(RECIPE, "train", 2490, 10))
    assert_same(shards.samples(0, 2500), generate(RECIPE, "train", 0, 2500))
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
@settings(max_examples=20)
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


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("1/2", r"part is '1/2'; give a pair \(k, n\)"),
        ((1, 0), "the number of parts is 0"),
        ((1.0, 2), "the part is 1.0"),
        ((3, 2), "part 3/2 does not exist"),
        ((0, 2), "part 0/2 does not exist"),
    ],
)
def test_parts_that_are_none(tmp_path, part, says):
    with pytest.raises((TypeError, ValueError), match=says):
        write_shards(RECIPE, "train", tmp_path / "x", count=5, part=part)
    with pytest.raises((TypeError, ValueError), match=says):
        write_solutions(SolutionSet(RECIPE.replace(control=None), "test", 5), tmp_path / "x", part=part)
    assert not (tmp_path / "x").exists()


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


def test_opening_is_lazy(copy):
    """Ten million samples open at once: no shard's file is read."""
    for path in copy.glob("*.parquet"):
        path.write_bytes(b"")
    edit_manifest(copy, count=10_000_000, shard_size=10_000, shards=[
        {"shard": k, "digest": "", "size": 0} for k in range(1000)
    ])  # fmt: skip
    for k in range(1000):
        (copy / f"shard-{k:05d}.parquet").touch()
    assert len(open_shards(copy)) == 10_000_000


def test_the_rows_that_stay_in_memory_are_few(tmp_path):
    write_shards(RECIPE, "train", tmp_path, count=60_000, shard_size=20_000, threads=1)
    shards = open_shards(tmp_path)
    for start in range(0, 60_000, 2_500):
        shards.samples(start, 2_500)
    assert sum(len(columns["length"]) for columns in shards._kept.values()) <= 40_000


def test_a_folder_is_a_parquet_data_set(folder):
    """Readers that take a folder pass over what begins with a dot."""
    import pyarrow.dataset as ds

    count = len(open_shards(folder))
    assert pq.read_table(folder).num_rows == count
    assert ds.dataset(folder, format="parquet").count_rows() == count
