"""Labels from traces against a slow, literal reading of their definition."""

from __future__ import annotations

import numpy as np
import pytest

import karel_fast as kf
from karel_fast.karel.language import CompiledPrograms
from karel_fast.probing.features import FEATURES, PAPER_FEATURES, Setting, kept, label_set, resolve_feature

LENGTHS = np.array([1, 3, 7, 5, 7, 2])
EXAMPLES = 3
SETTING = Setting(6, 9, 7)


def labels(trace, feature, offset=0, **options) -> np.ndarray:
    return label_set(trace, (feature,), offset, **options)[feature]


@pytest.fixture(scope="module")
def programs() -> np.ndarray:
    actions = np.random.default_rng(1).integers(0, 5, (len(LENGTHS), 7)).astype(np.uint8)
    actions[np.arange(7) >= LENGTHS[:, None]] = 255
    return actions


@pytest.fixture(scope="module")
def worlds() -> kf.Worlds:
    rng = np.random.default_rng(2)
    shape = (len(LENGTHS) * EXAMPLES, 6, 9)
    walls = rng.random(shape) < 0.25
    walls[:, [0, -1]] = True
    walls[:, :, [0, -1]] = True
    robot = np.stack([rng.integers(1, 5, shape[0]), rng.integers(1, 8, shape[0]), rng.integers(0, 4, shape[0])], 1)
    walls[np.arange(shape[0]), robot[:, 0], robot[:, 1]] = False
    markers = np.where(walls, 0, rng.integers(0, 13, shape)).astype(np.uint8)
    return kf.Worlds(walls=walls, markers=markers, robot=robot.astype(np.uint8))


def run(programs: np.ndarray, worlds: kf.Worlds, **options) -> kf.Trace:
    return kf.trace(CompiledPrograms.from_actions(programs, LENGTHS), worlds, backend="reference", **options)


def literal(trace: kf.Trace, name: str, run: int, state: int, length: int) -> list[int]:
    """One state's labels, said as plainly as possible."""
    row, column, direction = map(int, trace.robot[run, state])
    start_row, start_column, _ = map(int, trace.robot[run, 0])
    end_row, end_column, _ = map(int, trace.robot[run, trace.steps[run]])
    reach = max(SETTING.height, SETTING.width) - 3
    return {
        "direction": [direction],
        "position": [column - start_column + reach, row - start_row + reach],
        "facing": [int(not trace.front_clear[run, state])],
        "absolute": [column - 1, row - 1],
        "from_end": [column - end_column + reach, row - end_row + reach],
        "walls": [
            int(not trace.front_clear[run, state]),
            int(not trace.left_clear[run, state]),
            int(not trace.right_clear[run, state]),
        ],
        "walls_around": [
            int(trace.walls[run, row - 1, column]),
            int(trace.walls[run, row, column + 1]),
            int(trace.walls[run, row + 1, column]),
            int(trace.walls[run, row, column - 1]),
        ],
        "markers": [min(int(trace.markers_here[run, state]), 9)],
        "steps_left": [length - state],
    }[name]


def expected(trace: kf.Trace, name: str, offset: int, first: bool, last: bool) -> np.ndarray:
    heads = len(FEATURES[name].heads)
    out = np.full((len(LENGTHS), 7, EXAMPLES, heads), -1)
    for i, length in enumerate(LENGTHS):
        for k in range(length):
            state = k + 1 + offset
            for e in range(EXAMPLES):
                at = i * EXAMPLES + e
                inside = 0 <= state <= min(length, trace.steps[at])
                if inside and (first or state != 0) and (last or state != length):
                    out[i, k, e] = literal(trace, name, at, state, length)
    return out


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("offset", [-9, -3, -1, 0, 1, 2, 8])
def test_labels_are_the_definition(programs, worlds, name, offset):
    trace = run(programs, worlds)
    for first, last in ((False, False), (True, True), (False, True)):
        found = labels(trace, name, offset, lengths=LENGTHS, setting=SETTING, first_state=first, last_state=last)
        np.testing.assert_array_equal(found, expected(trace, name, offset, first, last))


@pytest.mark.parametrize("name", FEATURES)
def test_stopped_runs_are_masked_after_their_last_state(programs, worlds, name):
    trace = run(programs, worlds, on_error="crash")
    assert (trace.steps < np.repeat(LENGTHS, EXAMPLES)).any(), "no run crashed: this tests nothing"
    for offset in (-1, 0, 2):
        found = labels(trace, name, offset, lengths=LENGTHS, setting=SETTING, last_state=True)
        np.testing.assert_array_equal(found, expected(trace, name, offset, False, True))


@pytest.mark.parametrize("name", FEATURES)
def test_labels_fit_their_classes_and_have_names(programs, worlds, name):
    feature = resolve_feature(name)
    found = labels(run(programs, worlds), name, lengths=LENGTHS, setting=SETTING, first_state=True, last_state=True)
    assert found.shape[3] == len(feature.heads)
    assert found.min() >= -1
    assert found.max() < feature.classes(SETTING)
    assert all(feature.class_name(value, SETTING) for value in range(feature.classes(SETTING)))
    assert feature.class_name(-1, SETTING) == "-"


def test_the_paper_s_classes():
    setting = Setting(8, 8, 10)
    assert [resolve_feature(name).classes(setting) for name in PAPER_FEATURES] == [4, 11, 2]


def test_offset_zero_pairs_an_action_with_the_state_after_it():
    """A robot that only turns left: the state that predicted action k is paired with k + 1 turns."""
    world = kf.Worlds.from_text(["#####\n#   #\n# ^ #\n#   #\n#####".replace(" ", ".")])
    trace = kf.trace("def run() { turn_left(); turn_left(); turn_left() }", world)
    setting = Setting(5, 5, 3)
    found = labels(trace, "direction", lengths=np.array([3]), setting=setting, last_state=True)
    assert found[0, :, 0, 0].tolist() == [3, 2, 1]
    before = labels(trace, "direction", -1, lengths=np.array([3]), setting=setting, first_state=True)
    assert before[0, :, 0, 0].tolist() == [0, 3, 2]


def test_semantics_change_labels_but_not_the_mask(programs, worlds):
    original, flipped = run(programs, worlds), run(programs, worlds, semantics="flip")
    one, other = (labels(t, "direction", lengths=LENGTHS, setting=SETTING) for t in (original, flipped))
    np.testing.assert_array_equal(one < 0, other < 0)
    assert (one != other).any()


def test_label_set_is_labels_of_each(programs, worlds):
    trace = run(programs, worlds)
    together = label_set(trace, tuple(FEATURES), 1, lengths=LENGTHS, setting=SETTING)
    for name, found in together.items():
        np.testing.assert_array_equal(found, labels(trace, name, 1, lengths=LENGTHS, setting=SETTING))
    np.testing.assert_array_equal(kept(trace, LENGTHS, 7, 1), together["direction"][..., 0] >= 0)


def test_wrong_input_is_named(programs, worlds):
    trace = run(programs, worlds)
    with pytest.raises(ValueError, match=r"unknown feature 'speed'.*direction"):
        labels(trace, "speed", lengths=LENGTHS, setting=SETTING)
    with pytest.raises(ValueError, match="18 traced runs are no whole number"):
        labels(trace, "direction", lengths=LENGTHS[:5], setting=SETTING)
    with pytest.raises(ValueError, match=r"from 1 to 7, outside 0\.\.6"):
        labels(trace, "direction", lengths=LENGTHS, setting=Setting(6, 9, 6))
