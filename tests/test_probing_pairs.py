"""Counterfactual pairs: what differs, what is demanded, and which tokens say so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from edited_pairs import RECIPE, pairs_of

from karel_fast.data import ControlFlow, Tokenizer
from karel_fast.karel.execution import check
from karel_fast.karel.language import CompiledPrograms
from karel_fast.probing.edits.exchange import token_rows
from karel_fast.probing.edits.groups import group_names, groups_of
from karel_fast.probing.edits.pairs import KINDS, counterfactual_pairs


def every_program() -> tuple[np.ndarray, np.ndarray]:
    rows = [row for length in (4, 5) for row in itertools.product(range(5), repeat=length)]
    lengths = np.array([len(row) for row in rows], np.int32)
    return np.array([[*row, *(255,) * (5 - len(row))] for row in rows], np.uint8), lengths


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_pair_demands_is_found_by_trying_every_program(kind):
    pairs = pairs_of(kind, 60)
    assert 0 < len(pairs) <= pairs.drawn == 60
    actions, lengths = every_program()
    programs = CompiledPrograms.from_actions(actions, lengths)
    for i in range(min(2, len(pairs))):
        right = []
        for side in (pairs.base, pairs.other):
            inputs, outputs = side[np.array([i])].samples.shown()
            shown = [worlds[np.tile([0, 1], len(lengths))] for worlds in (inputs, outputs)]
            satisfied = check(programs, *shown).reshape(-1, 2).all(1)
            given = side.given[i]
            begun = (actions[:, : len(given)] == given).all(1) & (lengths > len(given))
            right.append({tuple(a[len(given) :]) for a in actions[satisfied & begun]})
        assert right[0], "the sample's own program satisfies it"
        assert right[1], "some program does what the changed one demands"
        assert not right[0] & right[1], "no program does both"


def test_only_what_is_said_differs():
    pairs = pairs_of("turned")
    before, after = pairs.base.samples.inputs, pairs.other.samples.inputs
    assert np.array_equal(before.walls, after.walls)
    assert np.array_equal(before.markers, after.markers)
    assert np.array_equal(before.robot[:, :2], after.robot[:, :2])
    quarters = ((after.robot[:, 2].astype(int) - before.robot[:, 2]) % 4).reshape(-1, 2)
    assert (quarters > 0).all()
    assert (quarters[:, 0] == quarters[:, 1]).all()
    pairs = pairs_of("moved", 200)
    before, after = (side.samples.inputs.robot.astype(int) for side in (pairs.base, pairs.other))
    assert (np.abs(after - before).sum(1) == 1).all()
    pairs = pairs_of("marked", 200)
    before, after = (side.samples.inputs.markers.astype(int) for side in (pairs.base, pairs.other))
    assert (np.abs(after - before).sum((1, 2)) == 1).all()
    pairs = pairs_of("written")
    assert ((pairs.base.given != pairs.other.given).sum(1) == 1).all()
    assert (pairs.base.given[:, -1] == pairs.other.given[:, -1]).all()
    assert pairs.base.samples is not None
    assert np.array_equal(pairs.base.samples.inputs.robot, pairs.other.samples.inputs.robot)


@pytest.mark.parametrize("kind", ["turned", "written"])
def test_a_side_is_satisfied_by_its_own_program_alone(kind):
    pairs = pairs_of(kind)
    given, samples = pairs.base.given.shape[1], pairs.base.samples
    rest, lengths, ended = samples.actions[:, given:], samples.lengths - given, np.ones(len(pairs), bool)
    assert pairs.base.satisfied(rest, lengths, ended).all()
    assert not pairs.base.satisfied(rest, lengths, ~ended).any()
    assert not pairs.other.satisfied(rest, lengths, ended).any()


def test_pairs_are_the_same_again_and_rows_of_them_belong_together():
    one, two = pairs_of("ending"), pairs_of("ending")
    assert np.array_equal(one.numbers, two.numbers)
    assert one.other.samples.outputs == two.other.samples.outputs
    some = one[np.array([2, 0])]
    assert some.numbers.tolist() == one.numbers[[2, 0]].tolist()
    assert some.other.samples.outputs[:2] == one.other.samples.outputs[4:6]


def test_wrong_pairs():
    for change, message in (
        ({"kind": "tured"}, "did you mean 'turned'"),
        (
            {"kind": "written", "given": 4},
            "given is 4, .* have 4 actions: give at most 3, or leave `written` out of --kinds",
        ),
        (
            {"recipe": RECIPE.replace(lengths=(2, 4)), "kind": "written", "given": 2},
            "have 2 actions: two are the fewest to be given, or leave `written` out of --kinds",
        ),
        ({"given": 1}, "given is 1"),
    ):
        with pytest.raises(ValueError, match=message):
            counterfactual_pairs(
                **{"recipe": RECIPE, "kind": "turned", "split": "val", "start": 0, "count": 4, **change}
            )
    looping = RECIPE.replace(control=ControlFlow())
    with pytest.raises(ValueError, match="no recipe with control flow"):
        counterfactual_pairs(looping, "turned", "val", 0, 4)


@pytest.mark.parametrize("layout", ["compact", "reference"])
@pytest.mark.parametrize("kind", ["turned", "ending", "written"])
def test_every_token_is_in_one_group(kind, layout):
    tokenizer = Tokenizer(RECIPE, layout)
    pairs = pairs_of(kind)
    base, other = (token_rows(tokenizer, side) for side in (pairs.base, pairs.other))
    groups = groups_of(tokenizer, base, other)
    assert tuple(groups) == group_names(2)
    parts = ("changed", "input", "output robot", "output", "heads", "written", "last")
    assert (sum(groups[name].astype(int) for name in parts) == 1).all()
    assert groups["all"].all()
    assert not groups["none"].any()
    assert np.array_equal(groups["elsewhere"], ~groups["changed"])
    assert groups["last"][:, -1].all()
    assert groups["written"].any() == (kind == "written")
    assert not (groups["example 1"] & groups["example 2"]).any()
    if kind == "turned":
        assert (groups["output robot"].sum(1) == 2).all()
        assert (groups["changed"].sum(1) == 2).all()
        assert (groups["changed"] & groups["example 1"]).sum(1).tolist() == [1] * len(base)
    with pytest.raises(ValueError, match="no positions in common"):
        groups_of(tokenizer, base, other[:, 1:])
