"""The sampler: its generator, equality of backends, distributions, no-op avoidance, splits, golden digests."""

import dataclasses
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import chisquare
from signals import started
from test_data_recipe import recipes

import karel_fast as kf
from karel_fast.data import ControlFlow, Recipe, generate
from karel_fast.data.sampling.philox import Stream, philox4x32
from karel_fast.data.sampling.plan import make_plan
from karel_fast.data.sampling.symbols import from_symbols, program_hash, to_symbols
from karel_fast.data.storage.packing import digest, make_columns
from karel_fast.karel.backends import available_backends

FAST = [name for name in ("cpp", "numba") if name in available_backends()]
ONES = 0xFFFFFFFF


def assert_same(a, b):
    np.testing.assert_array_equal(a.symbols, b.symbols)
    np.testing.assert_array_equal(a.lengths, b.lengths)
    assert a.inputs == b.inputs
    assert a.outputs == b.outputs


# -- the generator ----------------------------------------------------------------------------------------------------

KNOWN_ANSWERS = [  # Random123, kat_vectors: philox4x32 10
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES, ONES), (ONES, ONES, ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN_ANSWERS)
def test_known_answers(key, counter, answer):
    assert philox4x32(key, counter) == answer


@pytest.mark.skipif("cpp" not in FAST, reason="no compiled core")
@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN_ANSWERS)
def test_known_answers_in_the_core(key, counter, answer):
    from karel_fast import _core

    words, values = _core.philox(key[0] | key[1] << 32, np.array([counter] * 11, np.uint32))
    assert (words == np.array(answer, np.uint32)).all()
    assert (values.view(np.uint32) == np.array(answer, np.uint32)).all()


@pytest.mark.skipif("cpp" not in FAST, reason="no compiled core")
def test_many_blocks_at_once_are_the_single_blocks():
    from karel_fast import _core

    counters = np.random.Generator(np.random.Philox(1)).integers(0, 2**32, (1003, 4), dtype=np.uint32)
    counters[:, 2:] = counters[0, 2:]
    words, values = _core.philox(2**63 + 5, counters)
    np.testing.assert_array_equal(values.view(np.uint32), words)
    assert tuple(words[7].tolist()) == philox4x32((5, 1 << 31), tuple(counters[7].tolist()))


def numpy_philox4x64(key, counter, rounds=10):
    """Philox4x64 written like our 4x32, to be compared with NumPy's."""
    word = (1 << 64) - 1
    k, x = list(key), list(counter)
    for _ in range(rounds):
        p0, p1 = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [(p1 >> 64) ^ x[1] ^ k[0], p1 & word, (p0 >> 64) ^ x[3] ^ k[1], p0 & word]
        k = [(k[0] + 0x9E3779B97F4A7C15) & word, (k[1] + 0xBB67AE8584CAA73B) & word]
    return x


def test_the_construction_is_numpys():
    """NumPy has only the 64-bit member of the family: outputs differ, but the same rounds give them."""
    source = np.random.Philox(key=[3, 4], counter=[5, 6, 7, 8])
    assert source.random_raw(4).tolist() == numpy_philox4x64((3, 4), (6, 6, 7, 8))  # NumPy counts up before each block


class Fixed(Stream):
    """A stream of given values."""

    def __init__(self, values):
        self._values = list(values)[::-1]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 15, 144, 1000, 15376, 40000, 65535])
