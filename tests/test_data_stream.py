"""Batches on the fly: the same whatever ranks, workers and restarts there are."""

from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from karel_fast.data import Recipe, SampleStream, Tokenizer, generate, open_shards, write_shards

TOKENIZER = Tokenizer(Recipe.paper(seed=2))


def take(stream, count):
    return list(islice(iter(stream), count))


def rows(start, count):
    return torch.from_numpy(TOKENIZER.encode(generate(TOKENIZER.recipe, "train", start, count)))


def test_batches_are_the_samples_in_order():
    batches = take(SampleStream(TOKENIZER, batch_size=8), 5)
    assert torch.equal(torch.cat(batches), rows(0, 40))


def test_epochs():
    stream = SampleStream(TOKENIZER, batch_size=8, samples=10)
    assert torch.equal(torch.cat(take(stream, 3)), torch.cat([rows(0, 10), rows(0, 10), rows(0, 4)]))


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_share_the_batches(world_size):
    ranks = [SampleStream(TOKENIZER, batch_size=4, rank=r, world_size=world_size) for r in range(world_size)]
    batches = [batch for group in zip(*(take(s, 6 // world_size) for s in ranks), strict=True) for batch in group]
    assert torch.equal(torch.cat(batches), rows(0, 24))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one processor
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_workers_do_not_matter(workers):
    stream = SampleStream(TOKENIZER, batch_size=4)
    stream.load_state_dict(stream.state_at(2))
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    assert torch.equal(torch.cat(take(loader, 7)), rows(8, 28))


@pytest.mark.parametrize("used", [0, 1, 5])
def test_resuming(used):
    stream = SampleStream(TOKENIZER, batch_size=4, samples=10, rank=1, world_size=2)
    everything = take(stream, 9)
    first = SampleStream(TOKENIZER, batch_size=4, samples=10, rank=1, world_size=2)
    before = take(first, used)
    second = SampleStream(TOKENIZER, batch_size=4, samples=10, rank=1, world_size=2)
    second.load_state_dict(first.state_dict())
    for a, b in zip(everything, before + take(second, 9 - used), strict=True):
        assert torch.equal(a, b)


def test_state_of_another_stream():
    state = SampleStream(TOKENIZER, batch_size=4).state_dict()
    with pytest.raises(ValueError, match="batch_size 4, and this stream has 8"):
        SampleStream(TOKENIZER, batch_size=8).load_state_dict(state)


def test_from_shards(tmp_path):
    write_shards(TOKENIZER.recipe, "train", tmp_path, count=50, shard_size=20)
    stream = SampleStream(TOKENIZER, batch_size=16, shards=open_shards(tmp_path))
    assert torch.equal(torch.cat(take(stream, 4)), torch.cat([rows(0, 50), rows(0, 14)]))


def test_control_flow_and_wide_tokens():
    recipe = Recipe.control_flow()
    tokenizer = Tokenizer(recipe)
    (batch,) = take(SampleStream(tokenizer, "val", batch_size=5), 1)
    np.testing.assert_array_equal(batch.numpy(), tokenizer.encode(generate(recipe, "val", 0, 5)))
    assert batch.dtype == torch.uint8


@pytest.mark.parametrize(
    "arguments",
    [{"batch_size": 0}, {"batch_size": 4, "samples": 0}, {"batch_size": 4, "rank": 2, "world_size": 2},
     {"batch_size": 4, "rank": 0}],
)  # fmt: skip
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=r"batch_size|samples|rank"):
        SampleStream(TOKENIZER, **arguments)


@pytest.mark.parametrize("samples", [None, 5])
def test_first_sample(samples):
    """A stream that begins elsewhere gives the samples from there on, and repeats those alone."""
    rows = SampleStream(TOKENIZER, batch_size=1, samples=samples, first=2**40).rows(0, 7)
    whole = TOKENIZER.generate("train", 2**40, 7)
    np.testing.assert_array_equal(rows, whole if samples is None else whole[[0, 1, 2, 3, 4, 0, 1]])


def test_first_sample_outside_the_shards(tmp_path):
    write_shards(TOKENIZER.recipe, "train", tmp_path, count=10, shard_size=10)
    shards = open_shards(tmp_path)
    assert len(SampleStream(TOKENIZER, batch_size=1, shards=shards, first=8).rows(0, 4)) == 4
    with pytest.raises(ValueError, match="first is 10"):
        SampleStream(TOKENIZER, batch_size=1, shards=shards, first=10)
    with pytest.raises(ValueError, match="samples is 0; it must be at least 1"):
        SampleStream(TOKENIZER, batch_size=1, shards=shards, samples=0)
    with pytest.raises(TypeError, match=r"start is 0\.5"):
        shards.samples(0.5, 1)
    with pytest.raises(ValueError, match="samples is 3, but the shards hold 2 from sample 8 on"):
        SampleStream(TOKENIZER, batch_size=1, shards=shards, first=8, samples=3)


def test_the_split_is_that_of_the_shards(tmp_path):
    write_shards(TOKENIZER.recipe, "val", tmp_path, count=4, shard_size=10)
    shards = open_shards(tmp_path)
    assert SampleStream(TOKENIZER, batch_size=1, shards=shards).split == "val"
    with pytest.raises(ValueError, match="split is 'test', and the shards are of split 'val'; leave it out, or them"):
        SampleStream(TOKENIZER, "test", batch_size=1, shards=shards)
