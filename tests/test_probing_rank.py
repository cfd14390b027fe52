"""Probes under every bijective mapping, and the rank of the meaning of training among them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import typer
from probed_model import RECIPE, make_model
from typer.testing import CliRunner

from karel_fast.analysis.mapping_rank import Rank, ranks_of
from karel_fast.analysis.series import Run
from karel_fast.cli import rank as commands
from karel_fast.data import Tokenizer
from karel_fast.karel.language import Semantics
from karel_fast.karel.language.semantics import resolve_semantics
from karel_fast.probing import mapping_rank
from karel_fast.probing.mapping_rank import bijective_mappings, labelings_of, name_of, rank_snapshot
from karel_fast.probing.probes.training import ProbeConfig
from karel_fast.probing.rank_settings import RankRun
from karel_fast.probing.snapshot import write_tables
from karel_fast.report.rank_figure import rank_plot
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import write_snapshot

SMALL = RankRun(
    config=ProbeConfig(epochs=1, least_steps=5),
    depths={"linear": ()},
    seeds=(0,),
    programs={"train": 60, "validation": 20, "test": 20},
    labelings_at_once=4,
)


def write_run(path, semantics="original"):
    recipe = RECIPE.replace(semantics=resolve_semantics(semantics))
    card = {"recipe": recipe.to_json(), "recipe_hash": recipe.hash, "layout": "compact"}
    return write_snapshot(path, 100, make_model(Tokenizer(recipe), seed=1), card)


def test_every_mapping_once():
    names = bijective_mappings()
    assert len(names) == len(set(names)) == 120
    tables = {tuple(resolve_semantics(name).table.tolist()) for name in names}
    assert len(tables) == 120
    assert all(sorted(table) == [0, 1, 2, 3, 4] for table in tables)
    assert names[0] == name_of(resolve_semantics("original")) == "identity"
    assert resolve_semantics(name_of(resolve_semantics("map8"))) == resolve_semantics("map8")
    with pytest.raises(ValueError, match="trained under adversarial, in which two written actions"):
        name_of(resolve_semantics("adversarial"))


@pytest.mark.parametrize(("feature", "groups"), [("direction", 20), ("position", 60)])
def test_labelings_are_what_a_feature_depends_on(tmp_path, feature, groups):
    """Which actions turn, which turn and move: counted by hand."""
    # Reference programs, because a model without training writes few different actions.
    probe_run = replace(SMALL.probe_run(), programs_from="reference", untrained=False)
    splits = write_tables(tmp_path, write_run(tmp_path), probe_run, compile_model=False).splits
    found = labelings_of(splits, replace(SMALL, features=(feature,)), feature, "identity")
    assert len(found) == groups
    assert {len(names) for names in found} == {120 // groups}
    assert "identity" in found[0]
    if feature == "direction":
        turns = {tuple(np.isin(resolve_semantics(n).table, (1, 2)) * resolve_semantics(n).table) for n in found[0]}
        assert turns == {(0, 1, 2, 0, 0)}


def test_a_killed_ranking_goes_on(tmp_path, monkeypatch):
    snapshot = write_run(tmp_path)
    real, calls = mapping_rank.train_probes, []

    def dies(*args, **options):
        calls.append(len(args[1]))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(mapping_rank, "train_probes", dies)
    with pytest.raises(KeyboardInterrupt):
        rank_snapshot(tmp_path, snapshot, SMALL, compile_model=False)
    stages = []
    path = rank_snapshot(tmp_path, snapshot, SMALL, compile_model=False, progress=lambda *now: stages.append(now))
    whole = json.loads(path.read_text())
    count = len(whole["labelings"]["direction"])
    assert 8 < count <= 20
    # Three pieces were kept, the one that was killed and those after it are trained anew.
    assert len(calls) == 2 * -(-count // SMALL.labelings_at_once) + 1
    assert stages[-1] == ("train probes", 4 * count, 4 * count)
    assert [p.name for p in path.parent.glob("[!.]*")] == [path.name]
    changed = path.stat().st_mtime_ns
    assert rank_snapshot(tmp_path, snapshot, SMALL, compile_model=False).stat().st_mtime_ns == changed
    path.unlink()
    monkeypatch.undo()
    again = rank_snapshot(tmp_path, snapshot, replace(SMALL, labelings_at_once=20), compile_model=False)
    key = lambda r: (r["semantics"], r["offset"], r["states"])  # noqa: E731
    others = json.loads(again.read_text())["records"]
    assert sorted(whole["records"], key=key) == sorted(others, key=key), "pieces change the probes"

    run = Run.read(RunFolder(tmp_path))
    ranks = ranks_of(run.rank[100])
    assert {(r.feature, r.depth, r.offset, r.kind) for r in ranks} == {
        ("direction", "linear", offset, kind) for offset in (0, 1) for kind in ("lift", "gain")
    }
    assert all(len(r.values) == count and sum(r.mappings) == 120 for r in ranks)
    assert rank_plot(run).figure is not None


def test_the_own_meaning_is_that_of_training(tmp_path):
    snapshot = write_run(tmp_path, "map8")
    stored = json.loads(rank_snapshot(tmp_path, snapshot, SMALL, compile_model=False).read_text())
    assert resolve_semantics(stored["own"]) == resolve_semantics("map8")
    assert stored["own"] in stored["labelings"]["direction"][0]


def test_ranks_by_hand():
    rank = Rank(100, "direction", "linear", 0, "lift", (0.3, 0.5, 0.3, 0.1), ("a", "b", "c", "d"), (6, 6, 6, 6))
    assert (rank.rank, rank.p, rank.best, rank.rank_of_mappings) == (3, 0.75, "b", (13, 18))
    assert rank.to_json()["median"] == pytest.approx(0.3)


def test_the_command(tmp_path):
    write_run(tmp_path)
    app = typer.Typer()
    commands.register(app)
    options = ["--depths", "linear", "--seeds", "0", "--offsets", "0", "--initialisations", "0", "--least-steps", "5"]
    options += ["--programs", "train=30,validation=10,test=10", "--epochs", "1", "--no-compile-decoding"]
    done = CliRunner().invoke(app, [str(tmp_path), *options], catch_exceptions=False)
    assert done.exit_code == 0
    assert "direction  linear  0       lift " in done.stdout
    wrong = CliRunner().invoke(app, [str(tmp_path), "--initialisations", "-1"])
    assert "initialisations is -1; give a whole number of at least 0" in str(wrong.exception)
    none = CliRunner().invoke(app, [str(tmp_path), "--step", "7"])
    assert "holds no snapshot of step 7" in str(none.exception)
    write_run(tmp_path / "other", "adversarial")
    refused = CliRunner().invoke(app, [str(tmp_path / "other"), *options])
    assert "it has no rank among them" in str(refused.exception)


def test_a_mapping_that_is_not_original_by_name():
    assert Semantics(name="identity") == resolve_semantics("original")
