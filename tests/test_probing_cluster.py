"""Snapshots probed on Ray: the same bytes as on one machine, and one error that names what is wrong."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from pathlib import Path

import pytest
from probed_model import RECIPE, SMALL, make_model
from ray_marks import RAY_MARKS

from karel_fast.data import Tokenizer, export_jsonl, generate
from karel_fast.probing import snapshots_on_ray as cluster
from karel_fast.probing.features import FEATURES
from karel_fast.probing.latent_grid import LatentJob, probe_latent_grid
from karel_fast.probing.latent_on_ray import latent_on_ray
from karel_fast.probing.latent_settings import LatentGrid
from karel_fast.probing.snapshot import ProbeRun, pieces_left, probe_piece, probe_snapshot
from karel_fast.probing.snapshots_on_ray import probe_on_ray
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import choose_snapshots, write_snapshot
from karel_fast.support import plugins
from karel_fast.support.ray import WorkerLost

pytest.importorskip("ray")
pytestmark = RAY_MARKS
SETTINGS = {"compile_model": False}


@pytest.fixture(scope="module")
def local_ray():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    # Workers see this module, though it is no installed package.
    ray.cloudpickle.register_pickle_by_value(__import__(__name__))
    yield ray
    ray.shutdown()


@pytest.fixture
def run(tmp_path) -> Path:
    card = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": "compact"}
    for step in (0, 100):
        write_snapshot(tmp_path / "run", step, make_model(Tokenizer(RECIPE), seed=step), card)
    return tmp_path / "run"


def killed_once(plugins: list, run: str, snapshot: str, what: ProbeRun, settings: dict, threads: int) -> None:
    """The worker of snapshot 0 is killed the first time, that of snapshot 100 every time."""
    mark = Path(run) / f".{Path(snapshot).name}"
    if not mark.exists() or snapshot.endswith("100"):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    cluster.probe_snapshot(run, snapshot, what, **settings)


def test_the_same_bytes_as_on_one_machine(run, local_ray):
    shutil.copytree(run, run.parent / "local")
    calls = []
    paths = probe_on_ray(run, choose_snapshots(run), SMALL, SETTINGS, progress=lambda *at: calls.append(at))
    assert calls == [(1, 2), (2, 2)]
    for path, snapshot in zip(paths, choose_snapshots(run.parent / "local"), strict=True):
        assert path.read_bytes() == probe_snapshot(run.parent / "local", snapshot, SMALL, **SETTINGS).read_bytes()
    # Done already: no task, nothing written.
    before = [path.stat().st_mtime_ns for path in paths]
    assert probe_on_ray(run, choose_snapshots(run), SMALL, SETTINGS, progress=lambda *at: calls.append(at)) == paths
    assert len(calls) == 2
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_specifications_of_ones_own(run, local_ray, monkeypatch):
    """Workers are elsewhere, so a file named as seen from here is found there, too."""
    asked = sum(SMALL.programs.values())
    export_jsonl(generate(RECIPE, "test", 500, asked), run.parent / "own.jsonl")
    shutil.copytree(run, run.parent / "local")
    monkeypatch.chdir(run.parent)
    own = dataclasses.replace(SMALL, specifications="own.jsonl")
    snapshots = choose_snapshots(run)[:1]
    paths = probe_on_ray(run, snapshots, own, SETTINGS)
    wanted = probe_snapshot(run.parent / "local", choose_snapshots(run.parent / "local")[0], own, **SETTINGS)
    assert paths[0].read_bytes() == wanted.read_bytes()
    assert paths[0].read_bytes() != probe_snapshot(run.parent / "local", snapshots[0], SMALL, **SETTINGS).read_bytes()


def test_the_same_bytes_in_pieces(run, local_ray):
    """A task for every piece, one of which is there already; what is joined is what one machine writes."""
    asked = dataclasses.replace(SMALL, pieces=True, layers="mean")
    shutil.copytree(run, run.parent / "local")
    snapshots = choose_snapshots(run)[:1]
    (number, *others) = pieces_left(run, snapshots[0], asked, **SETTINGS)
    probe_piece(run, snapshots[0], asked, number, **SETTINGS)
    calls: list[tuple[int, int]] = []
    (path,) = probe_on_ray(run, snapshots, asked, SETTINGS, progress=lambda *at: calls.append(at))
    assert calls == [(1, 1), *((i + 1, len(others)) for i in range(len(others)))]
    local = run.parent / "local"
    assert path.read_bytes() == probe_snapshot(local, snapshots[0], asked, **SETTINGS).read_bytes()


def test_the_latent_grid_has_the_same_bytes(run, local_ray):
    """One piece is there already; tables are tasks first, then the pieces."""
    grid = LatentGrid(
        config=SMALL.config, features=("direction",), depths={"linear": ()}, token_offsets=(-3, -6),
        semantics=("original",), seeds=(0,), withhold=("space",), learn_on=("start", "end"),
        programs={"train": 40, "validation": 10, "test": 20}, initialisations=1,
    )  # fmt: skip
    shutil.copytree(run, run.parent / "local")
    snapshot = choose_snapshots(run)[-1]
    LatentJob(run, snapshot, grid, **SETTINGS).train(0)
    calls: list[tuple[str, int, int]] = []
    path = latent_on_ray(run, snapshot, grid, progress=lambda *at: calls.append(at), **SETTINGS)
    assert calls == [*(("read programs", k, 2) for k in (1, 2)), *(("train probes", k, 8) for k in range(2, 9))]
    local = run.parent / "local"
    assert path.read_bytes() == probe_latent_grid(local, choose_snapshots(local)[-1], grid, **SETTINGS).read_bytes()
    assert latent_on_ray(run, snapshot, grid, **SETTINGS) == path  # done already: no cluster is asked


def test_a_failing_snapshot_leaves_the_others(run, local_ray):
    first, last = choose_snapshots(run)
    (first / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="step-000000") as raised:
        probe_on_ray(run, [first, last], SMALL, SETTINGS)
    assert "Traceback" not in str(raised.value)
    assert RunFolder(run).file("probing", 100).exists()


def test_workers_that_are_killed(run, local_ray, monkeypatch):
    monkeypatch.setattr(cluster, "_probe_one", killed_once)
    with pytest.raises(WorkerLost, match="step-000100") as raised:
        probe_on_ray(run, choose_snapshots(run), SMALL, SETTINGS, retries=1)
    assert "\n" not in str(raised.value)
    assert RunFolder(run).file("probing", 0).exists()


def test_a_gpu_that_is_not_there(run, local_ray):
    if local_ray.cluster_resources().get("GPU"):
        pytest.skip("the cluster has a GPU")
    with pytest.raises(ValueError, match="no GPU"):
        probe_on_ray(run, choose_snapshots(run), SMALL, {**SETTINGS, "device": "cuda"})


def test_workers_know_features_of_ones_own_without_their_file(run, local_ray, monkeypatch):
    monkeypatch.setattr(plugins, "_LOADED", {})
    own = run.parent / "own.py"
    own.write_text(
        "import karel_fast as kf\n@kf.probing.feature\ndef left(trace, worlds):\n    return trace.left_clear\n"
    )
    plugins.load_plugins([own])
    own.unlink()
    try:
        asked = dataclasses.replace(SMALL, layers="mean", grid=dataclasses.replace(SMALL.grid, features=("left",)))
        shutil.copytree(run, run.parent / "local")
        there = probe_on_ray(run, choose_snapshots(run, [0]), asked, SETTINGS)
        here = probe_snapshot(run.parent / "local", choose_snapshots(run.parent / "local", [0])[0], asked, **SETTINGS)
        assert there[0].read_bytes() == here.read_bytes()
        assert b'"left"' in here.read_bytes()
    finally:
        del FEATURES["left"]
