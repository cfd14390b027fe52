"""Results that somebody forged, or wrote with another program: read, or refused in one line that names the file and the key.

KAREL_FAST_MUTATIONS=100 tries a hundred times as many.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fake_run
import numpy as np
import pytest
from mutations import Kept, mutated_value

from karel_fast import cli
from karel_fast.analysis.by_place import places_of
from karel_fast.analysis.checklist import checklist, checklist_cells
from karel_fast.analysis.compare import compare
from karel_fast.analysis.headline import headline_of
from karel_fast.analysis.keep import kept_metrics
from karel_fast.analysis.mapping_rank import ranks_of
from karel_fast.analysis.results import results_of
from karel_fast.analysis.series import Run
from karel_fast.analysis.summary import summary_of
from karel_fast.probing.clusters import read_clusters, write_clusters
from karel_fast.probing.differences import Clusters, differences, differences_in_differences
from karel_fast.probing.measures import SUMS
from karel_fast.probing.places import Places, read_places
from karel_fast.report.figures import all_plots
from karel_fast.report.page import _page
from karel_fast.runs.contents import check_result
from karel_fast.runs.folder import RunFolder
from karel_fast.support.checks import InputError
from karel_fast.support.files import parse_json, write_json

LAST = "step-000400.json"
KINDS = ("evaluation", "probing", "closer", "paper-grid", "latent/space", "rank", "latent-grid", "steering", "examples")


def some(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a made-up snapshot's probe records enough for every figure."""
    return [r for r in records if r["feature"] != "facing" and r["depth"] != "mlp1" and r["semantics"] != "adversarial"]


def probing(records: list[dict[str, Any]]) -> dict[str, Any]:
    whole = {
        "step": 400,
        "format": 1,
        "records": records,
        "notes": ["a note"],
        "grid": {"actions": {"train": [0], "test": [1]}},
    }
    return whole | {
        "differences": differences(records),
        "differences_in_differences": differences_in_differences(records),
    }


def latent_grid() -> dict[str, Any]:
    by_seed = ("accuracy", "majority", "lift", "bits", "seen", "unseen")
    rows = [
        {
            "withhold": "space", "learn_on": "start", "tokens": tokens, "actions_back": -tokens, "feature": feature, "depth": "mlp1",
            "semantics": semantics, "states": states, **{key: [0.3, None] for key in by_seed},
        }
        for tokens in (-2, -1) for feature in ("direction", "position") for semantics in ("original", "map8")
        for states in ("trained", "untrained")
    ]  # fmt: skip
    return {"step": 400, "actions": 9, "rows": rows, "notes": []}


def make(path: Path) -> Path:
    """A run with every kind of result, small."""
    run = fake_run.make(path, snapshots=2, seeds=1, layers=[0, 1], examples=1)
    records = some(parse_json((run / "probing" / LAST).read_text(), run)["records"])
    for name in ("step-000000.json", LAST):
        step = int(name[5:11])
        write_json(run / "probing" / name, {**probing(records), "step": step})
    for kind in ("closer", "paper-grid", "latent/space"):
        write_json(run / kind / LAST, probing(records[::3]))
    labelings = {"direction": [["original", "map1"], ["flip"]]}
    write_json(run / "rank" / LAST, {"step": 400, "own": "original", "labelings": labelings, "records": records})
    write_json(run / "latent-grid" / LAST, latent_grid())
    config = {"preset": "x", "experiment": {"training": {"seed": 3}, "recipe": {"height": 5}}}
    write_json(run / "config.json", config)
    places = np.array([(0, 1), (1, 0)], np.int16)
    for kind, held in (("probing", records), ("closer", records[::3])):
        sums = {name: np.full((len(held), 2), 9.0) for name in SUMS}
        clusters = Clusters(np.zeros((2, 5), np.uint8), sums)
        write_clusters(run / kind / "step-000400.npz", clusters, Places(places, sums))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("runs") / "forged")


def everything_of(folder: Path, draw: bool, page: bool = False) -> None:
    """All numbers that `report`, `compare`, `checklist` and `keep` make of a run; draw: the figures too, which takes seconds; page: the
    page without them.
    """
    read = Run.read(RunFolder(folder))
    json.dumps([results_of(read), compare([read]).to_json(), kept_metrics(read)], allow_nan=False)
    json.dumps(summary_of(RunFolder(folder), read), allow_nan=False)
    checklist_cells(checklist([read]))
    if page:
        _page(read, [], {})
    for plot in all_plots(read) if draw else ():
        if plot.figure is not None:
            plot.figure.draw_without_rendering()


def content(path: Path) -> dict[str, Any]:
    found = parse_json(path.read_text(encoding="utf-8"), path)
    del found["sha256"]
    return found


