"""Which rows of states a grid takes, and what they are labelled with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from known_states import EXAMPLES, GRID, make_split, make_splits

from karel_fast.karel.language.semantics import parse_mapping
from karel_fast.probing.controls import control_tasks, forms_of
from karel_fast.probing.experiments import PROBE_SPLITS, Grid, Split, gather_rows, trace_programs
from karel_fast.probing.probes.training import TRAIN, Task
from karel_fast.probing.table import HiddenTable


@pytest.fixture(scope="module")
def splits(tmp_path_factory) -> dict[str, Split]:
    return make_splits(tmp_path_factory.mktemp("tables"))


def test_a_control_task_is_fixed_by_the_last_three_actions(splits):
    rows = gather_rows(splits["train"], GRID, "train", 10_000)
    actions = splits["train"].table.actions
    forms = forms_of(actions, rows.sample, rows.action)
    labels = rows.labels["original", 0, "direction"]
    task = Task({"offset": 0, "labels": "true"}, labels, 4)
    [control] = control_tasks([task], np.full(len(labels), TRAIN), forms)
    assert control.key["labels"] == "control"
    np.testing.assert_array_equal(control.labels < 0, labels < 0)
    last = {}
    for row, (sample, action) in enumerate(zip(rows.sample, rows.action, strict=True)):
        if (control.labels[row] >= 0).all():
            form = tuple(actions[sample, max(0, action - 2) : action + 1])
            assert last.setdefault(form, control.labels[row].tolist()) == control.labels[row].tolist()
    assert len(last) > 20
    assert len({str(value) for value in last.values()}) > 10
    one = np.bincount(control.labels[control.labels >= 0], minlength=4) / (control.labels >= 0).sum()
    other = np.bincount(labels[labels >= 0], minlength=4) / (labels >= 0).sum()
    np.testing.assert_allclose(one, other, atol=0.2)


def test_splitting_by_program_keeps_beginnings_apart(splits):
    grid = replace(GRID, split_by="program")
    beginnings = {}
    for name in PROBE_SPLITS:
        rows = gather_rows(splits[name], grid, name, 10_000)
        assert len(rows.rows) > 0
        beginnings[name] = {tuple(p) for p in splits[name].table.actions[rows.sample][:, :3]}
    assert not beginnings["train"] & (beginnings["test"] | beginnings["validation"])
    assert not beginnings["validation"] & beginnings["test"]
    mixed = gather_rows(splits["test"], GRID, "test", 10_000)
    assert {tuple(p) for p in splits["test"].table.actions[mixed.sample][:, :3]} & beginnings["train"]
    with pytest.raises(ValueError, match="split_by is 'length'"):
        Grid(split_by="length")


def programs_and_places(table: HiddenTable) -> tuple[np.ndarray, np.ndarray]:
    """Of each row of a table, its program, and which of the program's actions it predicted."""
    return np.nonzero((np.arange(table.max_actions) < table.lengths[:, None]) & table.kept[:, None])


def test_rows_are_labelled_as_the_table_says(splits):
    rows = gather_rows(splits["test"], GRID, "test", 10_000)
    table = splits["test"].table
    sample, action = programs_and_places(table)
    np.testing.assert_array_equal(rows.sample, sample[rows.rows])
    np.testing.assert_array_equal(rows.action, action[rows.rows])
    # The state itself says the true direction; the label must be the same.
    said = table.hidden(rows.rows, 1).reshape(-1, EXAMPLES, 4).argmax(-1)
    labels = rows.labels["original", 0, "direction"][..., 0]
    agree = said[labels >= 0] == labels[labels >= 0]
    assert agree.mean() > 0.97