def test_bounded_draws_are_exact(n):
    """Each outcome is given by the same number of accepted 16-bit values."""
    values = np.arange(65536)
    products = values * n
    accepted = (products & 0xFFFF) >= 65536 % n
    assert set(np.bincount(products[accepted] >> 16, minlength=n)) == {65536 // n}
    for value in (0, 1, 777, 65535):
        stream = Fixed([value, 65535])
        expected = (value if accepted[value] else 65535) * n >> 16
        assert stream.below(n) == expected


# -- backends, threads, ranges ----------------------------------------------------------------------------------------


@pytest.mark.skipif("cpp" not in FAST, reason="no compiled core")
@given(recipes())
@settings(max_examples=40)
def test_cpp_equals_reference(recipe):
    for split, start in (("train", 0), ("test", 2**40 + 3)):
        reference = generate(recipe, split, start, 3, backend="reference")
        assert_same(generate(recipe, split, start, 3, backend="cpp", threads=2), reference)


@pytest.mark.skipif("numba" not in FAST, reason="no numba")
@given(recipes())
@settings(max_examples=15)
def test_numba_equals_reference(recipe):
    reference = generate(recipe, "val", 2**33, 3, backend="reference")
    assert_same(generate(recipe, "val", 2**33, 3, backend="numba", threads=2), reference)


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("preset", ["paper", "control-flow"])
def test_threads_and_ranges_do_not_matter(backend, preset):
    recipe = Recipe.preset(preset, split_by="program")
    whole = generate(recipe, "train", 0, 700, backend=backend, threads=1)
    for threads in (2, 7):
        assert_same(generate(recipe, "train", 0, 700, backend=backend, threads=threads), whole)
    assert_same(generate(recipe, "train", 123, 77, backend=backend), whole[123:200])


def test_worlds_do_not_depend_on_their_number():
    few, many = (generate(Recipe.paper(held_out=k), "train", 9, 20) for k in (0, 5))
    assert few.inputs == many.shown()[0]
    np.testing.assert_array_equal(few.symbols, many.symbols)


def test_redraws_move_no_world_and_no_other_sample():
    by_index = generate(Recipe.paper(), "train", 0, 2000)
    by_program = generate(Recipe.paper(split_by="program"), "train", 0, 2000)
    assert by_index.inputs == by_program.inputs
    same = (by_index.symbols == by_program.symbols).all(axis=1)
    first = [program_hash(row[:n]) for row, n in zip(by_index.symbols, by_index.lengths, strict=True)]
    np.testing.assert_array_equal(same, np.array(first) < (90 << 32) // 100)


def test_seeds_and_splits_differ():
    base = generate(Recipe.paper(), "train", 0, 5)
    assert generate(Recipe.paper(seed=1), "train", 0, 5).inputs != base.inputs
    assert generate(Recipe.paper(seed=1 << 32), "train", 0, 5).inputs != base.inputs
    assert generate(Recipe.paper(), "test", 0, 5).inputs != base.inputs


@given(recipes())
@settings(max_examples=20)
def test_outputs_are_what_running_gives(recipe):
    samples = generate(recipe, "train", 0, 10)
    limit = 1000 if recipe.control is None else recipe.control.max_steps
    result = kf.run(samples.compiled, samples.inputs, semantics=recipe.semantics, max_steps=limit)
    assert (result.status == kf.Status.OK).all()
    assert result.worlds == samples.outputs
    assert result.worlds == kf.run(list(samples.programs), samples.inputs, semantics=recipe.semantics).worlds
    checked = samples.inputs
    assert kf.Worlds(walls=checked.walls, markers=checked.markers, robot=checked.robot) == checked


# -- distributions (fixed seeds; p below 1e-4 would be a one in ten thousand accident) --------------------------------


@pytest.fixture(scope="module")
def paper_samples():
    return generate(Recipe.paper(seed=11), "train", 0, 40_000)


def fits(observed, weights):
    weights = np.asarray(weights, float)
    observed = np.asarray(observed)
    return chisquare(observed, weights / weights.sum() * observed.sum()).pvalue > 1e-4


def test_distribution_of_cells(paper_samples):
    worlds = paper_samples.inputs
    at = worlds.robot.astype(int)
    inside = np.zeros((len(worlds), 8, 8), bool)
    inside[:, 1:-1, 1:-1] = True
    inside[np.arange(len(worlds)), at[:, 0], at[:, 1]] = False
    walls, markers = worlds.walls[inside], worlds.markers[inside]
    assert fits([walls.sum(), (~walls).sum()], [6554, 65536 - 6554])
    assert fits([markers.sum(), (~walls).sum() - markers.sum()], [5898, 58982 - 5898])
    per_cell = worlds.walls[:, 1:-1, 1:-1].sum(axis=0).ravel()
    assert fits(per_cell, np.ones(36))
    assert worlds.markers.max() == 1
    assert worlds.walls[:, 0].all()


def test_distribution_of_robots(paper_samples):
    robot = paper_samples.inputs.robot.astype(int)
    poses = ((robot[:, 0] - 1) * 6 + robot[:, 1] - 1) * 4 + robot[:, 2]
    assert fits(np.bincount(poses, minlength=144), np.ones(144))


def test_distribution_of_programs(paper_samples):
    assert fits(np.bincount(paper_samples.lengths)[6:], np.ones(5))
    actions = paper_samples.actions[paper_samples.actions < 255]
    assert fits(np.bincount(actions), (5, 3, 3, 2, 2))
    pairs = Counter(zip(paper_samples.actions[:, 0].tolist(), paper_samples.actions[:, 1].tolist(), strict=True))
    weights = np.array((5, 3, 3, 2, 2))
    assert fits([pairs[a, b] for a in range(5) for b in range(5)], np.outer(weights, weights).ravel())


def test_neighbouring_values_are_independent(paper_samples):
    walls = paper_samples.inputs.walls[:, 2:6, 2:6]
    both = (walls[:, :, :-1] & walls[:, :, 1:]).mean()
    assert abs(both - walls.mean() ** 2) < 5e-4


def test_distribution_of_control_flow():
    recipe = Recipe(lengths=(1, 1), control=ControlFlow())
    assert set(generate(recipe, count=50).lengths) == {1}, "one statement leaves no room for a block"
    control = ControlFlow(1, 0, 0, 0, condition_weights=(1, 2, 3, 4, 5), depth=1)
    symbols = generate(Recipe(lengths=(2, 2), control=control, action_weights=(1, 0, 0, 0, 0)), count=4000).symbols
    blocks = symbols[symbols[:, 0] == 5]
    assert fits([len(blocks), len(symbols) - len(blocks)], [1, 1])
    negated = blocks[:, 1] == 10
    assert fits([negated.sum(), (~negated).sum()], [1, 1])
    conditions = np.where(negated, blocks[:, 2], blocks[:, 1]) - 11
    assert fits(np.bincount(conditions), (1, 2, 3, 4, 5))


def test_a_recipe_whose_programs_never_end_is_refused(monkeypatch):
    monkeypatch.setattr("karel_fast.data.sampling.generation.MOST_RUNS", 20)
    control = ControlFlow(if_weight=0, ifelse_weight=0, while_weight=0, repeat_weight=1, max_steps=1)
    with pytest.raises(
        ValueError, match=r"sample 3 of 'train': none of 20 programs drawn ends within control\.max_steps = 1"
    ):
        generate(Recipe(lengths=(2, 2), control=control), start=3, count=2)


def test_control_flow_programs_end_within_their_limit():
    recipe = Recipe.control_flow()
    samples = generate(recipe, "train", 0, 1000)
    steps = kf.run(samples.compiled, samples.inputs, max_steps=1000).steps
    assert steps.max() <= recipe.control.max_steps
    text = " ".join(str(program) for program in samples.programs)
    assert all(word in text for word in ("if (", "ifelse (", "while (", "repeat ("))


# -- no-op avoidance --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("semantics", ["original", "adversarial"])
def test_no_action_is_a_no_op(semantics):
    samples = generate(Recipe.paper(avoid_noops=True, semantics=semantics), "train", 0, 500)
    inputs, _ = samples.shown()
    states = kf.trace(samples.compiled, inputs, semantics=semantics)
    worlds = [states.worlds_at(t) for t in range(states.actions.shape[1] + 1)]
    for t, (before, after) in enumerate(pairwise(worlds)):
        changed = (before.robot != after.robot).any(axis=1) | (before.markers != after.markers).any(axis=(1, 2))
        assert changed.reshape(500, 5).any(axis=1)[samples.lengths > t].all()


def test_no_op_avoidance_keeps_the_weights_of_what_is_left():
    """Actions after which nothing could be a no-op keep their odds: turns against turns stay 3 : 3."""
    actions = generate(Recipe.paper(avoid_noops=True), "train", 0, 5000).actions
    assert fits([(actions == 1).sum(), (actions == 2).sum()], [1, 1])
    plain = generate(Recipe.paper(), "train", 0, 5000).actions
    assert (actions == 3).mean() < 0.8 * (plain == 3).mean()


def test_where_every_action_is_a_no_op_the_plain_draw_stands():
    samples = generate(Recipe.paper(avoid_noops=True, action_weights=(0, 0, 0, 1, 0), marker_probability=0), count=5)
    assert (samples.actions[:, :6] == 3).all()


# -- splits -----------------------------------------------------------------------------------------------------------


def test_program_splits_are_disjoint():
    recipe = Recipe.paper(split_by="program", lengths=(1, 7), split_shares=(80, 10, 10))
    seen = []
    for split, count in (("train", 160_000), ("val", 20_000), ("test", 20_000)):
        seen.append({row.tobytes() for row in generate(recipe, split, 0, count).symbols})
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]
    by_index = [
        {row.tobytes() for row in generate(recipe.replace(split_by="index"), split, 0, 20_000).symbols}
        for split in ("train", "test")
    ]
    assert by_index[0] & by_index[1], "the test could not fail"


def test_split_without_programs_is_an_error():
    recipe = Recipe(lengths=(1, 1), action_weights=(1, 0, 0, 0, 0), split_by="program", split_shares=(1, 1, 1))
    outcomes = []
    for split in ("train", "val", "test"):
        try:
            generate(recipe, split, 5, 1)
            outcomes.append(split)
        except ValueError as error:
            assert "sample 5" in str(error)  # noqa: PT017
    assert len(outcomes) == 1


# -- golden digests: the data of this generator version ---------------------------------------------------------------

GOLDEN = {
    "paper": "1d650b3952623b177db2fa383312c2eb",
    "paper-short": "abf4d410615a6acc0cc5386f77b2b856",
    "colm": "a4a1caf3517971ce1cf780644120f6de",
    "control-flow": "9b319b845ce4d2e0577e30c9e27e4191",
}


@pytest.mark.parametrize("preset", GOLDEN)
@pytest.mark.parametrize("backend", FAST)
def test_golden_digests(preset, backend):
    """If this fails the data has changed: restore it, or raise GENERATOR_VERSION and store new digests."""
    assert digest(make_columns(Recipe.preset(preset), "train", 0, 500, None, backend=backend)) == GOLDEN[preset]


# -- arguments, programs as symbols, imports --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{"start": -1}, {"count": -1}, {"start": 2**56}, {"threads": 0}, {"split": "dev"}, {"backend": "fortran"}],
)
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        generate(Recipe(), **arguments)


