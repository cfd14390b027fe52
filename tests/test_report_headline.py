"""The headline: numbers of the run's own files, words that follow from them, and a null that never reads as a yes."""

from __future__ import annotations

import json
from html import unescape

import fake_run
import numpy as np
import pytest
from typer.testing import CliRunner

from karel_fast.analysis.claim_measures import beyond_untrained
from karel_fast.analysis.headline import Ability, Estimate, Headline, Reading, headline_of
from karel_fast.analysis.series import Run
from karel_fast.analysis.verdict import cards_of, verdict_of
from karel_fast.cli import app
from karel_fast.probing.clusters import write_clusters
from karel_fast.probing.differences import Clusters
from karel_fast.probing.measures import SUMS
from karel_fast.runs.folder import RunFolder
from karel_fast.support.files import write_json


def ability(low: float | None, untrained: float | None) -> Ability:
    return Ability("satisfied", 400, Estimate(0.5, low, 0.6, "specifications"), 1000, untrained)


def reading(feature: str = "direction", **meanings: Estimate) -> Reading:
    return Reading(feature, "mlp2", 400, "closer", Estimate(0.7, 0.6, 0.8), 0.25, 0.5, Estimate(0.2), meanings)


def sentences(abilities: list[Ability], readings: list[Reading]) -> tuple[str, str]:
    return verdict_of(Headline(tuple(abilities), tuple(readings)))


def test_ability_is_shown_only_above_the_untrained_model():
    assert sentences([ability(0.4, 0.1)], [])[0].startswith("It has learned to write programs")
    assert sentences([ability(0.4, 0.45)], [])[0].startswith(
        "That it has learned to write programs that do what is asked is not shown"
    )
    for unknown in (ability(None, 0.1), ability(0.4, None)):
        assert sentences([unknown], [])[0].startswith("Whether it has learned")
    said = sentences([ability(0.4, 0.1)], [])[0]
    assert "50.0 % of 1,000 new specifications" in said
    assert "95 % interval 40.0 to 60.0, untrained 10.0 %" in said


def test_a_world_is_no_more_than_copied():
    copied = Ability("worlds", 8, Estimate(0.5, 0.4, 0.6), None, 0.0, (("copying the input", 0.45),))
    assert sentences([copied], [])[0].startswith("That it has learned what programs do to a world is not shown")


@pytest.mark.parametrize(
    ("meanings", "shown"),
    [
        ({"flip": Estimate(0.1, 0.05, 0.15), "adversarial": Estimate(0.2, 0.01, 0.4)}, True),
        ({"flip": Estimate(0.1, 0.05, 0.15), "adversarial": Estimate(0.2, -0.01, 0.4)}, False),
        ({"flip": Estimate(0.1, 0.05, 0.15), "adversarial": Estimate(0.2)}, None),
        ({}, None),
    ],
)
def test_a_feature_is_shown_only_under_every_other_meaning(meanings, shown):
    one = reading(**meanings)
    assert one.shown is shown
    said = sentences([], [one])[1]
    start = {
        True: "That its states hold what the programs do is shown for direction",
        False: "That its states hold what the programs do is not shown for direction",
        None: "Whether its states hold what the programs do was not tested",
    }[shown]
    assert said.startswith(start)
    if shown is False:
        assert "+20.0 points under adversarial, 95 % interval \N{MINUS SIGN}1.0 to +40.0" in said
        assert "most frequent answer 25.0 %" in said


def test_shown_and_not_shown_share_a_sentence():
    yes, no = reading("position", flip=Estimate(0.1, 0.05, 0.2)), reading(flip=Estimate(-0.1, -0.2, 0.05))
    said = sentences([], [no, yes, reading("facing")])[1]
    assert said.index("is shown for position") < said.index("it is not shown for direction")
    assert "for facing a wall it was not tested" in said


def test_one_program_for_all_is_a_base_rate(tmp_path):
    run = fake_run.make(tmp_path / "run", snapshots=3)
    path = RunFolder(run).file("evaluation", 800)
    stored = json.loads(path.read_text())
    for share, start in ((0.5, "It has learned"), (stored["generative_accuracy"], "That it has learned")):
        write_json(path, {**stored, "one_for_all_accuracy": share})
        headline = headline_of(Run.read(RunFolder(run)))
        said = verdict_of(headline)[0]
        assert said.startswith(start)
        assert f"one program for all {100 * share:.1f} %" in said
        assert f"one program for all {100 * share:.1f} %" in cards_of(headline)[0].details


def test_numbers_are_the_run_s_own(tmp_path):
    run = fake_run.make(tmp_path / "run", snapshots=3)
    headline = headline_of(Run.read(RunFolder(run)))
    evaluation = RunFolder(run).read_all("evaluation")[800]
    assert headline.abilities[0].share.value == evaluation["generative_accuracy"]
    assert headline.abilities[0].share.low < evaluation["generative_accuracy"] < headline.abilities[0].share.high
    mine = [
        r
        for r in RunFolder(run).read_all("probing")[800]["records"]
        if (r["feature"], r["depth"], r["offset"], r["semantics"], r["labels"])
        == ("facing", "mlp2", 0, "original", "true")
    ]
    trained, untrained = ([r["accuracy"] for r in mine if r["states"] == states] for states in ("trained", "untrained"))
    [facing] = [one for one in headline.readings if one.feature == "facing"]
    assert facing.accuracy.value == pytest.approx(sum(trained) / 3)
    assert facing.accuracy.over == "probe seeds"
    assert facing.untrained == pytest.approx(sum(untrained) / 3)
    assert facing.majority == pytest.approx(0.6)