def refused(path: Path, value: Any, work: Callable[[], None]) -> bool:
    """Write the value and do the work; whether it was refused by an error that names the file. No other error may come."""
    path.write_text(json.dumps(value))
    said = None
    try:
        work()
    except InputError as error:
        said = str(error)
    assert said is None or (said.startswith(f"{path}: ") and "\n" not in said), said
    return said is not None


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(run: Path, kind: str) -> None:
    path = run / kind / LAST
    counts = {True: 0, False: 0}

    def work() -> None:
        everything_of(run, draw=counts[False] == 0, page=kind == "examples")

    with Kept(path):
        for value in mutated_value(content(path), 40):
            counts[refused(path, value, work)] += 1
    assert counts[True] > (0 if kind == "examples" else 5), counts


@pytest.mark.parametrize("name", ["config.json", "time.json"])
def test_settings_and_times(run: Path, name: str) -> None:
    path = run / name
    if not path.exists():
        write_json(path, {"train": {"seconds": 3.0, "longest": 2.0}})
    with Kept(path):
        for value in mutated_value(content(path), 12):
            refused(path, value, lambda: everything_of(run, draw=False))


def test_drawn_once(run: Path) -> None:
    """The run that the others forge makes a whole report, with a figure of every kind of its results."""
    names = {plot.name for plot in all_plots(Run.read(RunFolder(run))) if not plot.missing}
    assert names >= {
        "probes",
        "protocol",
        "latent",
        "rank",
        "latent-grid",
        "edit-map",
        "edit-ranks",
        "text",
        "lengths",
        "places",
    }


def test_a_closer_look_at_nothing_is_none(run: Path) -> None:
    path = run / "closer" / LAST
    with Kept(path):
        for value in ({"step": 400}, {"step": 400, "records": []}):
            write_json(path, value)
            assert compare([Run.read(RunFolder(run))]).feature == "direction"


NAMES = ["", ".", "..", "../x", "/etc/hosts", "a" * 5000, "\0", "\ud800", "x/y", "step-000400.npz"]


