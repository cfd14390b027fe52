"""What probes read by the place of an action in its program, from stored sums."""

from __future__ import annotations

import fake_run
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karel_fast.analysis.by_place import by_place, places_of
from karel_fast.analysis.compare import read_runs
from karel_fast.analysis.compare_places import compare_places
from karel_fast.analysis.keep import kept_metrics
from karel_fast.analysis.results import results_of
from karel_fast.analysis.series import Run
from karel_fast.probing.clusters import read_clusters, write_clusters
from karel_fast.probing.differences import Clusters
from karel_fast.probing.measures import SUMS
from karel_fast.probing.places import Places, place_sums, read_places
from karel_fast.probing.probes.types import Tally
from karel_fast.report.place_figure import places_plot
from karel_fast.runs.folder import RunFolder

LENGTHS = (3, 5)
PLACES = np.array(sorted((k, n - 1 - k) for n in LENGTHS for k in range(n)), np.int16)


def with_places(path, lift=0.01):
    """A fake run whose last snapshot's direction probes read `lift` more with every action before (trained states only)."""
    fake_run.make(path, snapshots=2, seeds=2, examples=0)
    folder = RunFolder(path)
    records = folder.read_all("probing")[400]["records"]
    known = np.full((len(records), len(PLACES)), 100.0)
    sums = {name: known.copy() for name in SUMS}
    sums["majority"] = 0.25 * known
    for index, record in enumerate(records):
        gain = lift * PLACES[:, 0] if record["states"] == "trained" and record["feature"] == "direction" else 0.05
        sums["right"][index] = np.round((0.25 + gain) * 100)
    programs = np.zeros((1, 5), np.uint8)
    totals = {name: values.sum(1, keepdims=True) for name, values in sums.items()}
    write_clusters(folder.sums("probing", 400), Clusters(programs, totals), Places(PLACES, sums))
    return path


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=30))
def test_sums_by_place_add_up(rows):
    before, after, right = (np.array(column) for column in zip(*rows, strict=True))
    zeros = np.zeros(len(rows))
    tally = Tally(known=np.full(len(rows), 3), majority=zeros, surprisal=zeros, right=right, loss=zeros)
    found = place_sums([tally, None], before, after)
    for side, values in (("start", before), ("end", after)):
        distances, sums = found.by_distance(side)
        assert distances.tolist() == sorted(set(values.tolist()))
        assert sums["right"][0].tolist() == [right[values == d].sum() for d in distances]
        assert sums["known"][0].sum() == 3 * len(rows)
        assert not sums["known"][1].any()


def test_stored_sums_come_back_and_old_files_have_none(tmp_path):
    sums = {name: np.arange(6.0).reshape(2, 3) for name in SUMS}
    clusters = Clusters(np.zeros((3, 4), np.uint8), sums)
    write_clusters(tmp_path / "new.npz", clusters, Places(PLACES[:3], sums))
    write_clusters(tmp_path / "old.npz", clusters)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "new.npz").read_bytes()[:100])
    found = read_places(tmp_path / "new.npz")
    assert found is not None
    assert found.places.tolist() == PLACES[:3].tolist()
    assert all((found.sums[name] == sums[name]).all() for name in SUMS)
    assert (read_clusters(tmp_path / "new.npz").sums["right"] == sums["right"]).all()
    assert [read_places(tmp_path / f"{name}.npz") for name in ("old", "cut", "none")] == [None] * 3


def test_lift_by_distance(tmp_path):
    run = Run.read(RunFolder(with_places(tmp_path / "run")))
    rows = by_place(run, "start", "direction", "mlp1")
    assert [row["distance"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["lift"] for row in rows] == pytest.approx([0, 0.01, 0.02, 0.03, 0.04])
    assert [row["pairs"] for row in rows] == [200, 200, 200, 100, 100]
    assert [row["untrained"] for row in rows] == pytest.approx([0.05] * 5)
    # Of the last action: place 2 of three and place 4 of five, alike often.
    assert by_place(run, "end", "direction", "mlp1")[0]["lift"] == pytest.approx(0.03)
    assert places_plot(run).figure is not None
    assert len(results_of(run)["by_place"]) == len(places_of(run)) == len(kept_metrics(run)["by_place"]["rows"])


def test_runs_without_sums_say_so(tmp_path):
    run = Run.read(RunFolder(fake_run.make(tmp_path / "old", snapshots=2, seeds=1, examples=0)))
    assert places_of(run) == []
    assert "probe anew" in places_plot(run).missing
    with pytest.raises(ValueError, match="old: the probes have no sums by place"):
        compare_places([run], "start")


def test_sums_of_other_records_are_not_used(tmp_path):
    path = with_places(tmp_path / "run")
    folder = RunFolder(path)
    sums = {name: np.ones((1, len(PLACES))) for name in SUMS}
    write_clusters(folder.sums("probing", 400), Clusters(np.zeros((1, 1)), {n: np.ones((1, 1)) for n in SUMS}),
                   Places(PLACES, sums))  # fmt: skip
    assert by_place(Run.read(folder), "start") == []


def test_compare_by_place(tmp_path, cli):
    paths = [with_places(tmp_path / f"seed{i}", lift) for i, lift in enumerate((0.01, 0.03))]
    rows = compare_places(read_runs(paths), "start", "direction", "mlp1")
    assert rows[2]["lift"] == pytest.approx(0.04)
    assert rows[2]["low"] < 0.04 < rows[2]["high"]
    code, out, _ = cli("compare", *paths, "--feature", "direction", "--depth", "mlp1", "--by-place", "end")
    assert code == 0
    assert "By place: actions after" in out
    code, _, error = cli("compare", *paths, "--by-place", "middle")
    assert (code, error.count("\n")) == (2, 1)
    assert "--by-place is 'middle'" in error
