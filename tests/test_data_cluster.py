"""The Ray engine: the same digests, with a worker killed on the way."""

import os
import signal
from pathlib import Path

import pytest
from ray_marks import RAY_MARKS

from karel_fast.data import Recipe, verify, write_shards
from karel_fast.data.storage import shards_on_ray as cluster
from karel_fast.data.storage.manifest import Entry, Manifest, ShardError

RECIPE = Recipe.paper(seed=9)

pytest.importorskip("ray")
pytestmark = RAY_MARKS


def kill_its_worker_once(manifest: Manifest, directory: str, shard: int, tag: str, backend: str | None) -> Entry:
    """A worker that is killed while it writes shard 1 for the first time, leaving half a file."""
    killed = Path(directory) / ".killed"
    if shard == 1 and not killed.exists():
        killed.touch()
        (Path(directory) / f".{manifest.file(shard)}.{tag}.tmp").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    return cluster.write_shard(manifest, Path(directory), shard, tag, backend=backend, threads=1)


@pytest.fixture(scope="module")
def local_ray():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_a_worker_is_killed(tmp_path, local_ray, monkeypatch):
    local_ray.cloudpickle.register_pickle_by_value(__import__(__name__))
    monkeypatch.setattr(cluster, "_write_one", kill_its_worker_once)
    calls = []
    made = cluster.write_shards_ray(
        RECIPE, "train", tmp_path / "ray", count=1000, shard_size=300, progress=lambda *at: calls.append(at)
    )
    assert (tmp_path / "ray" / ".killed").exists()
    assert made.shards == write_shards(RECIPE, "train", tmp_path / "local", count=1000, shard_size=300).shards
    assert verify(tmp_path / "ray").rows == 1000
    assert calls[0] == (0, 1000)
    assert calls[-1] == (1000, 1000)
    assert not list((tmp_path / "ray").glob(".*.tmp"))


def test_errors_read_the_same(tmp_path, local_ray):
    recipe = Recipe(lengths=(1, 1), action_weights=(1, 0, 0, 0, 0), split_by="program", split_shares=(1, 1, 0))
    outcomes = []
    for split in ("train", "val"):
        try:
            cluster.write_shards_ray(recipe, split, tmp_path / split, count=5)
        except ValueError as error:
            outcomes.append(str(error))
    assert len(outcomes) == 1
    assert "sample 0" in outcomes[0]


def test_no_mixing(tmp_path, local_ray):
    write_shards(RECIPE, "train", tmp_path, count=10)
    with pytest.raises(ShardError, match="already holds"):
        cluster.write_shards_ray(RECIPE, "train", tmp_path, count=20)