def test_no_samples_at_all():
    samples = generate(Recipe(), count=0)
    assert len(samples) == len(samples.inputs) == len(samples.programs) == 0


@given(recipes(control=True))
@settings(max_examples=20)
def test_symbols_spell_programs(recipe):
    samples = generate(recipe, count=5)
    for row, length, program in zip(samples.symbols, samples.lengths, samples.programs, strict=True):
        assert to_symbols(program) == row[:length].tolist()
        assert kf.parse(str(program)) == program
        assert from_symbols(row) == program
    assert samples.programs == list(samples.programs)
    assert samples.programs[1:3] == [samples.programs[1], samples.programs[2]]


@pytest.mark.parametrize("row", [[5], [5, 0], [5, 11], [5, 11, 16], [17], [8, 20], [6, 11, 16, 0, 17], [200], [9]])
def test_malformed_symbols(row):
    with pytest.raises(ValueError, match="malformed"):
        from_symbols(row)


def test_repeat_counts_without_a_symbol():
    with pytest.raises(ValueError, match="repeat\\(100\\)"):
        to_symbols(kf.parse("def run() { repeat (100) { move() } }"))


def test_actions_of_control_flow_is_an_error():
    with pytest.raises(ValueError, match="control flow"):
        _ = generate(Recipe.control_flow(), count=1).actions


