"""Tables of hidden states: what goes in comes out, a killed writer goes on, a wrong table is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from karel_fast.probing.table import HiddenTable, TableWriter
from karel_fast.support.files import read_json, write_json


def batch(programs: int, seed: int, layers: int = 2, width: int = 4) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 6, programs)
    actions = rng.integers(0, 5, (programs, 5)).astype(np.uint8)
    actions[np.arange(5) >= lengths[:, None]] = 255
    hidden = rng.normal(size=(programs, 5, layers, width)).astype(np.float32)
    return actions, lengths, rng.random(programs) < 0.5, rng.random(programs) < 0.8, hidden


def writer(path, **changes) -> TableWriter:
    options = {"width": 4, "layers": (0, "mean"), "max_actions": 6, "identity": {"recipe": "x"}, **changes}
    return TableWriter(path, **options)


def test_round_trip(tmp_path):
    parts = [batch(7, 1), batch(1, 2), batch(12, 3)]
    out = writer(tmp_path / "t")
    for part in parts:
        out.append(*part)
    out.close()
    table = HiddenTable(tmp_path / "t")
    assert (table.programs, table.layers, table.width, table.max_actions) == (20, [0, "mean"], 4, 6)
    np.testing.assert_array_equal(table.actions[:, :5], np.concatenate([p[0] for p in parts]))
    assert (table.actions[:, 5] == 255).all()
    for name, column in (("lengths", 1), ("correct", 2), ("finished", 3)):
        np.testing.assert_array_equal(getattr(table, name), np.concatenate([p[column] for p in parts]))
    rows = 0
    states = np.concatenate([p[4] for p in parts])
    for sample in range(20):
        for action in range(table.lengths[sample] if table.finished[sample] else 0):
            assert table.first_row[sample] + action == rows
            for layer in (0, 1):
                np.testing.assert_array_equal(table.hidden(np.array([rows]), layer)[0], states[sample, action, layer])
            rows += 1
    assert rows == table.rows
    order = np.random.default_rng(0).permutation(rows)
    np.testing.assert_array_equal(table.hidden(order), table.hidden(np.arange(rows))[order])


def test_one_layer_needs_no_axis_for_it(tmp_path):
    out = writer(tmp_path, layers=("mean",))
    actions, lengths, correct, finished, hidden = batch(9, 1, layers=1)
    out.append(actions, lengths, correct, finished, hidden[:, :, 0])
    out.close()
    table = HiddenTable(tmp_path)
    there = (np.arange(5) < lengths[:, None]) & finished[:, None]
    np.testing.assert_array_equal(table.hidden(np.arange(table.rows)), hidden[:, :, 0][there])


def test_a_killed_writer_goes_on(tmp_path):
    parts = [batch(7, 1), batch(4, 2), batch(5, 3)]
    whole = writer(tmp_path / "whole")
    for part in parts:
        whole.append(*part)
    whole.close()

    first = writer(tmp_path / "killed")
    first.append(*parts[0])
    # Killed between renaming the second part and listing it, with the third half written.
    listed = (tmp_path / "killed" / "table.json").read_text()
    first.append(*parts[1])
    (tmp_path / "killed" / "table.json").write_text(listed)
    (tmp_path / "killed" / ".part-00002.tmp").mkdir()
    (tmp_path / "killed" / ".part-00002.tmp" / "hidden.npy").write_bytes(b"half")
    with pytest.raises(ValueError, match="unfinished; run the same command again"):
        HiddenTable(tmp_path / "killed")

    second = writer(tmp_path / "killed")
    assert second.programs == 7
    for part in parts[1:]:
        second.append(*part)
    second.close()
    one, other = HiddenTable(tmp_path / "whole"), HiddenTable(tmp_path / "killed")
    rows = np.arange(one.rows)
    np.testing.assert_array_equal(one.hidden(rows, 1), other.hidden(rows, 1))
    np.testing.assert_array_equal(one.actions, other.actions)


def test_wrong_tables_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no table of hidden states"):
        HiddenTable(tmp_path / "none")
    out = writer(tmp_path / "t")
    out.append(*batch(3, 1))
    with pytest.raises(ValueError, match=r"with recipe 'x', not 'y'"):
        writer(tmp_path / "t", identity={"recipe": "y"})
    with pytest.raises(ValueError, match="do not fit a table"):
        out.append(*batch(3, 1, layers=3))
    actions, _, correct, _, hidden = batch(3, 1)
    hidden[0] = np.inf
    with pytest.raises(ValueError, match="not finite"):
        out.append(actions, np.full(3, 2), correct, np.ones(3, bool), hidden)
    out.close()
    head = read_json(tmp_path / "t" / "table.json")
    (tmp_path / "t" / "table.json").write_text(json.dumps({**head, "version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        HiddenTable(tmp_path / "t")


def test_a_row_that_is_not_there(tmp_path):
    out = writer(tmp_path)
    for seed in (1, 2):
        out.append(*batch(7, seed))
    out.close()
    table = HiddenTable(tmp_path)
    assert table.hidden([0, table.rows - 1]).shape == (2, 4)
    for row in (-1, table.rows):
        with pytest.raises(IndexError, match=f"row {row}: the table at .* has {table.rows} rows"):
            table.hidden(np.array([0, row]))


def test_an_empty_table_has_no_rows(tmp_path):
    out = writer(tmp_path)
    out.close()
    table = HiddenTable(tmp_path)
    assert (table.programs, table.rows, len(table.actions)) == (0, 0, 0)
    assert table.hidden(np.empty(0, int)).shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", "4"), ("width", 10**40), ("layers", 3), ("max_actions", -1), ("dtype", "bfloat16"), ("identity", None),
        ("parts", 5), ("parts", [{"programs": "x", "rows": 1}]), ("parts", [{"programs": 1, "rows": -1}]), ("parts", [3]),
    ],
)  # fmt: skip
def test_a_head_that_holds_something_else(tmp_path, name, value):
    TableWriter(tmp_path, width=4, layers=(0,), max_actions=3, identity={}).close()
    head = read_json(tmp_path / "table.json")
    write_json(tmp_path / "table.json", {**head, name: value})
    with pytest.raises(ValueError, match=r"table\.json lacks or garbles"):
        HiddenTable(tmp_path)