def test_programs_that_were_cut_off(tmp_path):
    """They give rows where the table keeps them and the grid asks, and are refused where it does not."""
    finished = np.arange(60) % 3 > 0
    kept = make_split(tmp_path / "kept", 60, 0, finished=finished, unfinished=True)
    left = make_split(tmp_path / "left", 60, 0, finished=finished)
    usual, more = (gather_rows(kept, replace(GRID, unfinished=u), "test", 999) for u in (False, True))
    assert set(usual.sample) == {i for i in set(more.sample) if finished[i]}
    assert len(more.rows) > len(usual.rows)
    np.testing.assert_array_equal(kept.table.hidden(usual.rows, 1), left.table.hidden(
        gather_rows(left, GRID, "test", 999).rows, 1))  # fmt: skip
    sample, action = programs_and_places(kept.table)
    np.testing.assert_array_equal(sample[more.rows], more.sample)
    np.testing.assert_array_equal(action[more.rows], more.action)
    with pytest.raises(ValueError, match="keeps no states of unfinished programs"):
        gather_rows(left, replace(GRID, unfinished=True), "test", 999)


def test_most_rows_and_program_choice(splits):
    few = gather_rows(splits["train"], GRID, "train", 50)
    assert len(few.rows) == 50
    assert (np.diff(few.rows) > 0).all()
    for kind, wanted in (("correct", True), ("wrong", False)):
        rows = gather_rows(splits["train"], replace(GRID, outcome=kind), "train", 10_000)
        assert set(splits["train"].table.correct[rows.sample]) == {wanted}


def test_learning_on_some_positions_and_testing_on_others(splits):
    grid = replace(GRID, actions={"train": (0, 1), "test": (3,)})
    taken = {name: set(gather_rows(splits[name], grid, name, 10_000).action) for name in PROBE_SPLITS}
    assert taken["train"] == {0, 1}
    assert taken["test"] == {3}
    assert taken["validation"] == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("change", [{"actions": {"train": (3,)}}, {"offsets": (3,)}, {"offsets": (-3,)}])
def test_as_many_rows_as_are_asked_for_where_programs_give_few(splits, change):
    """A third of its places or fewer are usable: programs enough for one row at all others would leave rows missing."""
    grid = replace(GRID, **change)
    there = len(gather_rows(splits["train"], grid, "train", 10_000).rows)
    asked = there // 2
    assert len(gather_rows(splits["train"], grid, "train", asked).rows) == asked
    few = gather_rows(splits["train"], grid, "train", 20)
    assert len(set(few.sample)) < splits["train"].table.programs // 2


@pytest.mark.parametrize(
    "change", [{}, {"actions": {"train": (0, 1, 2, 3)}}, {"offsets": (-1, 2)}, {"last_state": True}]
)
def test_rows_of_kept_results_stay(splits, change):
    """Wherever about one row less than it has actions was right for a program, its programs are chosen by that."""
    grid, table, most = replace(GRID, **change), splits["train"].table, 100
    rows = gather_rows(splits["train"], grid, "train", most)
    order = np.random.default_rng(0).permutation(table.programs)
    enough = np.searchsorted(np.cumsum(np.maximum(table.lengths[order] - 1, 1)), most * 4 // 3 + 1) + 1
    assert len(rows.rows) == most
    assert set(rows.sample) <= set(order[:enough])
    every = gather_rows(splits["train"], grid, "train", 10_000)
    of_these = np.flatnonzero(np.isin(every.sample, order[:enough]))
    expected = np.sort(np.random.default_rng(1).permutation(of_these)[:most])
    np.testing.assert_array_equal(rows.rows, every.rows[expected])


def test_mappings_in_words(splits):
    actions, lengths = splits["test"].table.actions, splits["test"].table.lengths
    words, name = (
        trace_programs(actions, lengths, splits["test"].inputs, semantics)
        for semantics in ("turn_left>turn_right+turn_right>turn_left", "flip")
    )
    np.testing.assert_array_equal(words.robot, name.robot)
    assert parse_mapping("move > turn_left") == {"move": "turn_left"}
    with pytest.raises(ValueError, match="no list of written>performed pairs"):
        parse_mapping("move>turn_left>move")
    with pytest.raises(ValueError, match="jump"):
        trace_programs(actions, lengths, splits["test"].inputs, "jump>move")