def test_verifying(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """Files that a forged result names: found wrong, one line each, and nothing outside the folder is read."""
    path = run / "probing" / LAST
    with Kept(path):
        for sums in [*({name: "0"} for name in NAMES), {"step-000400.npz": []}, [], "x", {"x": {"y": 1}}]:
            path.write_text(json.dumps({"step": 400, "files": sums}))
            monkeypatch.setattr("sys.argv", ["karel-fast", "verify", str(run)])
            with pytest.raises(SystemExit) as end:
                cli.main()
            captured = capsys.readouterr()
            assert end.value.code == (2 if isinstance(sums, dict) else 0), sums
            assert len(captured.err.splitlines()) <= 2, captured.err


# -- what is said ------------------------------------------------------------------------------------------------------


def changed(value: Any, key: tuple[Any, ...], new: Any) -> Any:
    made = json.loads(json.dumps(value))
    inner = made
    for part in key[:-1]:
        inner = inner[part]
    if new is MISSING:
        del inner[key[-1]]
    else:
        inner[key[-1]] = new
    return made


MISSING = object()
DEEP = json.loads("[" * 200 + "]" * 200)
FORGED = [
    ("probing", ("records", 1, "seed"), "x", r"records\[1\]\.seed is 'x'; it is a whole number"),
    ("probing", ("records", 0, "offset"), MISSING, r"records\[0\]\.offset is missing"),
    ("probing", ("records", 2, "accuracy"), float("nan"), r"records\[2\]\.accuracy is nan"),
    ("probing", ("records", 2, "accuracy"), 1.5, r"records\[2\]\.accuracy is 1\.5; it is a number from 0 to 1, or null"),
    ("probing", ("records", 2, "feature"), "$\\frac", r"records\[2\]\.feature is .*without \$"),
    ("probing", ("records",), {}, r"records is an object of 0; it is a list"),
    ("probing", ("records", 3), [], r"records\[3\] is a list of 0; it is an object"),
    ("probing", ("differences", 0, "mean"), "0.5", r"differences\[0\]\.mean is '0\.5'"),
    ("probing", ("format",), DEEP, r"format(\[0\])+ is nested more than 32 deep"),
    ("probing", ("format",), "\ud800", r"format is '\\ud800'; it is text"),
    ("probing", ("notes",), "a note", r"notes is 'a note'; it is a list"),
    ("probing", ("step",), 300, r"step is 300, but the file's name says 400"),
    ("evaluation", ("samples",), 2.5, r"samples is 2\.5; it is a whole number"),
    ("evaluation", ("generative_accuracy",), "0.5", r"generative_accuracy is '0\.5'"),
    ("evaluation", ("by_reference_length", "7", "samples"), 0, r"by_reference_length\.7\.samples is 0"),
    ("evaluation", ("by_reference_length",), {"x": {}}, r"by_reference_length\.x is a key that is no whole number"),
    ("evaluation", ("unigram_program_loss",), 1e6, r"unigram_program_loss is 1000000\.0"),
    ("evaluation", ("other",), 10**400, r"other is 10000.*; it is a finite number"),
    ("latent-grid", ("rows", 1, "unseen"), [0.1], r"rows\[1\]\.unseen has 1 numbers, one for each seed; others have 2"),
    ("latent-grid", ("rows", 1, "tokens"), None, r"rows\[1\]\.tokens is null"),
    ("latent-grid", ("rows",), MISSING, r"rows is missing"),
    ("rank", ("labelings", "direction"), [], r"labelings\.direction has 0 parts"),
    ("rank", ("labelings",), MISSING, r"labelings is missing"),
    ("steering", ("sites",), {}, r"sites\.turned is missing"),
    ("steering", ("records", 0, "obeys"), None, r"records\[0\]\.obeys is null; this number is always there"),
    ("steering", ("records", 0, "experiment"), "x", r"records\[0\]\.experiment is 'x'; it is one of interchange"),
    ("steering", ("records", 0, "layer"), MISSING, r"records\[0\]\.layer is missing"),
    ("latent/space", ("grid", "actions", "train"), 3, r"grid\.actions\.train is 3; it is a list"),
    ("examples", ("examples",), 3, r"examples is 3; it is a list"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "key", "new", "said"), FORGED)
def test_what_is_said(run: Path, kind: str, key: tuple[Any, ...], new: Any, said: str) -> None:
    path = run / kind / LAST
    value = changed(content(path), key, new)
    with Kept(path):
        path.write_text(json.dumps(value))
        with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: {said}.*"):
            Run.read(RunFolder(run))


def test_names_without_number(run: Path) -> None:
    value = content(run / "probing" / LAST)
    value["records"] = [{**value["records"][0], "depth": f"d{i}"} for i in range(101)]
    with pytest.raises(InputError, match="records has 101 different values of depth; at most 100 can be drawn"):
        check_result(value, "probing", "x")


@pytest.mark.parametrize("command", [["report"], ["compare"], ["checklist"], ["crossover", "--against"]])
def test_the_command_line(
    run: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    path = run / "probing" / LAST
    value = changed(content(path), ("records", 0, "layer"), {})
    first, *option = command
    with Kept(path):
        path.write_text(json.dumps(value))
        arguments = [first, str(run), *(part for name in option for part in (name, str(run.parent)))]
        monkeypatch.setattr("sys.argv", ["karel-fast", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
    captured = capsys.readouterr()
    assert (end.value.code, captured.out) == (2, "")
    assert captured.err == (
        f'karel-fast: {path}: records[0].layer is an object of 0; it is a layer\'s number, or "mean"; '
        "restore the file, or remove it and make it again\n"
    )


# -- sums beside records -----------------------------------------------------------------------------------------------


def forged_sums(path: Path) -> Iterator[None]:
    """The file of sums with each of its arrays in turn of another shape or kind, or gone."""
    with Kept(path), np.load(path) as arrays:
        whole = dict(arrays)
        for name, values in whole.items():
            others = (
                values[:1],
                values.ravel(),
                values[..., None],
                values.astype("U3"),
                np.zeros((0, 0)),
                np.array(3),
                None,
            )
            for other in others:
                np.savez(path, **{**whole, **({name: other} if other is not None else {})})
                if other is None:
                    np.savez(path, **{key: inner for key, inner in whole.items() if key != name})
                yield


def test_sums_of_other_shapes(run: Path) -> None:
    path = run / "probing" / "step-000400.npz"
    assert read_places(path) is not None
    assert read_clusters(path).sums["known"].shape[1] == 2
    found = 0
    for _ in forged_sums(path):
        read = replace(Run.read(RunFolder(run)), closer={})
        headline_of(read)
        places_of(read)
        found += read.places(400) is None or any("damaged" in problem for problem in read.problems)
    assert found > 40


def test_a_run_that_was_never_forged_still_ranks(run: Path) -> None:
    [direction, *_] = ranks_of(RunFolder(run).read_all("rank")[400])
    assert direction.feature == "direction"


def test_a_probe_without_labels_to_validate_on_is_none_of_them():
    """Its best validation accuracy is the -1 that probe training begins with: `reproduce smoke` has such probes."""
    place = {"feature": "direction", "depth": "linear", "semantics": "original", "labels": "true", "states": "trained"}
    record = {**place, "layer": "mean", "offset": 0, "seed": 0, "accuracy": 0.5, "validation": -1.0}
    check_result({"step": 1, "records": [record]}, "probing", "step-000001.json")
    with pytest.raises(InputError, match=r"records\[0\].validation is -2.0"):
        check_result({"step": 1, "records": [{**record, "validation": -2.0}]}, "probing", "step-000001.json")
