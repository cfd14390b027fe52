"""A small folder of shards, and the comparisons, that the shard tests share."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from karel_fast.data import Recipe, write_shards
from karel_fast.data.storage.manifest import FILE
from karel_fast.support.files import read_json

RECIPE = Recipe.paper(seed=5)
WAIT = 60  # seconds for a process to get somewhere


@cache
def _files():
    with TemporaryDirectory() as folder:
        write_shards(RECIPE, "train", folder, count=2500, shard_size=1000)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def stored(folder):
    """Samples 0..2499 in three shards, the last of them not full; written once, then copied."""
    for name, content in _files().items():
        (folder / name).write_bytes(content)
    return folder


def digests(manifest):
    return [entry.digest for _, entry in manifest.shards]


def assert_same(a, b):
    np.testing.assert_array_equal(a.symbols, b.symbols)
    np.testing.assert_array_equal(a.lengths, b.lengths)
    assert a.inputs == b.inputs
    assert a.outputs == b.outputs
    assert (a.split, a.start, a.recipe) == (b.split, b.start, b.recipe)


def edit_manifest(folder, **changes):
    content = read_json(folder / FILE)
    (folder / FILE).write_text(json.dumps({**content, **changes}))
