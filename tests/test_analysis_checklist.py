"""The published numbers beside a run's: values, intervals, verdicts and what is said where nothing was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import fake_run
import pytest
from command_line import Cli

from karel_fast.analysis.checklist import _answer, checklist
from karel_fast.analysis.claim_measures import Answer, above_untrained, latent_direction, phase_share, shorter
from karel_fast.analysis.claims import READ, Claim, claims_of
from karel_fast.analysis.compare import read_runs
from karel_fast.analysis.intervals import wilson
from karel_fast.analysis.series import Run, mean, phases_of
from karel_fast.runs.folder import RunFolder
from karel_fast.support.files import write_json


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run.read(RunFolder(fake_run.make(tmp_path_factory.mktemp("runs") / "one")))


def rows_of(*runs: Run) -> dict[str, object]:
    return {row.name: row for row in checklist(runs)}


def test_values_are_those_of_the_last_snapshot(run: Run) -> None:
    rows = rows_of(run)
    last = run.steps[-1]
    satisfied = rows["specifications satisfied"]
    assert satisfied.value == run.evaluation[last]["generative_accuracy"]
    assert satisfied.control == run.evaluation[0]["generative_accuracy"]
    assert satisfied.low < satisfied.value < satisfied.high
    assert satisfied.over == "specifications"


def lift(records, meaning: str = "original", states: str = "trained") -> float:
    """Of direction after the action, by the deepest probe: mean over seeds."""
    wanted = ("direction", "mlp2", 0, meaning, "true", states)
    names = ("feature", "depth", "offset", "semantics", "labels", "states")
    return mean([record["lift"] for record in records if tuple(record[name] for name in names) == wanted])


def test_measures_are_what_they_say(run: Run) -> None:
    last = run.steps[-1]
    records, evaluation = run.probing[last]["records"], run.evaluation[last]
    found = above_untrained(run, 0)
    assert found.control == pytest.approx(lift(records, states="untrained"))
    assert found.value == pytest.approx(lift(records) - found.control)
    assert shorter(run).value == evaluation["reference_mean_length"] - evaluation["mean_length"]
    read = run.latent["latent/space"][last]["records"]
    untrained = lift(read, states="untrained") - lift(read, "adversarial", "untrained")
    found = latent_direction(run, "space")
    assert found.control == pytest.approx(untrained)
    assert found.value == pytest.approx(lift(read) - lift(read, "adversarial") - untrained)
    assert latent_direction(run, "input") == Answer()
    phases = phases_of(run)
    assert 0 < phases.syntax < phases.semantics < last
    lengths = [phases.syntax, phases.semantics - phases.syntax, last - phases.semantics]
    assert [phase_share(run, index).value for index in range(3)] == pytest.approx([n / last for n in lengths])


def test_wilson_s_interval() -> None:
    """Of 900 in 1,000, by the formula (Wilson 1927)."""
    assert wilson(0.9, 1000) == pytest.approx((0.8799, 0.9171), abs=1e-4)


@pytest.mark.parametrize("grid", [True, False])
def test_the_published_grid_comes_first_where_it_was_probed(run: Run, grid: bool) -> None:
    last = run.steps[-1]
    stored = run.paper["paper-grid"][last] if grid else run.probing[last]
    rows = rows_of(run if grid else replace(run, paper={}))
    for depth, published in READ.items():
        row = rows[f"direction after the action, {depth}"]
        records = [
            r
            for r in stored["records"]
            if (r["feature"], r["depth"], r["offset"], r["semantics"], r["labels"], r["states"])
            == ("direction", depth, 0, "original", "true", "trained")
        ]
        assert row.published == published
        assert row.value == pytest.approx(sum(r["accuracy"] for r in records) / len(records))
        assert row.control == pytest.approx(sum(r["majority"] for r in records) / len(records))
        assert ("first world, as there" in row.differs) == grid


def test_a_difference_in_differences_is_that_of_the_records(run: Run) -> None:
    last = run.steps[-1]
    one = next(
        d
        for d in run.probing[last]["differences_in_differences"]
        if (d["feature"], d["depth"], d["semantics"], d["measure"]) == ("position", "mlp2", "flip", "lift")
    )
    assert rows_of(run)["position: lift less under flip"].value == pytest.approx(one["mean"])


@pytest.mark.parametrize(
    ("kind", "values", "verdict"),
    [
        ("at least", [0.93], "reached"),
        ("at least", [0.91], "missed"),
        ("at least", [0.95, 0.96, 0.955], "reached"),
        ("at least", [0.80, 0.81, 0.79], "missed"),
        ("at least", [0.99, 0.85, 0.95], "undecided"),
        ("above zero", [0.3], "undecided"),
        ("above zero", [0.30, 0.31, 0.29], "reached"),
        ("above zero", [-0.30, -0.31, -0.29], "against"),
        ("above zero", [-0.3, 0.3, 0.1], "undecided"),
        ("about", [0.95], "reached"),
        ("about", [0.80], "missed"),
        ("about", [None], "not measured"),
        ("at least", [None, None], "not measured"),
        ("at least", [None, 0.95], "reached"),
    ],
)
def test_verdicts(run: Run, kind: str, values: list[float | None], verdict: str) -> None:
    runs = [replace(run, name=str(i)) for i in range(len(values))]
    of = {one.name: value for one, value in zip(runs, values, strict=True)}
    claim = Claim("c", "s", kind, "%", "", "", lambda one: Answer(of[one.name]), "a command", 0.924)
    row = _answer(claim, runs, alike=True)
    assert row.verdict == verdict
    assert row.runs == sum(value is not None for value in values)
    assert row.command == ("a command" if verdict == "not measured" else "")


def test_runs_measured_at_other_snapshots_have_neither_interval_nor_verdict(run: Run) -> None:
    runs = [replace(run, name=str(i)) for i in range(3)]
    steps = {"0": 1000, "1": 1000, "2": 300}
    claim = Claim(
        "c", "s", "at least", "%", "", "", lambda one: Answer(0.95, at=f"step {steps[one.name]}"), "a command", 0.924
    )
    row = _answer(claim, runs, alike=True)
    assert (row.value, row.low, row.high, row.over, row.verdict) == (pytest.approx(0.95), None, None, "", "undecided")
    steps["2"] = 1000
    assert _answer(claim, runs, alike=True).verdict == "reached"
    assert _answer(claim, runs, alike=False).verdict == "undecided"


def test_every_measure_says_what_it_is_of(run: Run) -> None:
    for claim in claims_of([run]):
        answer = claim.measure(run)
        assert bool(answer.at) == (answer.value is not None), claim.name


def test_the_latent_grid_counts_where_nothing_was_learnt(run: Run) -> None:
    def row(semantics: str, states: str, unseen: float, **other: object) -> dict[str, object]:
        common = {"feature": "direction", "depth": "mlp1", "actions_back": 1, "unseen": [unseen, None]}
        return {**common, "semantics": semantics, "states": states, **other}

    rows = [
        row("original", "trained", 0.9, depth="linear"),
        row("original", "trained", 0.9, actions_back=2),
        row("original", "trained", 0.20),
        row("map8", "trained", 0.02),
        row("map11", "trained", 0.04),
    ]
    name = "direction of programs read, outputs withheld, where not learnt"
    assert rows_of(replace(run, latent_grid={5: {"rows": rows}}))[name].verdict == "not measured"
    rows += [row("original", "untrained", 0.05), row("map8", "untrained", 0.01), row("map11", "untrained", 0.05)]
    answer = rows_of(replace(run, latent_grid={5: {"rows": rows}}))[name]
    assert (answer.value, answer.control) == (pytest.approx(0.15), pytest.approx(0.02))


def test_altered_meanings_are_read_where_untrained_states_were_probed(run: Run) -> None:
    last = run.steps[-1]
    without = {"records": run.probing[last]["records"], "differences": run.probing[last]["differences"]}
    name = "direction: lift less under flip"
    assert rows_of(replace(run, probing={last: without}, paper={}))[name].verdict == "not measured"
    grid = {"paper-grid": {last: run.probing[last]}}
    assert rows_of(replace(run, probing={last: without}, paper=grid))[name].value == rows_of(run)[name].value


def test_a_run_that_was_only_evaluated_says_what_is_missing(tmp_path: Path) -> None:
    for step in (0, 100, 200):
        write_json(
            tmp_path / "run" / "evaluation" / f"step-{step:06d}.json",
            {"step": step, "samples": 50, "generative_accuracy": step / 400, "distinct_programs": 10},
        )
    rows = rows_of(*read_runs([tmp_path / "run"]))
    assert rows["specifications satisfied"].verdict == "missed"
    read = rows["direction after the action, linear"]
    assert (read.verdict, read.value, read.command) == ("not measured", None, "karel-fast probe")
    assert rows["direction: lift less under adversarial"].verdict == "not measured"


def test_phases_that_more_evaluation_would_not_find(tmp_path: Path) -> None:
    for step in (0, 100, 200):
        write_json(
            tmp_path / "run" / "evaluation" / f"step-{step:06d}.json",
            {"step": step, "samples": 50, "generative_accuracy": 0.1, "distinct_programs": 10},
        )
    babbling = rows_of(*read_runs([tmp_path / "run"]))["share of training: babbling"]
    assert (babbling.verdict, babbling.command) == ("not measured", "")
    assert babbling.missing == "accuracy rose by less than five points after babbling"


def test_the_command_prints_rows_and_whole_json(tmp_path: Path, cli: Cli) -> None:
    paths = [str(fake_run.make(tmp_path / name, snapshots=4, seeds=2, examples=0)) for name in ("a", "b")]
    code, out, _ = cli("checklist", *paths)
    assert code == 0
    assert "specifications satisfied" in out
    assert "92.4" in out
    (tmp_path / "a" / "config.json").write_text("")
    assert "karel-fast: a: config.json is not whole; it was left out" in cli("checklist", *paths)[2]
    stored = json.loads(cli("checklist", "--json", *paths)[1])
    assert {row["name"] for row in stored} == {row.name for row in checklist(read_runs(paths))}


def test_no_run_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one run folder"):
        checklist([])
