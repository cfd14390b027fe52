"""The lines that `steer` prints, of made-up results."""

from fake_run import edits

from karel_fast.analysis.edits import COLUMNS, best, erasure_table, table


def test_the_best_is_a_learned_rotation_between_pairs_and_no_control():
    stored = edits()
    rotation = best(stored, "turned", 4)
    assert (rotation["method"], rotation["source"], rotation["rank"]) == ("rotation", "pair", 4)
    stored["records"].append({**rotation, "rank": 8, "control": True})
    assert best(stored, "turned", 16)["rank"] == 4
    assert best(stored, "turned", 3)["rank"] == 2
    assert best(stored, "written", 16) is None


def test_whole_swaps_are_shown_where_most_obey():
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in table(edits())]
    turned = [row for row in rows if (row["pairs"], row["edit"]) == ("turned", "whole state")]
    # Nothing swapped at every layer, all tokens at the first, and of the other groups one a layer.
    assert [row["tokens, layer"].split(", ")[0] for row in turned[:5]] == ["none"] * 4 + ["all"]
    last = turned[8]
    assert last["tokens, layer"].endswith(", 3")
    assert last["obeys"] == "30.0 [25.0, 35.0]"
    assert last["keeps"] == "30.0"
    assert any(row["edit"] == "control: random" and row["rank"] == "4" for row in rows)


def test_a_share_of_too_few_programs_has_no_interval():
    stored = edits()
    for record in stored["records"]:
        name = "satisfied" if record["experiment"] == "erasure" else "obeys"
        record |= {f"{name}_low": None, f"{name}_high": None}
    assert {"[" in cell for row in table(stored) + erasure_table(stored) for cell in row} == {False}
    assert erasure_table(stored)[0][2] == "50.0"


def test_what_erasure_leaves():
    rows = erasure_table(edits())
    assert rows[0] == ["nothing", "-", "50.0 [40.0, 60.0]", "30.0", "25.0"]
    assert [row[1] for row in rows[1:6]] == ["0", "1", "2", "3", "0..3"]