def test_terminal_page_and_results_say_the_same(tmp_path):
    run = fake_run.make(tmp_path / "run", snapshots=3)
    done = CliRunner().invoke(app, ["report", str(run)], catch_exceptions=False)
    assert done.stdout.strip() == str(run / "report" / "report.html")
    page = unescape((run / "report" / "report.html").read_text()).replace("\N{NO-BREAK SPACE}", " ")
    headline = json.loads((run / "report" / "results.json").read_text())["headline"]
    for sentence in headline["verdict"]:
        assert sentence in page
        assert sentence in done.stderr
    cards = cards_of(headline_of(Run.read(RunFolder(run))))
    assert [card["value"] for card in headline["cards"]] == [card.value for card in cards]
    for card in cards:
        assert f"<dt>{card.term}</dt><dd>{card.value}" in page
        assert f"{card.term}: {card.value}" in done.stderr
    table = (run / "report" / "figures" / "probes.csv").read_text()
    for one in headline["readings"]:
        assert f",{one['feature']},card: {one['depth']},{one['accuracy']['value']}" in table


def test_an_interval_is_over_programs_where_sums_were_kept(tmp_path):
    """Sums that say half the programs were read right: the interval about the accuracy is that of drawing programs."""
    run = fake_run.make(tmp_path / "run", snapshots=3, seeds=2)
    path = RunFolder(run).file("probing", 800)
    stored = json.loads(path.read_text())
    programs = 100
    sums = {name: np.full((len(stored["records"]), programs), 1.0) for name in SUMS}
    sums["known"] *= 10
    sums["right"][:] = np.where(np.arange(programs) % 2, 10, 0)
    write_clusters(RunFolder(run).sums("probing", 800), Clusters(np.zeros((programs, 3), np.uint8), sums))
    write_json(path, stored)
    first = headline_of(Run.read(RunFolder(run))).readings[0]
    assert first.accuracy.over == "test programs and probe seeds"
    half = 0.5 * (first.accuracy.high - first.accuracy.low)
    assert half == pytest.approx(1.96 * 0.05, abs=0.01)
    assert first.accuracy.high - half == pytest.approx(first.accuracy.value)
    # Trained and untrained are right on the same programs: which are drawn says nothing of their difference.
    assert first.gained.low == pytest.approx(first.gained.value) == pytest.approx(first.gained.high)
    RunFolder(run).sums("probing", 800).write_bytes(b"damage")
    damaged = Run.read(RunFolder(run))
    assert headline_of(damaged).readings[0].accuracy.over == "probe seeds"
    assert damaged.problems == ["probing/step-000800.npz is damaged; no interval is over test programs"]


def write_sums(run, step, kind="probing", programs=400):
    """Sums in which every record's accuracy is that of its record, of programs that are all right or all wrong."""
    path = RunFolder(run).file(kind, step)
    stored = json.loads(path.read_text())
    sums = {name: np.full((len(stored["records"]), programs), 1.0) for name in SUMS}
    for row, record in enumerate(stored["records"]):
        sums["right"][row] = np.arange(programs) < record["accuracy"] * programs
        sums["majority"][row] = np.arange(programs) < record["majority"] * programs
    write_clusters(RunFolder(run).sums(kind, step), Clusters(np.zeros((programs, 3), np.uint8), sums))
    write_json(path, stored)


def test_layers_are_no_seeds(tmp_path):
    """Layers far apart widen no interval: what is drawn again is programs and seeds."""
    run = fake_run.make(tmp_path / "run", snapshots=3, seeds=2, layers=[0, 1, 2, 3])
    path = RunFolder(run).file("probing", 800)
    stored = json.loads(path.read_text())
    for record in stored["records"]:
        record["accuracy"] = (0.3, 0.4, 0.6, 0.7)[record["layer"]]
    write_json(path, stored)
    write_sums(run, 800)
    share = headline_of(Run.read(RunFolder(run))).readings[0].accuracy
    assert share.value == pytest.approx(0.5)
    # Each program counts by the share of layers that read it: the standard deviation of their mean is 0.02.
    assert 0.05 < share.high - share.low < 0.1


def test_one_sentence_is_of_one_reading(tmp_path):
    """Falls under other meanings are those of the probes whose accuracy is told, not of another look's."""
    run = fake_run.make(tmp_path / "run", snapshots=3, seeds=2)
    elsewhere = RunFolder(run).file("paper-grid", 800)
    grid = json.loads(elsewhere.read_text())
    own = json.loads(RunFolder(run).file("probing", 800).read_text())
    for name in ("differences", "differences_in_differences"):
        grid[name] = [{**one, "semantics": "map8"} for one in own[name] if one["semantics"] == "flip"]
    for record in grid["records"]:
        record["semantics"] = "original" if record["semantics"] == "original" else "map8"
    write_json(elsewhere, grid)
    first = headline_of(Run.read(RunFolder(run))).readings[0]
    assert beyond_untrained(Run.read(RunFolder(run)), first.feature, "map8").value is not None  # elsewhere
    assert first.kind == "probing"
    assert "map8" not in first.meanings
    assert first.meanings


def test_a_closer_look_at_an_earlier_snapshot_is_not_the_last_one(tmp_path):
    run = fake_run.make(tmp_path / "run", snapshots=3, seeds=2)
    found = json.loads(RunFolder(run).file("probing", 400).read_text())
    write_json(RunFolder(run).file("closer", 400), found)
    assert {one.kind for one in headline_of(Run.read(RunFolder(run))).readings} == {"probing"}
    write_json(RunFolder(run).file("closer", 800), {**found, "step": 800})
    assert {one.kind for one in headline_of(Run.read(RunFolder(run))).readings} == {"closer"}
