"""The grid of latent causal probing: where states are read, on which positions, and in pieces."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from probed_model import RECIPE, make_model
from typer.testing import CliRunner

import karel_fast as kf
from karel_fast.analysis.series import Run
from karel_fast.cli import latent as commands
from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.data.sampling.recipe import ControlFlow
from karel_fast.karel.language import CompiledPrograms
from karel_fast.model import Capture
from karel_fast.probing import latent_grid
from karel_fast.probing.latent_grid import LatentJob, cells_of, probe_latent_grid, recipe_for
from karel_fast.probing.latent_settings import LatentGrid, place_of, positions_of
from karel_fast.probing.probes.training import ProbeConfig
from karel_fast.probing.states import forced_states
from karel_fast.report.latent_grid_figure import latent_grid_plot
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import write_snapshot
from karel_fast.support.checks import InputError

SMALL = LatentGrid(
    config=ProbeConfig(epochs=1, least_steps=5),
    features=("direction", "facing"),
    depths={"linear": ()},
    semantics=("original", "map8"),
    seeds=(0, 1),
    programs={"train": 40, "validation": 10, "test": 20},
)


def write_run(path, layout="compact"):
    card = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": layout}
    return write_snapshot(path, 100, make_model(Tokenizer(RECIPE, layout=layout), seed=1), card)


def test_the_published_grid_has_its_size():
    grid = LatentGrid()
    probes = len(grid.features) * len(grid.depths) * len(grid.semantics) * len(grid.seeds)
    assert len(cells_of(grid, 3)) * probes == 10_800
    # One token an action: -1, -2 and -3 are one place.
    assert len(cells_of(grid, 1)) * probes == 6_480
    sets = [positions_of(name, 15) for name in grid.learn_on]
    assert sets == [(*range(5), *range(10, 15)), tuple(range(5)), tuple(range(5, 10)), tuple(range(10, 15))]


@pytest.mark.parametrize(
    ("tokens", "places"),
    [(3, [(0, 1), (0, 2), (1, 0), (2, 0), (3, 0)]), (1, [(1, 0)] * 3 + [(2, 0), (3, 0)])],
)
def test_places_in_a_layout(tokens, places):
    assert [place_of(offset, tokens) for offset in (-1, -2, -3, -6, -9)] == places


@given(st.integers(3, 60))
def test_training_positions_cover_a_program(actions):
    thirds = [positions_of(name, actions) for name in ("start", "middle", "end")]
    assert sorted(a for third in thirds for a in third) == list(range(actions))
    assert positions_of("ends", actions) == (*thirds[0], *thirds[2])
    assert all(thirds)


def test_states_inside_an_action_have_read_it():
    """What is read before an action's token does not depend on it, what is read after does."""
    tokenizer = Tokenizer(RECIPE, layout="reference")
    model = make_model(tokenizer)
    samples = generate(RECIPE, "train", 0, 4)
    actions, lengths = samples.actions.copy(), samples.lengths
    changed = actions.copy()
    changed[:, 0] = (actions[:, 0] + 1) % 5

    def states(programs, after):
        return forced_states(
            model, tokenizer, samples, programs, lengths, Capture("mean"), after=after, compile_model=False
        )[:, 0]

    np.testing.assert_allclose(states(actions, 0), states(changed, 0), atol=1e-5)
    for after in (1, 2):
        assert np.abs(states(actions, after) - states(changed, after)).max(1).min() > 1e-3
    # The place after the last token of an action is where the next one is predicted.
    with pytest.raises(ValueError, match="after is 3: an action of layout reference has 3 tokens"):
        states(actions, 3)


@pytest.mark.parametrize("layout", ["compact", "reference"])
def test_a_killed_grid_goes_on(tmp_path, monkeypatch, layout):
    snapshot = write_run(tmp_path, layout)
    real, calls = latent_grid.train_piece, []

    def dies(*args):
        calls.append(args[1])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(latent_grid, "train_piece", dies)
    grid = replace(SMALL, learn_on=("start", "end"), withhold=("space",), initialisations=int(layout == "compact"))
    with pytest.raises(KeyboardInterrupt):
        probe_latent_grid(tmp_path, snapshot, grid, compile_model=False)
    stages = []
    path = probe_latent_grid(tmp_path, snapshot, grid, compile_model=False, progress=lambda *now: stages.append(now))
    found = json.loads(path.read_text())
    pieces = {"compact": 2 * 2 * 3, "reference": 2 * 5}[layout]
    assert len(calls) == pieces + 1
    assert stages[-1] == ("train probes", 8 * pieces, 8 * pieces)
    assert found["actions"] == 5
    assert "programs have 5 actions, not 15" in found["notes"][0]
    assert [p.name for p in path.parent.glob("[!.]*")] == [path.name]
    assert len(found["rows"]) == 2 * 5 * 4 * (1 + grid.initialisations)
    assert all(len(row["accuracy"]) == 2 for row in found["rows"])
    near = [r for r in found["rows"] if r["tokens"] == -3 and r["learn_on"] == "start" and r["states"] == "trained"]
    assert all(v is not None for row in near for kind in ("accuracy", "seen", "unseen") for v in row[kind])
    plot = latent_grid_plot(Run.read(RunFolder(tmp_path)))
    assert plot.figure is not None
    assert len(plot.rows) == len(found["rows"])
    changed = path.stat().st_mtime_ns
    assert probe_latent_grid(tmp_path, snapshot, grid, compile_model=False).stat().st_mtime_ns == changed


