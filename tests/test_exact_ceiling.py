"""The ideal readers: compiled against a listing of all programs, and what must hold of any reader that misses nothing."""

import signal
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import started
from strategies import semantics

import karel_fast as kf
from karel_fast.data import ControlFlow, Recipe, Samples, generate
from karel_fast.exact.ideal_states import StateCodes, ceiling
from karel_fast.probing.ceilings import ceilings
from karel_fast.probing.features import FEATURES
from karel_fast.probing.own_features import feature

needs_cpp = pytest.mark.skipif("cpp" not in kf.available_backends(), reason="the compiled core is missing")
OF_STATES = [name for name, feature in FEATURES.items() if feature.of_state]
TINY = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(1, 3))


def written_programs(draw, n, longest):
    rows = draw(st.lists(st.lists(st.integers(0, 4), max_size=longest), min_size=n, max_size=n))
    actions = np.full((n, longest), 255, np.uint8)
    for row, program in zip(actions, rows, strict=True):
        row[: len(program)] = program
    return actions, np.array([len(program) for program in rows], np.int32)


@st.composite
def questions(draw):
    """Specifications, a program written for each (often its own), and all choices of a question."""
    shortest = draw(st.integers(1, 2))
    weights = draw(st.lists(st.integers(0, 3), min_size=5, max_size=5).filter(any))
    recipe = Recipe(
        examples=draw(st.integers(1, 2)), lengths=(shortest, draw(st.integers(shortest, 3))), action_weights=tuple(weights),
        avoid_noops=draw(st.booleans()), semantics=draw(semantics), height=draw(st.integers(4, 5)), width=draw(st.integers(4, 5)),
        wall_probability=0.2,
    )  # fmt: skip
    seed = draw(st.integers(0, 50))
    samples = generate(recipe, "test", start=seed, count=2)
    if draw(st.booleans()):
        actions, lengths = written_programs(draw, 2, recipe.lengths[1])
    else:
        actions, lengths = samples.actions, samples.lengths
    pool = generate(recipe, "train", start=seed, count=2) if draw(st.booleans()) else None
    choices = {
        "features": tuple(draw(st.lists(st.sampled_from(OF_STATES), min_size=1, max_size=2, unique=True))),
        "offsets": tuple(draw(st.lists(st.integers(-2, 2), min_size=1, max_size=3, unique=True))),
        "semantics": tuple(draw(st.lists(st.sampled_from(["original", "flip", "adversarial", "map8"]), min_size=1, max_size=2))),
        "first_state": draw(st.booleans()),
        "last_state": draw(st.booleans()),
        "doubt": draw(st.sampled_from([0.0, 0.3, 1.0])),
        "pool": pool,
    }  # fmt: skip
    return samples, actions, lengths, choices


