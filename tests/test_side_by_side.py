"""Results of other settings stand beside a run's own: nothing is replaced, and figures are drawn from what is alike."""

from __future__ import annotations

import json
from pathlib import Path

import fake_run
import pytest
from typer.testing import CliRunner

from karel_fast.cli import app
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.side_by_side import home, make_room, settings_name
from karel_fast.runs.snapshots import snapshot_path, weights_digest
from karel_fast.support.files import read_json, write_json

OWN = {"experiment": {"seeds": [0, 1], "examples": 8, "grid": {"shuffled": True}}}
OTHER = {"experiment": {"seeds": [0], "examples": 8, "grid": {"shuffled": True}}}
BARE = {"experiment": {"seeds": [0, 1], "examples": 0, "grid": {"shuffled": False}}}
ASIDE = f"probing/{settings_name(OTHER)}"


def write(folder: RunFolder, place: str, step: int, identity: dict, **more: object) -> Path:
    path = folder.file(place, step)
    write_json(path, {"step": step, **identity, **more})
    path.with_suffix(".npz").write_bytes(json.dumps(identity).encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_the_first_settings_are_the_runs_own(folder: RunFolder) -> None:
    assert home(folder, "probing", 100, OWN) == "probing"
    write(folder, "probing", 100, OWN)
    assert home(folder, "probing", 100, OWN) == "probing"
    assert home(folder, "closer", 100, OTHER) == "closer"


def test_other_settings_go_beside_them_at_every_step(folder: RunFolder) -> None:
    write(folder, "probing", 100, OWN)
    for step in (100, 200):
        assert home(folder, "probing", step, OTHER) == ASIDE
    write(folder, ASIDE, 100, OTHER)
    assert home(folder, "probing", 100, OTHER) == ASIDE
    assert folder.beside() == {settings_name(OTHER): ["probing"]}


def test_more_or_fewer_extras_are_alike_but_replace_nothing(folder: RunFolder) -> None:
    write(folder, "probing", 100, OWN)
    assert home(folder, "probing", 200, BARE) == "probing"
    assert home(folder, "probing", 100, BARE) == f"probing/{settings_name(BARE)}"


@pytest.mark.parametrize("begun", ["done", "in pieces", "in pieces, with an identity"])
def test_the_runs_own_settings_move_others_aside(folder: RunFolder, begun: str) -> None:
    if begun == "done":
        write(folder, "probing", 100, OTHER)
    else:
        content = OTHER if begun == "in pieces" else {"identity": OTHER}
        write_json(folder.pieces("probing", 100) / "piece-0000.json", content)
    make_room(folder, "probing", 100, OWN)
    assert home(folder, "probing", 100, OWN) == "probing"
    assert not folder.file("probing", 100).exists()
    assert not folder.pieces("probing", 100).exists()
    if begun == "done":
        moved = folder.file(ASIDE, 100)
        assert read_json(moved) == {"step": 100, **OTHER}
        assert moved.with_suffix(".npz").read_bytes() == json.dumps(OTHER).encode()
    else:
        assert (folder.pieces(ASIDE, 100) / "piece-0000.json").exists()
    write(folder, "probing", 100, OWN)
    assert home(folder, "probing", 100, OTHER) == ASIDE


def test_examples_go_along_with_the_results_that_they_are_of(folder: RunFolder) -> None:
    shown, aside = folder.file("examples", 100), folder.file(f"examples/{settings_name(OTHER)}", 100)
    write_json(shown, {"step": 100, "examples": [], "reader": "of others"})
    write_json(folder.pieces("probing", 100) / "piece-0000.json", OTHER)
    make_room(folder, "probing", 100, OWN, examples=True)
    assert shown.exists(), "results that are not whole have no examples yet: these are of another kind"
    write(folder, "probing", 100, OTHER)
    make_room(folder, "probing", 100, OWN, examples=True)
    assert not shown.exists()
    assert read_json(aside)["reader"] == "of others"
    write_json(shown, {"step": 100, "examples": [], "reader": "own"})
    write(folder, "evaluation", 100, OTHER)
    make_room(folder, "evaluation", 100, OWN)
    assert shown.exists()


def test_what_has_been_begun_in_pieces_is_not_replaced(folder: RunFolder) -> None:
    write_json(folder.pieces("probing", 100) / "piece-0000.json", OWN)
    assert home(folder, "probing", 100, OWN) == "probing"
    assert home(folder, "probing", 100, OTHER) == ASIDE


def test_results_of_weights_that_are_no_more_are_replaced(folder: RunFolder) -> None:
    snapshot = snapshot_path(folder.path, 100)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    write(folder, "probing", 100, OWN, weights=weights_digest(snapshot))
    assert home(folder, "probing", 100, OTHER) == ASIDE
    (snapshot / "model.safetensors").write_bytes(b"others")
    assert home(folder, "probing", 100, OTHER) == "probing"
    assert home(folder, "probing", 200, OTHER) == "probing"


def test_a_report_of_other_settings_leaves_the_runs_own(tmp_path: Path) -> None:
    run = fake_run.make(tmp_path / "run", snapshots=3, seeds=2, examples=2)
    folder = RunFolder(run)
    last = max(folder.read_all("probing"))
    name = settings_name(OTHER)
    other = read_json(folder.file("probing", last))
    for record in other["records"]:
        record["accuracy"] = 0.5
    write_json(folder.file(f"probing/{name}", last), other)

    def report(*options: str) -> str:
        done = CliRunner().invoke(app, ["report", str(run), *options])
        assert done.exit_code == 0, done.output
        return Path(done.stdout.strip()).read_text()

    own_page = report()
    assert f"karel-fast report run --settings {name} draws them" in own_page
    before = {path: path.read_bytes() for path in (folder.page, folder.results, folder.summary)}
    page = report("--settings", name)
    assert f"drawn are the results of {name}, not of the run's own settings" in page.replace("&#39;", "'")
    assert {path: path.read_bytes() for path in before} == before
    results = read_json(run / "report" / name / "results.json")
    assert {row["accuracy"] for row in results["probes"]} == {0.5}
    unknown = CliRunner().invoke(app, ["report", str(run), "--settings", "settings-00000000"])
    assert f"has no results of settings-00000000; there are {name}" in str(unknown.exception)