def test_outputs_may_be_left_in_place_as_a_control(tmp_path, monkeypatch):
    snapshot = write_run(tmp_path)
    asked = []
    real = latent_grid.write_table
    monkeypatch.setattr(latent_grid, "write_table", lambda *a, **k: asked.append(k["withhold"]) or real(*a, **k))
    for withhold in ("shown", "space"):
        probe_latent_grid(tmp_path, snapshot, replace(SMALL, withhold=(withhold,)), compile_model=False)
    assert set(asked[:3]) == {None}
    assert set(asked[3:]) == {"space"}
    kept = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("latent-grid/**/step-*.json"))]
    assert sorted({row["withhold"] for found in kept for row in found["rows"]}) == ["shown", "space"]
    assert len(kept) == 2


def test_lifts_of_seen_positions_are_of_the_states_asked_for(tmp_path, monkeypatch):
    """A probe that learns on the start of a program has rows one action later for states one action back."""
    snapshot = write_run(tmp_path)
    asked = []
    real = latent_grid.prepare
    monkeypatch.setattr(latent_grid, "prepare", lambda *a, **k: asked.append(real(*a, **k)) or asked[-1])
    grid = replace(SMALL, token_offsets=(-6,), learn_on=("start",), withhold=("input",))
    probe_latent_grid(tmp_path, snapshot, grid, compile_model=False)
    rows = asked[0].gathered["train"]
    assert positions_of("start", 5) == (0,)
    assert set(rows.action.tolist()) == {2}
    recipe, _ = recipe_for(RECIPE, "compact", Tokenizer(RECIPE).sequence_length, None)
    samples = generate(recipe, "train", 0, 40)
    trace = kf.trace(CompiledPrograms.from_actions(samples.actions, samples.lengths), samples.shown()[0])
    wanted = trace.robot[:, 1, 2].reshape(40, -1)[:, 0]  # the first world's direction after the first action
    assert (rows.labels["original", -2, "direction"][:, 0, 0] == wanted[rows.sample]).all()


def test_programs_are_those_of_the_paper_where_they_fit():
    recipe, note = recipe_for(kf.data.Recipe.paper(), "reference", 2048, None)
    assert (recipe, note) == (kf.data.Recipe.colm(), "")
    with pytest.raises(ValueError, match="holds programs of at most 5 actions, not 9"):
        recipe_for(RECIPE, "compact", Tokenizer(RECIPE).sequence_length, 9)
    with pytest.raises(ValueError, match="holds no program of three actions"):
        recipe_for(RECIPE, "compact", 10, None)


@pytest.mark.parametrize("layout", ["compact", "reference", "rows", "row-pairs"])
def test_tokens_mean_what_they_meant_in_training(tmp_path, layout):
    """Words of control flow come after all that straight-line programs have, in the compact layout only."""
    trained_on = Recipe(height=6, width=5, examples=1, held_out=0, lengths=(2, 5), control=ControlFlow())
    tokenizer = Tokenizer(trained_on, layout=layout)
    card = {"recipe": trained_on.to_json(), "recipe_hash": trained_on.hash, "layout": layout}
    snapshot = write_snapshot(tmp_path, 100, make_model(tokenizer), card)
    if layout == "compact":
        assert LatentJob(tmp_path, snapshot, SMALL).tokenizer.tokens == tokenizer.tokens[:25]
        return
    with pytest.raises(
        InputError, match=f"step-000100 was trained with control flow, and without it the {layout} layout"
    ):
        LatentJob(tmp_path, snapshot, SMALL)


def test_the_command(tmp_path):
    write_run(tmp_path)
    app = typer.Typer()
    commands.register(app)
    options = [
        "--depths",
        "linear",
        "--seeds",
        "0",
        "--token-offsets",
        "-3",
        "--features",
        "facing",
        "--learn-on",
        "ends",
    ]
    options += [
        "--programs",
        "train=20,validation=5,test=5",
        "--epochs",
        "1",
        "--least-steps",
        "5",
        "--no-compile-decoding",
    ]
    done = CliRunner().invoke(app, [str(tmp_path), *options], catch_exceptions=False)
    assert done.exit_code == 0
    assert "Note: programs have 5 actions, not 15" in done.stdout
    for option, said in (
        (["--token-offsets", "1"], "token offset 1: only states back are read here"),
        (["--learn-on", "half"], "learn_on is 'half'; use one of ends, start, middle, end"),
        (["--withhold", "robot"], "withhold is 'robot'"),
        (
            ["--withhold", "space,shown"],
            "withhold is space,shown: tables are means over it, so ask for shown in a call of its own",
        ),
        (["--actions", "9"], "holds programs of at most 5 actions, not 9"),
        (["--engine", "slurm"], "--engine is 'slurm'; use one of local, ray"),
        (["--address", "auto"], "--address is a Ray cluster's: give --engine ray too"),
    ):
        wrong = CliRunner().invoke(app, [str(tmp_path), *options, *option])
        assert said in str(wrong.exception), option