@needs_cpp
@given(questions())
@settings(max_examples=25)
def test_compiled_readers_equal_a_listing_of_all_programs(question):
    samples, actions, lengths, choices = question
    compiled = ceilings(samples, actions, lengths, backend="cpp", **choices)
    listed = ceilings(samples, actions, lengths, backend="reference", **choices)
    assert compiled.readers == listed.readers
    assert np.array_equal(compiled.known, listed.known)
    for reader in listed.readers:
        np.testing.assert_allclose(compiled.right[reader], listed.right[reader], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(compiled.loss[reader], listed.loss[reader], rtol=1e-9, atol=1e-9)


@needs_cpp
def test_the_same_program_of_all_actions_written_for_everyone():
    """The reader of prefixes takes up what it knows of the last program, which is all of this one."""
    samples = generate(TINY, "test", count=20)
    actions, lengths = np.zeros((20, 3), np.uint8), np.full(20, 3, np.int32)
    choices = {"semantics": ("original", "flip") * 20, "pool": generate(TINY, "train", count=2), "doubt": 0.5}
    found, alone = (
        ceilings(samples[:n], actions[:n], lengths[:n], backend="cpp", threads=1, **choices) for n in (20, 1)
    )
    for reader in found.readers:
        assert np.array_equal(found.right[reader][:1], alone.right[reader])


def asking(samples, labels, offsets=(0,), levels=1, unlabelled=0, **more):
    """One program a specification, whose states are named by their pose; `unlabelled`: one pose in six has no name."""
    poses = samples.inputs.height * samples.inputs.width * 4
    shown = samples.recipe.examples
    names = np.arange(poses) % (5 + unlabelled) - unlabelled
    codes = np.broadcast_to(names[:, None], (len(samples) * shown, 1, poses, levels)).astype(np.int16)
    states = StateCodes(codes=codes.copy(), heads=np.array([1], np.int32), classes=np.array([5], np.int32))
    return ceiling(
        samples,
        samples.actions,
        samples.lengths,
        labels,
        states,
        offsets=offsets,
        doubt=0.5,
        pool=(samples, states),
        **more,
    )


@needs_cpp
@pytest.mark.parametrize("offset", [0, 1])
def test_states_without_a_label_weigh_nothing(offset):
    """An own feature may have no label of some states; a reader who knows that one is asked for expects none of these."""
    samples = generate(TINY.replace(lengths=(3, 3)), "test", count=4)
    labels = np.full((4, 3, 1, 1, 1, 2), -1)
    labels[:, 0] = np.arange(8).reshape(4, 1, 1, 1, 2) % 5
    found, wanted = (asking(samples, labels, (offset,), unlabelled=1, backend=name) for name in ("cpp", "reference"))
    for reader in wanted.readers:
        assert wanted.loss[reader].any()
        np.testing.assert_allclose(found.right[reader], wanted.right[reader], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.loss[reader], wanted.loss[reader], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("nothing", [-1, -(2**16), np.iinfo(np.int64).min])
def test_any_negative_label_asks_nothing(nothing):
    samples = generate(TINY.replace(lengths=(3, 3)), "test", count=2)
    labels = np.full((2, 3, 1, 1, 1, 2), nothing, np.int64)
    labels[:, 0] = 1
    found, wanted = asking(samples, labels), asking(samples, np.where(labels < 0, -1, labels))
    assert found.known.sum() == 4
    for reader in wanted.readers:
        assert np.array_equal(found.loss[reader], wanted.loss[reader])


def test_labels_may_be_unsigned():
    samples = generate(TINY.replace(lengths=(3, 3)), "test", count=2)
    labels = np.zeros((2, 3, 1, 1, 1, 2), np.uint8)
    labels[:, 2] = 1
    with pytest.raises(ValueError, match=r"labels\[0, 2\] has a label at offset 0"):
        asking(samples, labels)  # unsigned labels ask about every state, and there is none after the last action


@pytest.mark.parametrize("backend", [pytest.param("cpp", marks=needs_cpp), "reference"])
@pytest.mark.parametrize("offset", [-3, -2])
def test_what_was_passed_before_a_run_stopped_is_told(backend, offset):
    """A marker onto 255 stops the run after its first action; the states before are past all the same."""
    world = kf.Worlds.from_text("####\n#>.#\n####")
    markers = world.markers.copy()
    markers[0, 1, 1] = 255
    world = kf.Worlds(walls=world.walls, markers=markers, robot=world.robot)
    recipe = Recipe(height=3, width=4, examples=1, held_out=0, lengths=(3, 3), action_weights=(1, 1, 1, 1, 1))
    written = np.array([[4, 1, 1]], np.uint8)
    samples = Samples(recipe, "train", 0, written, np.array([3], np.int32), world, world)
    states = StateCodes(np.zeros((1, 1, 48, 1), np.int16), np.array([1], np.int32), np.array([2], np.int32))
    labels = np.full((1, 3, 1, 1, 1, 1), -1, np.int16)
    labels[0, 2] = 0
    found = ceiling(samples, written, [3], labels, states, offsets=[offset], backend=backend, last_state=True)
    assert found.right["both"].sum() == 1


@needs_cpp
def test_offsets_without_a_label_cost_nothing():
    """They would take a step each, over more states with every one."""
    samples = generate(TINY.replace(lengths=(3, 3), avoid_noops=True), "test", count=2)
    labels = np.full((2, 3, 1, 3, 1, 2), -1)
    labels[:, 0, :, 0] = 1
    far, near = asking(samples, labels, (0, 10_000, -10_000)), asking(samples, labels[:, :, :, :1])
    for reader in near.readers:
        assert np.array_equal(far.loss[reader][:, :, :, :1], near.loss[reader])


def test_what_was_written_tells_what_is_past():
    samples = generate(TINY.replace(lengths=(2, 4)), "test", count=30)
    found = ceilings(
        samples, samples.actions, samples.lengths, offsets=(-2, -1, 0), semantics=("original", "map8"), first_state=True
    )
    assert found.known[:, :, :, :2].sum() > 0
    assert (found.accuracy("both")[:, :2] == 1).all()
    assert (found.cross_entropy("both")[:, :2] == 0).all()
    assert (found.accuracy("both")[:, 2] < 1).all()


def test_the_ideal_reader_is_right_as_often_as_it_thinks():
    """On programs that the recipe drew, who knows more is surprised less."""
    samples = generate(TINY.replace(lengths=(2, 4)), "test", count=1500)
    pool = generate(TINY.replace(lengths=(2, 4)), "train", count=100)
    found = ceilings(samples, samples.actions, samples.lengths, features=("direction", "position"), pool=pool)
    both, specification, prefix = (found.cross_entropy(reader)[0, 0] for reader in ("both", "specification", "prefix"))
    assert (both < specification).all()
    assert (both < prefix).all()
    assert (found.accuracy("both") > found.accuracy("specification")).all()


def test_equal_actions_under_an_altered_meaning_leave_nothing_to_know():
    samples = generate(TINY, "test", count=20)
    still = kf.Semantics(move="turn_left", turn_right="turn_left", pick_marker="turn_left", put_marker="turn_left")
    found = ceilings(
        samples,
        samples.actions,
        samples.lengths,
        features=("direction", "position"),
        semantics=(still,),
        last_state=True,
    )
    assert (found.accuracy("both") == 1).all()
    assert (found.accuracy("specification") == 1).all()  # so many turns to the left
    assert np.allclose(found.cross_entropy("both"), 0)


def test_doubt_keeps_a_wrong_program_from_being_impossible():
    samples = generate(TINY.replace(lengths=(2, 3)), "test", count=40)
    others = samples.actions[::-1].copy()
    lengths = samples.lengths[::-1].copy()
    sure = ceilings(samples, others, lengths, last_state=True)
    open_minded = ceilings(samples, others, lengths, last_state=True, doubt=0.01)
    assert np.isinf(sure.cross_entropy("both")).any()
    assert np.isfinite(open_minded.cross_entropy("both")).all()


@needs_cpp
@pytest.mark.parametrize("examples", [1, 20])
def test_any_number_of_examples_and_threads(examples):
    recipe = TINY.replace(examples=examples, lengths=(2, 4))
    samples, pool = generate(recipe, "test", count=20), generate(recipe, "train", count=3)
    one, many = (
        ceilings(samples, samples.actions, samples.lengths, offsets=(0, 1), pool=pool, doubt=0.1, threads=threads)
        for threads in (1, 7)
    )
    for reader in one.readers:
        assert np.array_equal(one.right[reader], many.right[reader])
        assert np.array_equal(one.loss[reader], many.loss[reader])


@pytest.fixture
def own_features():
    """Features of one's own; other tests see those that there were."""
    before = dict(FEATURES)

    def looks(trace, worlds):
        return trace.robot[..., 2]

    def lying_here(trace, worlds):
        return np.minimum(trace.markers_here, 9)

    def away_with_marker(trace, worlds):
        "whether a marker lies under the robot away from where it began"
        return (trace.markers_here > 0) & (trace.robot[..., :2] != worlds.robot[:, None, :2]).any(-1)

    def been_north(trace, worlds):
        return np.maximum.accumulate(trace.robot[..., 2] == 0, axis=1)

    def markers_left(trace, worlds):
        return np.stack([trace.worlds_at(t).markers.sum((1, 2)) > 0 for t in range(trace.robot.shape[1])], axis=1)

    made = [
        feature(classes=4)(looks),
        feature(classes=10)(lying_here),
        *map(feature, (away_with_marker, been_north, markers_left)),
    ]
    yield {each.name: each for each in made}
    FEATURES.clear()
    FEATURES.update(before)


def test_own_features_have_ceilings_where_the_state_tells_them(own_features):
    samples = generate(TINY.replace(lengths=(2, 3)), "test", count=30)
    question = {"offsets": (-1, 0, 1), "semantics": ("original", "flip"), "last_state": True}
    for names in (("looks", "direction"), ("lying_here", "markers")):
        own, theirs = (
            ceilings(samples, samples.actions, samples.lengths, features=(name,), **question) for name in names
        )
        for reader in theirs.readers:
            np.testing.assert_array_equal(own.right[reader], theirs.right[reader])
            np.testing.assert_array_equal(own.loss[reader], theirs.loss[reader])
    there = ceilings(
        samples, samples.actions, samples.lengths, features=("away_with_marker",), offsets=(-1,), first_state=True
    )
    assert (there.accuracy("both") == 1).all()  # what was written tells what is past, markers put down included
    for name, reason in (
        ("been_north", "not the same in all runs that come to a state"),
        ("markers_left", "looks at more than a state .*a state alone has no worlds_at"),
    ):
        with pytest.raises(ValueError, match=f"'{name}': it .*{reason}.*; there is no ceiling for it"):
            ceilings(samples, samples.actions, samples.lengths, features=(name,), **question)


def test_wrong_input_says_what_is_wrong():
    samples = generate(TINY, "test", count=3)
    rows, lengths = samples.actions, samples.lengths
    with pytest.raises(ValueError, match="each of 3 specifications"):
        ceilings(samples, np.zeros((4, 3), np.uint8), np.full(4, 3))
    with pytest.raises(ValueError, match="unknown feature 'colour'"):
        ceilings(samples, rows, lengths, features=("colour",))
    with pytest.raises(ValueError, match="'from_end' is about how a program comes to a state or goes on"):
        ceilings(samples, rows, lengths, features=("from_end",))
    with pytest.raises(ValueError, match="at least one specification"):
        ceilings(samples[:0], rows[:0], lengths[:0])
    with pytest.raises(ValueError, match="at most 3 actions"):
        ceilings(samples, np.zeros((3, 9), np.uint8), np.full(3, 9, np.int32))
    with pytest.raises(ValueError, match="doubt is 2"):
        ceilings(samples, rows, lengths, doubt=2)
    with pytest.raises(ValueError, match="prior"):
        ceilings(samples, rows, lengths, pool=generate(TINY.replace(lengths=(1, 2)), "train", count=2))
    with pytest.raises(ValueError, match="pool has no specifications"):
        ceilings(samples, rows, lengths, pool=generate(TINY, "train", count=2)[:0])
    control = generate(TINY.replace(control=ControlFlow()), "test", count=3)
    with pytest.raises(ValueError, match="control flow"):
        ceilings(control, rows, lengths)


ENDLESS = """
import numpy as np
from karel_fast.data import Recipe, generate
from karel_fast.exact.ideal_states import StateCodes, ceiling
samples = generate(Recipe.paper(examples=1, held_out=0, lengths=(14, 14), avoid_noops=True), count=1)
states = StateCodes(np.zeros((1, 1, 256, 11), np.int16), np.array([1], np.int32), np.array([1], np.int32))
labels = np.full((1, 14, 1, 1, 1, 1), -1)
labels[0, 0] = 0
print("ready", flush=True)
ceiling(samples, samples.actions, samples.lengths, labels, states, offsets=(12,), doubt=0.5, pool=(samples, states), max_states=250_000_000)
"""


@needs_cpp
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent differently there")
def test_interrupt_ends_one_reader_s_look_ahead():
    with started(ENDLESS) as child:
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
        assert "KeyboardInterrupt" in errors


@needs_cpp
def test_looking_too_far_ahead_is_refused():
    samples = generate(Recipe.paper(examples=1, held_out=0, lengths=(14, 14)), count=1)
    labels = np.full((1, 14, 1, 1, 1, 1), -1)
    labels[0, 0] = 0
    with pytest.raises(ValueError, match=r"more than max_states = 1000 .* raise max_states"):
        asking(samples, labels, (12,), levels=11, max_states=1000)
