"""Features of one's own: their labels, what wrong ones are told, and that results of a changed one are not taken for its."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import typer
from probed_model import RECIPE, make_model
from typer.testing import CliRunner

import karel_fast as kf
from karel_fast.cli import features as features_commands
from karel_fast.cli import probing as probing_commands
from karel_fast.data import Tokenizer
from karel_fast.probing import own_features
from karel_fast.probing.features import FEATURES, Setting, label_set, resolve_feature
from karel_fast.probing.lab import States
from karel_fast.runs.snapshots import write_snapshot
from karel_fast.support import plugins
from karel_fast.support.checks import InputError

PLUGIN = '''
import karel_fast as kf

def seen(trace):
    return ~(trace.left_clear & trace.right_clear)

@kf.probing.feature(names=("no", "yes"))
def beside_wall(trace, worlds):
    """Whether a wall is to the robot's left or right."""
    return seen(trace)
'''
SMALL = [
    "--step", "0", "--programs", "train=40,validation=10,test=10", "--depths", "linear", "--offsets", "0", "--seeds", "0",
    "--epochs", "1", "--least-steps", "2", "--no-compile-decoding", "--semantics", "original", "--examples", "2",
    "--features", "direction,beside_wall",
]  # fmt: skip


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is gone after it."""
    known = dict(FEATURES)
    monkeypatch.setattr(own_features, "_PLACES", {})
    monkeypatch.setattr(plugins, "_LOADED", {})
    yield
    FEATURES.clear()
    FEATURES.update(known)


def written(actions: list[int], text: str) -> States:
    worlds = kf.Worlds.from_text(text)
    rows = np.array([actions], np.uint8)
    return States(
        RECIPE, np.zeros((1, len(actions), 1), np.float32), rows, np.array([len(actions)]), worlds, None, None
    )


def test_direction_is_where_it_began_and_how_it_turned() -> None:
    plugins.load_plugins([Path(__file__).parents[1] / "docs" / "plugins" / "turns.py"])
    states = written([1, 0, 1, 2, 1, 1], "#####\n#..v#\n#####")  # left, move, left, right, left, left
    assert states.labels("began").tolist() == [2] * 6
    assert states.labels("turned").tolist() == [3, 3, 2, 3, 2, 1]
    assert ((states.labels("began") + states.labels("turned")) % 4).tolist() == states.labels("direction").tolist()
    assert (states.labels("turned", -1) == [0, 3, 3, 2, 3, 2]).all()


def test_labels_of_a_trace_and_its_worlds() -> None:
    @kf.probing.feature(classes=10, heads=("now", "first"))
    def markers_left(trace, worlds):
        "Markers in the whole world, now and at first."
        now = np.stack([trace.worlds_at(t).markers.sum((1, 2)) for t in range(trace.robot.shape[1])], 1)
        return np.stack([now, np.broadcast_to(worlds.markers.sum((1, 2))[:, None], now.shape)], 2)

    states = written([0, 3, 0, 3], "#####\n#>11#\n#####")  # move, pick, move, pick
    assert states.labels("markers_left").tolist() == [[2, 2], [1, 2], [1, 2], [0, 2]]
    assert states.labels(markers_left, -1).tolist() == [[2, 2], [2, 2], [1, 2], [1, 2]]
    assert states.labels("markers_left", 1).tolist() == [[1, 2], [1, 2], [0, 2], [-1, -1]]
    assert resolve_feature("markers_left").description == "Markers in the whole world, now and at first"


def test_a_state_may_have_no_label() -> None:
    @kf.probing.feature
    def blocked(trace, worlds):
        return np.where(trace.robot[..., 2] == 1, ~trace.front_clear, -1)

    assert written([0, 0, 1], "#####\n#>..#\n#####").labels(blocked).tolist() == [0, 1, -1]


def test_classes_may_follow_from_the_worlds_and_equal_those_that_are_there() -> None:
    @kf.probing.feature(classes=lambda setting: setting.reach + 1, heads=("column", "row"))
    def cell(trace, worlds):
        return trace.robot[:, :, [1, 0]].astype(int) - 1

    rng = np.random.default_rng(0)
    actions = rng.integers(0, 5, (6, 7)).astype(np.uint8)
    worlds = kf.Worlds.random(12, 6, 9, seed=1)
    trace = kf.trace(kf.CompiledPrograms.from_actions(actions, np.full(6, 7)), worlds)
    setting = Setting(6, 9, 7)
    for offset in (-2, 0, 3):
        found = label_set(trace, (cell, "absolute"), offset, lengths=np.full(6, 7), setting=setting)
        np.testing.assert_array_equal(found["cell"], found["absolute"])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda trace, worlds: trace.steps,
            r"gave an array of shape \(1,\); make it \(1, 2\), one label for each state",
        ),
        (lambda trace, worlds: trace.front_clear * 0.5, "gave float64; give whole numbers"),
        (lambda trace, worlds: trace.front_clear * 7, "gave the label 7; with 2 classes labels are 0 to 1"),
        (lambda trace, worlds: trace.robot[..., 2].astype(int) - 4, "gave the label -3"),
        (lambda trace, worlds: trace.colour, "failed at .*test_own_features.py, line .*AttributeError"),
    ],
)
def test_wrong_labels(function, message) -> None:
    own = kf.probing.feature(name="wrong")(function)
    with pytest.raises(InputError, match=message):
        written([0], "#####\n#>..#\n#####").labels(own)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "direction"}, "is one of karel_fast's own"),
        ({"name": "a,b"}, "give a name of letters"),
        ({"name": "own", "classes": 1}, "classes is 1"),
        ({"name": "own", "classes": 3, "names": ("a", "b")}, "3 classes and 2 names"),
        ({"name": "own", "heads": ()}, "give a list of names"),
        ({"name": "own", "heads": "column"}, "heads is 'column'; give a list of names"),
        ({}, "feature '<lambda>': give a name"),
    ],
)
def test_wrong_settings(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        kf.probing.feature(**settings)(lambda trace, worlds: 0)


def test_a_function_without_a_name_or_words_of_its_own() -> None:
    with pytest.raises(ValueError, match="give a name of letters"):
        kf.probing.feature(partial(lambda trace, worlds: 0))
    for description in (None, "  ", "\n"):
        own = kf.probing.feature(name="never_mind", description=description)(partial(lambda trace, worlds: 0))
        assert own.description == "never mind"


@pytest.mark.parametrize("kind", [int, bool, np.uint8])
def test_masked_labels_are_none(kind) -> None:
    def own(trace, worlds):
        return np.ma.masked_array(np.ones(trace.markers_here.shape, kind), mask=trace.front_clear)

    made = kf.probing.feature(name="masked")(own)
    labels = written([0, 1], "#####\n#>..#\n#####").labels(made)
    assert set(np.unique(labels)) == {-1, 1}


def test_what_one_feature_is_given_no_other_can_change() -> None:
    trace = kf.trace("def run() { move() }", kf.Worlds.from_text("#####\n#>..#\n#####"))
    for name in (
        "actions",
        "robot",
        "markers_here",
        "front_clear",
        "left_clear",
        "right_clear",
        "steps",
        "status",
        "walls",
    ):
        with pytest.raises(ValueError, match="read-only"):
            getattr(trace, name)[..., :1] = 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ndef f(:", "line 2: SyntaxError"),
        ("import sys\nsys.exit()", "line 2: SystemExit"),
        ("x = 1\nx = y", "line 2: NameError: name 'y' is not defined"),
        (PLUGIN.replace("beside_wall", "walls"), "line 7: ValueError: feature 'walls' is one of karel_fast's own"),
    ],
)
def test_wrong_plugins(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.py").write_text(text)
    with pytest.raises(InputError, match=message):
        plugins.load_plugins([tmp_path / "p.py"])
    with pytest.raises(InputError, match=r"a Python file, one whose name ends in \.py"):
        plugins.load_plugins(["features"])
    with pytest.raises(FileNotFoundError):
        plugins.load_plugins([tmp_path / "q.py"])
    assert not plugins.loaded_plugins()


def test_two_files_with_one_name(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(PLUGIN)
    plugins.load_plugins([tmp_path / "a.py", tmp_path / "a.py"])
    with pytest.raises(InputError, match=r"feature 'beside_wall' is defined in .*a\.py already"):
        plugins.load_plugins([tmp_path / "b.py"])
    (tmp_path / "a.py").write_text(PLUGIN + "\n# changed\n")
    before = FEATURES["beside_wall"].source
    plugins.load_plugins([tmp_path / "a.py"])
    assert FEATURES["beside_wall"].source != before


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    probing_commands.register(made)
    features_commands.register(made)
    return made


def test_the_table_of_features(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(PLUGIN)
    arguments = ["features", "--plugin", str(tmp_path / "own.py")]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert "Whether a wall is to the robot's left or right (your own)" in shown
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert [row["name"] for row in found] == list(FEATURES)
    classes = {row["name"]: row["classes"] for row in found}
    assert (classes["direction"], classes["position"], classes["beside_wall"]) == (4, 11, 2)


def test_probing_a_feature_of_ones_own(app: typer.Typer, tmp_path: Path) -> None:
    run, own = tmp_path / "run", tmp_path / "own.py"
    card = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": "compact"}
    write_snapshot(run, 0, make_model(Tokenizer(RECIPE), seed=1), card)
    own.write_text(PLUGIN)
    with pytest.raises(ValueError, match=r"unknown feature 'beside_wall'.*--plugin FILE"):
        CliRunner().invoke(app, ["probe", str(run), *SMALL], catch_exceptions=False)

    def probe() -> Path:
        done = CliRunner().invoke(app, ["probe", str(run), *SMALL, "--plugin", str(own)], catch_exceptions=False)
        return Path(done.stdout.strip().splitlines()[-1])

    first = probe()
    assert {record["feature"] for record in json.loads(first.read_text())["records"]} == {"direction", "beside_wall"}
    assert "yes" in (run / "examples" / first.name).read_text()
    assert probe() == first
    # A helper has changed: what is stored is of another feature, and stays.
    own.write_text(PLUGIN.replace("~(", "("))
    second = probe()
    assert second != first
    majority = [
        next(r["majority"] for r in json.loads(path.read_text())["records"] if r["feature"] == "beside_wall")
        for path in (first, second)
    ]
    assert majority[0] == pytest.approx(majority[1])  # the labels are one another's opposite