def test_importing_is_light():
    code = "import sys, karel_fast.data; print([m for m in ('torch', 'numba', 'pyarrow', 'ray') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


@pytest.mark.parametrize("recipe", [Recipe.paper(), Recipe.control_flow()], ids=["straight", "control"])
@pytest.mark.parametrize("width", [-1, 1601, 2**31 - 1])
def test_the_core_refuses_rows_wider_than_any_program(recipe, width):
    """Before it takes memory by that width; no recipe has it, but a plan is only integers."""
    core = pytest.importorskip("karel_fast._core")
    plan = dataclasses.replace(make_plan(recipe, "train"), symbol_width=width)
    rows = (0, 1000) if recipe.straight_line else (np.arange(1000), np.zeros(1000, np.int64))
    draw = core.sample_straight if recipe.straight_line else core.sample_programs
    with pytest.raises(ValueError, match="plan: symbol width"):
        draw(plan, *rows, 1)


def test_the_core_refuses_numbers_of_samples_whose_bytes_are_beyond_64_bits():
    core = pytest.importorskip("karel_fast._core")
    plan = make_plan(Recipe.paper(height=64, width=64, examples=100, held_out=100), "train")
    for draw in (core.sample_straight, core.sample_worlds):
        for count in (2**31, 2**44, 2**56):
            with pytest.raises(ValueError, match=r"at most 2\*\*31-1 samples"):
                draw(plan, 0, count, 1)


ENDLESS = """
from karel_fast.data import Recipe, generate
recipe = Recipe.paper(lengths=(200, 200), avoid_noops=True, examples=100, held_out=0, split_by="program", split_shares=(10000, 1, 0))
print("ready", flush=True)
generate(recipe, "val", count=64)
"""


@pytest.mark.skipif("cpp" not in FAST, reason="the compiled core is missing")
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent differently there")
def test_interrupt_ends_the_search_for_a_rare_program():
    """Of a ten-thousandth of all programs, drawn with a hundred worlds in mind: the samples take minutes."""
    with started(ENDLESS) as child:
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
        assert "KeyboardInterrupt" in errors
