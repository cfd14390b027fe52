"""What a command ends with: the numbers of the files, in words, no wider than a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import fake_run
import pytest

from karel_fast.analysis.outcome import PROBE_NOTE, chosen_layer_rows, evaluation_lines, probe_lines
from karel_fast.cli.tables import columns


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run.make(tmp_path_factory.mktemp("outcome") / "run", snapshots=3, seeds=2, layers=[0, 2], examples=0)


def stored(run: Path, kind: str) -> dict:
    return json.loads(sorted((run / kind).glob("*.json"))[-1].read_text())


def test_what_probes_read(run: Path) -> None:
    probing = stored(run, "probing")
    rows = chosen_layer_rows(probing)
    features = list(dict.fromkeys(r["feature"] for r in probing["records"]))
    meanings = ["original", "flip", "adversarial"]
    assert [(r["feature"], r["meaning"]) for r in rows] == [(f, m) for f in features for m in meanings]
    for row in rows:
        chosen = [
            r
            for r in probing["records"]
            if (r["feature"], r["semantics"], r["layer"], r["depth"])
            == (row["feature"], row["meaning"], row["layer"], row["depth"])
            and (r["offset"], r["labels"]) == (0, "true")
        ]
        trained = [r["accuracy"] for r in chosen if r["states"] == "trained"]
        assert row["accuracy"] == pytest.approx(sum(trained) / len(trained))
        assert row["lift"] == pytest.approx(row["accuracy"] - row["majority"])
        assert row["untrained_lift"] is not None
    # The layer is the one that validation rows choose, under the first meaning, for all meanings of a feature.
    for feature in features:
        (layer,) = {r["layer"] for r in rows if r["feature"] == feature}
        by_layer = {
            place: sum(
                r["validation"]
                for r in probing["records"]
                if (r["feature"], r["layer"], r["depth"], r["semantics"])
                == (feature, place, rows[0]["depth"], "original")
                and (r["offset"], r["labels"], r["states"]) == (0, "true", "trained")
            )
            for place in (0, 2)
        }
        assert by_layer[layer] == max(by_layer.values())
    shown = [*columns(probe_lines(rows), aligned="llrrrrr"), *PROBE_NOTE.split("\n")]
    assert max(map(len, shown)) < 80
    assert chosen_layer_rows({"records": []}) == []


def test_what_a_model_can_do(run: Path) -> None:
    metrics = stored(run, "evaluation")
    lines = evaluation_lines(metrics)
    assert ("satisfied", f"{100 * metrics['generative_accuracy']:.1f}", "every shown example is right") in lines
    assert ("pass@4", f"{100 * metrics['pass_at_k']['4']:.1f}", "of programs drawn at random") in lines
    assert max(map(len, columns(lines, aligned="lrl"))) < 78
    # What was not measured has no line, and outputs have lines of their own.
    assert [name for name, *_ in evaluation_lines({"samples": 3, "world_accuracy": 0.5, "cell_accuracy": None})] == [
        "worlds right"
    ]
