"""Every backend against the reference, threads and batches against single runs, and what `run` and `trace` refuse."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import started
from strategies import batches, programs, worlds

import karel_fast as kf
from karel_fast.karel import backends
from karel_fast.karel.backends import widths
from karel_fast.karel.language import NAMED_SEMANTICS
from karel_fast.karel.language.bytecode import Op

COMPILED = [name for name in kf.available_backends() if name != "reference"]
TRACE_FIELDS = ("actions", "robot", "markers_here", "front_clear", "left_clear", "right_clear", "steps", "status")
OPTIONS = st.fixed_dictionaries(
    {
        "semantics": st.sampled_from(sorted(NAMED_SEMANTICS)),
        "max_steps": st.one_of(st.integers(1, 12), st.just(200)),
        "on_error": st.sampled_from(("ignore", "crash")),
    }
)


def assert_same_result(a: kf.Result, b: kf.Result) -> None:
    assert a.worlds == b.worlds
    np.testing.assert_array_equal(a.steps, b.steps)
    np.testing.assert_array_equal(a.status, b.status)


def assert_same_trace(a: kf.Trace, b: kf.Trace) -> None:
    for name in TRACE_FIELDS:
        first, second = getattr(a, name), getattr(b, name)
        assert first.dtype == second.dtype, name
        np.testing.assert_array_equal(first, second, err_msg=name)


@pytest.mark.parametrize("backend", COMPILED)
@settings(max_examples=150)
@given(batch=batches(), options=OPTIONS, threads=st.sampled_from((1, 2, 7)))
def test_backends_equal_the_reference(backend, batch, options, threads):
    programs, worlds = batch
    expected = kf.run(programs, worlds, backend="reference", **options)
    assert_same_result(kf.run(programs, worlds, backend=backend, threads=threads, **options), expected)
    traced = kf.trace(programs, worlds, backend="reference", **options)
    assert_same_trace(kf.trace(programs, worlds, backend=backend, threads=threads, **options), traced)
    np.testing.assert_array_equal(traced.steps, expected.steps)
    np.testing.assert_array_equal(traced.status, expected.status)
    np.testing.assert_array_equal(traced.robot[:, -1], expected.worlds.robot)


@pytest.mark.parametrize("backend", kf.available_backends())
@settings(max_examples=30)
@given(batch=batches(), options=OPTIONS)
def test_batch_equals_map_of_single(backend, batch, options):
    programs, worlds = batch
    result = kf.run(programs, worlds, backend=backend, **options)
    examples = len(worlds) // len(programs)
    for i in range(len(worlds)):
        single = kf.run(programs[i // examples], worlds[i], backend=backend, **options)
        assert single.worlds == result.worlds[i]
        assert (single.steps[0], single.status[0]) == (result.steps[i], result.status[i])


@pytest.mark.parametrize("backend", kf.available_backends())
@settings(max_examples=30)
@given(program=programs, world=worlds(), options=OPTIONS)
def test_worlds_at_replays_the_trace(backend, program, world, options):
    trace = kf.trace(program, world, backend=backend, **options)
    result = kf.run(program, world, backend=backend, **options)
    assert trace.worlds_at(0) == world
    assert trace.worlds_at(trace.actions.shape[1]) == result.worlds
    for t in range(trace.actions.shape[1] + 1):
        np.testing.assert_array_equal(trace.worlds_at(t).robot, trace.robot[:, t])


@pytest.fixture(scope="module")
def large() -> tuple[kf.CompiledPrograms, kf.Worlds]:
    """More runs than a thread takes at once, of every length that the straight-line kernels treat differently."""
    rng = np.random.default_rng(5)
    lengths = rng.integers(0, 24, 9_001)
    actions = rng.integers(0, 5, (9_001, 24)).astype(np.uint8)
    return kf.CompiledPrograms.from_actions(actions, lengths), kf.Worlds.random(9_001, seed=6)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("threads", [2, 7])
def test_threads_do_not_change_results(large, backend, threads):
    compiled, worlds = large
    assert_same_result(
        kf.run(compiled, worlds, backend=backend, threads=threads), kf.run(compiled, worlds, backend="cpp", threads=1)
    )
    assert_same_trace(
        kf.trace(compiled, worlds, backend=backend, threads=threads),
        kf.trace(compiled, worlds, backend="cpp", threads=1),
    )


def test_large_batch_equals_the_reference(large):
    compiled, worlds = large
    some = slice(4_000, 4_400)
    part = kf.compile([compiled.program(i) for i in range(some.start, some.stop)])
    result = kf.run(compiled, worlds)
    expected = kf.run(part, worlds[some], backend="reference")
    assert result.worlds[some] == expected.worlds
    np.testing.assert_array_equal(result.steps[some], expected.steps)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize(("height", "width"), [(3, 3), (3, 21), (21, 3), (8, 8), (5, 13), (8, 9), (64, 64)])
def test_every_shape_of_world(backend, height, width):
    rng = np.random.default_rng(height * 100 + width)
    compiled = kf.CompiledPrograms.from_actions(rng.integers(0, 5, (40, 30)).astype(np.uint8), rng.integers(0, 31, 40))
    worlds = kf.Worlds.random(80, height, width, seed=1)
    assert_same_result(kf.run(compiled, worlds, backend=backend), kf.run(compiled, worlds, backend="reference"))
    assert_same_trace(kf.trace(compiled, worlds, backend=backend), kf.trace(compiled, worlds, backend="reference"))


@pytest.mark.parametrize("backend", kf.available_backends())
@pytest.mark.parametrize("markers", [127, 128, 254, 255])
def test_markers_never_wrap(backend, markers):
    world = kf.Worlds.from_text(["####\n#>.#\n####"])
    counts = world.markers.copy()
    counts[0, 1, 1] = markers
    full = kf.Worlds(walls=world.walls, markers=counts, robot=world.robot)
    result = kf.run("def run() { put_marker(); put_marker(); turn_left() }", full, backend=backend)
    puts = min(2, 255 - markers)
    assert result.worlds.markers[0, 1, 1] == markers + puts
    assert result.status[0] == (kf.Status.OK if puts == 2 else kf.Status.MARKER_LIMIT)
    assert result.steps[0] == (3 if puts == 2 else puts)


@pytest.mark.parametrize("backend", kf.available_backends())
def test_loops_without_end_stop_with_a_status(backend):
    world = kf.Worlds.from_text(["####\n#>.#\n####"])
    for source, steps in (
        ("def run() { while (no_markers_present()) { } }", 0),
        ("def run() { while (no_markers_present()) { turn_left() } }", 50),
        ("def run() { repeat (16777215) { repeat (16777215) { } } }", 0),
    ):
        result = kf.run(source, world, max_steps=50, backend=backend)
        assert (result.status[0], result.steps[0]) == (kf.Status.STEP_LIMIT, steps)


@pytest.mark.parametrize("backend", kf.available_backends())
def test_deep_nesting_runs(backend):
    depth = 10_000
    world = kf.Worlds.from_text(["####\n#>.#\n####"])
    source = "def run() {" + "repeat (1) {" * depth + "turn_left()" + "}" * depth + "}"
    result = kf.run(source, world, max_steps=2_000, backend=backend)
    assert (result.steps[0], result.status[0]) == (1, kf.Status.OK)


def test_programs_share_worlds_example_minor():
    worlds = kf.Worlds.from_text(["#####\n#>..#\n#####"] * 4)
    result = kf.run(["def run() { move() }", "def run() { turn_left() }"], worlds)
    assert result.worlds.robot.tolist() == [[1, 2, 1], [1, 2, 1], [1, 1, 0], [1, 1, 0]]


def test_semantics_changes_what_is_performed_not_what_is_read():
    worlds = kf.Worlds.from_text(["#####\n#>..#\n#####"])
    program = "def run() { move(); if (front_is_clear()) { turn_left() } }"
    trace = kf.trace(program, worlds, semantics="flip")
    assert trace.actions.tolist() == [[kf.Action.MOVE, kf.Action.TURN_RIGHT]]
    own = kf.Semantics(move="put_marker")
    assert kf.trace(program, worlds, semantics=own).markers_here.tolist() == [[0, 1, 1]]


def test_trace_pads_with_the_final_state():
    worlds = kf.Worlds.from_text(["#####\n#>..#\n#####"] * 2)
    trace = kf.trace(["def run() { move() }", "def run() { move(); move(); turn_left() }"], worlds)
    assert trace.actions.tolist() == [[0, -1, -1], [0, 0, 1]]
    assert trace.robot[0].tolist() == [[1, 1, 1], [1, 2, 1], [1, 2, 1], [1, 2, 1]]
    assert trace.front_clear[1].tolist() == [True, True, False, False]


def test_trace_is_as_wide_as_its_longest_run():
    world = kf.Worlds.from_text(["#####\n#>..#\n#####"])
    trace = kf.trace("def run() { move(); move(); move(); move() }", world, on_error="crash")
    assert trace.actions.shape == (1, 2)
    assert trace.robot.shape == (1, 3, 3)
    assert trace.status[0] == kf.Status.CRASHED


@pytest.mark.parametrize("backend", kf.available_backends())
def test_no_worlds(backend):
    none = kf.Worlds.random(3, seed=0)[:0]
    assert len(kf.run("def run() { move() }", none, backend=backend).steps) == 0
    trace = kf.trace("def run() { move() }", none, backend=backend)
    assert trace.actions.shape == (0, 0)
    assert len(trace.worlds_at(0)) == 0


WORLD = kf.Worlds.from_text(["####\n#>.#\n####"])
MOVE = "def run() { move() }"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_steps": 0}, ValueError, "max_steps is 0"),
        ({"max_steps": -5}, ValueError, "max_steps is -5"),
        ({"max_steps": 2**31}, ValueError, "max_steps is 2147483648"),
        ({"max_steps": 10**5000}, ValueError, "max_steps is about 1e5000; give a whole number from 1 to"),
        ({"max_steps": -(10**5000)}, ValueError, "max_steps is about -1e5000"),
        ({"max_steps": 1.5}, TypeError, "max_steps is 1.5"),
        ({"max_steps": True}, TypeError, "max_steps is True"),
        ({"threads": 0}, ValueError, "threads is 0"),
        ({"threads": "2"}, TypeError, "threads is '2'"),
        ({"on_error": "explode"}, ValueError, "on_error is 'explode'"),
        ({"semantics": "flipp"}, ValueError, "did you mean 'flip'"),
        ({"semantics": 3}, TypeError, "semantics is int"),
        ({"backend": "cuda"}, ValueError, "unknown backend 'cuda'"),
    ],
)
@pytest.mark.parametrize("function", [kf.run, kf.trace])
def test_wrong_arguments(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(MOVE, WORLD, **arguments)


def test_unknown_action_in_semantics():
    with pytest.raises(ValueError, match="names no action"):
        kf.Semantics(move="jump")


def test_worlds_must_be_worlds():
    with pytest.raises(TypeError, match="make it Worlds"):
        kf.run(MOVE, ["####\n#>.#\n####"])


def test_counts_must_match():
    with pytest.raises(ValueError, match="2 programs cannot share 3 worlds"):
        kf.run([MOVE, MOVE], kf.Worlds.random(3, seed=0))


def test_missing_backend_is_an_error_when_forced(monkeypatch):
    monkeypatch.setattr(backends, "unavailable", lambda: {"cpp": "the C++ core is not built"})
    with pytest.raises(kf.BackendUnavailableError, match="not built"):
        kf.run(MOVE, WORLD, backend="cpp")


def test_falling_back_says_so_once(monkeypatch):
    monkeypatch.setattr(backends, "unavailable", lambda: {"cpp": "the C++ core is not built"})
    backends._default.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="runs on its numba backend: the C\\+\\+ core is not built"):
            kf.run(MOVE, WORLD)
        kf.run(MOVE, WORLD)  # warnings are errors in these tests
    finally:
        backends._default.cache_clear()


def test_backend_from_the_environment(monkeypatch):
    monkeypatch.setenv("KAREL_FAST_BACKEND", "nonsense")
    with pytest.raises(ValueError, match="KAREL_FAST_BACKEND"):
        kf.run(MOVE, WORLD)


@pytest.mark.parametrize("backend", COMPILED)
def test_trace_too_large_for_memory(monkeypatch, backend):
    monkeypatch.setattr(widths, "memory", lambda: 10_000)
    with pytest.raises(MemoryError, match="lower max_steps"):
        kf.trace("def run() { repeat (1000) { turn_left() } }", kf.Worlds.random(2, seed=0), backend=backend)


@pytest.mark.parametrize("backend", COMPILED)
def test_concurrent_calls(backend, large):
    compiled, worlds = large
    expected = kf.run(compiled, worlds, backend=backend)
    results: list[kf.Result] = []

    def call() -> None:
        results.extend(kf.run(compiled, worlds, backend=backend, threads=2) for _ in range(3))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 12
    for result in results:
        assert_same_result(result, expected)


ENDLESS = """
import sys
import karel_fast as kf
backend, worlds, threads, source = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
world = kf.Worlds.from_text(["####\\n#>.#\\n####"] * worlds)
kf.run("def run() { move() }", world, backend=backend)
print("ready", flush=True)
kf.run(source, world, max_steps=2**31 - 1, backend=backend, threads=threads)
"""
DECIDES_OFTEN = "def run() { while (no_markers_present()) { turn_left() } }"
DECIDES_RARELY = "def run() { repeat (1000000) { " + "; ".join(["turn_left()"] * 2000) + " } }"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent differently there")
@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize(
    ("worlds", "threads", "source"), [(1, 1, DECIDES_OFTEN), (10_000, 2, DECIDES_OFTEN), (64, 1, DECIDES_RARELY)]
)
def test_interrupt_ends_a_long_run(backend, worlds, threads, source):
    with started(ENDLESS, backend, str(worlds), str(threads), source) as child:
        time.sleep(0.3)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
        assert "KeyboardInterrupt" in errors


DAEMON = """
import sys, threading, time
import karel_fast as kf
world = kf.Worlds.from_text(["####\\n#>.#\\n####"])
source = "def run() { while (no_markers_present()) { turn_left() } }"
call = lambda: kf.run(source, world, max_steps=2**31 - 1, backend=sys.argv[1])
threading.Thread(target=call, daemon=True).start()
time.sleep(0.5)
"""


def test_a_daemon_thread_does_not_spoil_the_end():
    child = subprocess.run(
        [sys.executable, "-c", DAEMON, "cpp"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (child.returncode, child.stderr) == (0, "")


def forged(compiled: kf.CompiledPrograms, **fields) -> kf.CompiledPrograms:
    return dataclasses.replace(compiled, **fields)


LOOP = kf.compile("def run() { repeat (2) { move() } }")
STRAIGHT = kf.compile([MOVE, MOVE])


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize(
    "programs",
    [
        forged(STRAIGHT, starts=np.array([0, 2**40])),
        forged(STRAIGHT, starts=np.array([-1, 0])),
        forged(STRAIGHT, lengths=np.array([1, -1], np.int32)),
        forged(STRAIGHT, lengths=np.array([1, 1000], np.int32)),
        forged(STRAIGHT, actions=np.full(18, 77, np.uint8)),
        forged(LOOP, code=np.array([int(Op.JUMP), int(Op.HALT)]), lengths=np.array([2], np.int32)),
        forged(LOOP, code=np.array([int(Op.JUMP) | 99 << 32, int(Op.HALT)]), lengths=np.array([2], np.int32)),
        forged(LOOP, code=np.array([int(Op.SET) | (2**24 - 1) << 8, int(Op.HALT)]), lengths=np.array([2], np.int32)),
        forged(LOOP, code=np.array([int(Op.BRANCH) | 7 << 8, int(Op.HALT)]), lengths=np.array([2], np.int32)),
        forged(LOOP, code=np.array([200, int(Op.HALT)]), lengths=np.array([2], np.int32)),
        forged(LOOP, code=np.array([0, 0]), lengths=np.array([2], np.int32)),
        forged(LOOP, slots=0),
    ],
)
def test_forged_programs_are_refused(backend, programs):
    for function in (kf.run, kf.trace):
        with pytest.raises(ValueError, match=r"program \d"):
            function(programs, kf.Worlds.random(2, seed=0), backend=backend)


@pytest.mark.parametrize("backend", COMPILED)
def test_wrong_dtype_in_programs(backend):
    with pytest.raises(TypeError, match="starts must have dtype int64"):
        kf.run(forged(STRAIGHT, starts=np.zeros(2)), kf.Worlds.random(2, seed=0), backend=backend)


@pytest.mark.parametrize("backend", COMPILED)
@pytest.mark.parametrize("programs", [STRAIGHT, LOOP])
@pytest.mark.parametrize("robot", [(255, 255, 255), (0, 1, 0), (1, 7, 0), (1, 1, 4)])
def test_worlds_changed_behind_their_back_are_refused(backend, programs, robot):
    worlds = kf.Worlds.random(2, seed=0)
    worlds.robot.setflags(write=True)
    worlds.robot[1] = robot
    for function in (kf.run, kf.trace):
        with pytest.raises(ValueError, match="world 1: robot"):
            function(programs, worlds, backend=backend)


@pytest.mark.parametrize("backend", COMPILED)
def test_walls_changed_behind_their_back_hold_all_the_same(backend):
    worlds = kf.Worlds.random(1, seed=0)
    worlds.walls.setflags(write=True)
    worlds.walls[:] = False
    result = kf.run("def run() { repeat (100) { move() } }", worlds, backend=backend)
    assert 1 <= result.worlds.robot[0, 0] <= 6
    assert 1 <= result.worlds.robot[0, 1] <= 6


def test_a_batch_without_programs():
    with pytest.raises(ValueError, match="no programs"):
        kf.run(kf.CompiledPrograms.from_actions(np.zeros((0, 3), np.uint8)), WORLD)


def test_import_is_light():
    code = "import sys, karel_fast; print(*(m for m in ('torch', 'numba', 'pyarrow', 'transformers', 'matplotlib') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_check_compares_what_is_shown_of_runs_that_ended():
    inputs = kf.Worlds.from_text(["#####\n#>..#\n#####"] * 4)
    outputs = kf.Worlds.from_text(["#####\n#.>.#\n#####"] * 4)
    programs = [
        "def run() { move() }",
        "def run() { move(); put_marker() }",  # the marker lies under the robot
        "def run() { put_marker(); move() }",
        "def run() { move(); while (no_markers_present()) { } }",  # as shown, but it never ends
    ]
    assert kf.check(programs, inputs, outputs).tolist() == [True, True, False, False]
    assert kf.check(programs[0], inputs, outputs, semantics={"move": "turn_left"}).tolist() == [False] * 4
    # A crash at the end leaves the world as it should be, and is wrong all the same.
    crashing = "def run() { move(); pick_marker() }"
    assert kf.check(crashing, inputs, outputs).all()
    assert not kf.check(crashing, inputs, outputs, on_error="crash").any()
    with pytest.raises(ValueError, match="cannot be compared"):
        kf.check(programs, inputs, outputs[:2])
