"""The manifest of a folder of shards: lost, damaged, of other versions, hostile."""

import json
from dataclasses import replace

import pytest
from stored_shards import RECIPE, assert_same, edit_manifest, stored

from karel_fast.data import ShardError, generate, open_shards, verify, write_shards
from karel_fast.data.storage.manifest import EARLIER_FILE, FILE, Manifest
from karel_fast.support.files import read_json


@pytest.fixture
def copy(tmp_path):
    return stored(tmp_path)


def test_lost_manifest_is_made_again(copy):
    before = Manifest.read(copy)
    (copy / FILE).unlink()
    ages = {path.name: path.stat().st_mtime_ns for path in copy.glob("*.parquet")}
    assert write_shards(RECIPE, "train", copy, count=2500, shard_size=1000) == before
    assert ages == {path.name: path.stat().st_mtime_ns for path in copy.glob("*.parquet")}


def test_a_changed_manifest_is_damaged(copy):
    text = (copy / FILE).read_text()
    (copy / FILE).write_text(text.replace('"count": 2500', '"count": 2499'))
    with pytest.raises(ShardError, match=r"manifest\.json: its content does not match the checksum"):
        open_shards(copy)


def test_wrong_digest_in_manifest(copy):
    good = Manifest.read(copy)
    (first, entry), *others = good.shards
    good.with_shards({first: replace(entry, digest=entry.digest[::-1]), **dict(others)}).write(copy, "test")
    with pytest.raises(ShardError, match="manifest is damaged"):
        verify(copy)


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


def test_a_manifest_of_an_earlier_version(copy):
    (copy / FILE).rename(copy / EARLIER_FILE)
    assert verify(copy).shards == open_shards(copy).manifest.shard_count
    manifest = open_shards(copy).manifest
    next(copy.glob("shard-*.parquet")).unlink()
    write_shards(manifest.recipe, manifest.split, copy, count=manifest.count, shard_size=manifest.shard_size)
    assert (copy / FILE).exists()
    assert not (copy / EARLIER_FILE).exists()
    assert verify(copy).shards == manifest.shard_count
