"""The whole set of edits on a small untrained model: killed and gone on with, at the command line, with wrong settings."""

from __future__ import annotations

import json
from functools import partial

import pytest
from edited_pairs import GIVEN, RECIPE, small_model
from typer.testing import CliRunner

from karel_fast.cli import app
from karel_fast.data import Tokenizer
from karel_fast.probing.edits import experiment
from karel_fast.probing.edits.exchange import Exchange
from karel_fast.probing.edits.experiment import check_model, steer_snapshot
from karel_fast.probing.steer_settings import SteerConfig
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import choose_snapshots, write_snapshot
from karel_fast.support.checks import InputError


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(RECIPE)


SMALL = SteerConfig(
    kinds=("turned", "written"), ranks=(1, 4), choice_pairs=6, map_pairs=6, test_pairs=10, train_pairs=30,
    rotation_steps=4, rotation_batch=8, erased=12, erasure_train=40, given=GIVEN, test_start=500,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, tokenizer):
    path = tmp_path_factory.mktemp("run")
    card = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": "compact"}
    write_snapshot(path, 100, small_model(tokenizer), card)
    return path


def test_a_model_that_solves_nothing_still_has_its_erasure(run, tmp_path):
    path = steer_snapshot(run, choose_snapshots(run)[0], SMALL)
    stored = json.loads(path.read_text())
    assert {r["experiment"] for r in stored["records"]} == {"erasure"}
    assert [note.split(":")[0] for note in stored["notes"]] == ["turned", "written"]
    path.unlink()


def test_the_whole_set_goes_on_where_it_stopped(run, monkeypatch):
    # An untrained model solves nothing, so all pairs are kept.
    monkeypatch.setattr(experiment, "Exchange", partial(Exchange, solved_only=False))
    snapshot, stages = choose_snapshots(run)[0], []

    def stop(stage, done, total):
        stages.append(stage)
        assert done <= total
        if stage == "turned: subspaces":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steer_snapshot(run, snapshot, SMALL, progress=stop)
    pieces = {path.stem for path in RunFolder(run).pieces("steering", 100).glob("*.json")}
    assert pieces == {"map-turned", "map-written", "choice-turned", "rotation-turned"}
    stages = []
    path = steer_snapshot(run, snapshot, SMALL, progress=lambda stage, done, total: stages.append((stage, done, total)))
    assert not any("layers x tokens" in stage for stage, _, _ in stages)
    counted = [(done, total) for stage, done, total in stages if stage == "turned: subspaces"]
    assert counted[-1][0] == counted[-1][1]
    assert not RunFolder(run).pieces("steering", 100).exists()
    stored = json.loads(path.read_text())
    assert set(stored["sites"]) == {"turned"}
    of = {r["experiment"] for r in stored["records"]}
    assert of == {"interchange", "choice", "subspace", "erasure"}
    controls = {r["method"] for r in stored["records"] if r.get("control")}
    assert controls >= {"random", "noise", "rotation, wrong layer", "rotation, wrong tokens", "untrained model"}
    steer_snapshot(run, snapshot, SMALL, progress=lambda *_: pytest.fail("done already"))
    # The same settings at the command line find it done.
    words = ["steer", str(run)]
    for name, value in SMALL.to_json().items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += [f"--{name.replace('_', '-')}", text]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "obeys: programs (%)" in done.stdout
    assert done.stdout.strip().endswith("steering/step-000100.json")
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert json.loads(done.stdout)["records"] == stored["records"]


def test_wrong_settings(run, tokenizer):
    model = small_model(tokenizer)
    for config, message in (
        (SteerConfig(layers=(0, 2)), r"layers has 2: of this model, states 0\.\.1"),
        (SteerConfig(ranks=(4, 33)), "ranks has 33: this model's states have 32 dimensions"),
    ):
        with pytest.raises(InputError, match=message):
            check_model(config, model)
    for change, message in (
        ({"kinds": ("tuned",)}, "did you mean 'turned'"),
        ({"kinds": ()}, "kinds is empty"),
        ({"kinds": ("moved",)}, "which is none of kinds"),
        ({"subspace_kinds": ("moved",)}, "only in turned and written pairs do robots face elsewhere"),
        ({"ranks": ()}, "ranks is empty"),
        ({"ranks": (0,)}, "ranks is 0"),
        ({"layers": ()}, "layers is empty"),
        ({"layers": "most"}, "layers is 'most'"),
        ({"map_pairs": 0}, "map_pairs is 0"),
        ({"carries": 1.5}, "carries is 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            SteerConfig(**change)
    done = CliRunner().invoke(app, ["steer", str(run), "--step", "7"])
    assert "no snapshot of step 7" in str(done.exception)
