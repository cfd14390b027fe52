"""The face of the exact solver: what `solve` takes and refuses, what a solution answers, the floor of the loss, the command."""

import json
import math
import signal
import sys

import numpy as np
import pytest
from command_line import command_line
from signals import started

import karel_fast as kf
from karel_fast.data import ControlFlow, Recipe, generate
from karel_fast.exact.solution import prefix_actions, solver_backend

RECIPE = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(2, 4))
ROOM = "####\n#>.#\n####"
BACKENDS = [name for name in ("cpp", "reference") if name in kf.available_backends()]
compiled = pytest.mark.skipif("cpp" not in kf.available_backends(), reason="no compiled core")


def room(count=1):
    return kf.Worlds.from_text([ROOM] * count)


def after(source, worlds):
    return kf.run(source, worlds).worlds


def test_one_specification_of_ones_own():
    before = room()
    solution = kf.exact.solve(before, after("def run() { move() }", before), recipe=Recipe(lengths=(1, 2)), examples=1)
    # A second move is blocked, there is nothing to pick on either cell, and what is put at the end is under the robot.
    found = [(0,), (0, 0), (0, 3), (0, 4), (3, 0)]
    assert list(solution.programs(0)) == [kf.Program.from_actions(actions) for actions in found]
    assert solution.counts.tolist() == [5]
    assert solution.shortest_programs == [kf.parse("def run() { move() }")]
    assert solution.modes == solution.shortest_programs
    assert solution.mass[0] == pytest.approx(1 / 2 * 5 / 15 + 1 / 2 * (25 + 10 + 10 + 10) / 225)
    assert repr(solution) == "<solution of 1 specifications, 1 of which some program satisfies>"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_prefix_that_no_program_has_leaves_the_prior(backend):
    before = room()
    recipe = Recipe(lengths=(1, 3), action_weights=(1, 2, 0, 0, 1))
    goal = after("def run() { move() }", before)
    solution = kf.exact.solve(before, goal, recipe=recipe, examples=1, backend=backend)
    turned = "def run() { turn_left() }"
    assert solution.prefix_mass(0, turned) == 0
    assert solution.posterior(0, turned) == pytest.approx([2 / 3 / 4, 2 / 3 / 2, 0, 0, 2 / 3 / 4, 1 / 3])
    assert solution.posterior(0, [1, 1]) == pytest.approx([1 / 8, 1 / 4, 0, 0, 1 / 8, 1 / 2])
    assert solution.posterior(0, [2]) == pytest.approx(
        [1 / 6, 1 / 3, 0, 0, 1 / 6, 1 / 3]
    )  # an action that weighs nothing
    for far in ([1, 1, 1], [1] * 9):
        assert solution.posterior(0, far).tolist() == [0, 0, 0, 0, 0, 1]
    assert solution.posterior(0)[0] == solution.prefix_mass(0, [0])


def test_no_program_satisfies():
    solution = kf.exact.solve(
        room(), kf.Worlds.from_text("####\n#.>#\n####"), recipe=Recipe(lengths=(1, 3)), examples=1
    )
    none = kf.exact.solve(room(), kf.Worlds.from_text("####\n#>9#\n####"), recipe=Recipe(lengths=(1, 3)), examples=1)
    walls = kf.exact.solve(room(), kf.Worlds.from_text("####\n#>##\n####"), recipe=Recipe(lengths=(1, 3)), examples=1)
    assert solution.counts[0] > 0
    for empty in (none, walls):
        assert (empty.counts[0], empty.mass[0], empty.shortest[0], empty.shortest_counts[0]) == (0, 0, -1, 0)
        assert np.isnan(empty.entropy[0])
        assert len(empty.graph(0)) == 0
        assert list(empty.programs(0)) == []
        assert empty.shortest_programs[0].actions == ()
        assert empty.posterior(0).tolist() == pytest.approx([1 / 3, 0.2, 0.2, 2 / 15, 2 / 15, 0])


def test_outputs_are_compared_as_shown():
    """Nine stands for more, and the robot hides the markers under it."""
    before = kf.Worlds.from_text("#####\n#<99#\n#####")
    recipe = Recipe(lengths=(1, 1))
    same = kf.exact.solve(before, before, recipe=recipe, examples=1)
    assert [str(p) for p in same.programs(0)] == [
        "def run() { move() }", "def run() { pick_marker() }", "def run() { put_marker() }"
    ]  # fmt: skip


def test_a_run_that_meets_the_marker_limit_satisfies_nothing():
    full = kf.Worlds(walls=room().walls, markers=np.full((1, 3, 4), 255, np.uint8) * ~room().walls, robot=room().robot)
    solution = kf.exact.solve(full, full, recipe=Recipe(lengths=(1, 2)), examples=1)
    written = {str(p) for p in solution.programs(0)}
    assert "def run() { put_marker() }" not in written
    assert "def run() { pick_marker(); put_marker() }" in written


@pytest.mark.parametrize("examples", [1, 20])
def test_any_number_of_examples(examples):
    samples = generate(RECIPE.replace(examples=examples, held_out=0), count=3)
    solution = kf.exact.solve(samples)
    assert (solution.counts > 0).all()
    assert (solution.generalises == 1).all()
    again = kf.exact.solve(samples.inputs, samples.outputs, recipe=samples.recipe)
    assert again.mass.tolist() == solution.mass.tolist()


def test_the_largest_worlds():
    samples = generate(Recipe.paper(height=64, width=64, lengths=(2, 3)), count=2)
    solution = kf.exact.solve(samples)
    for i, program in enumerate(samples.programs):
        assert program in list(solution.programs(i))


def test_a_mapping_that_makes_actions_equal_counts_both():
    semantics = kf.Semantics(turn_left="turn_right")
    before = room()
    goal = after("def run() { turn_right() }", before)
    solution = kf.exact.solve(before, goal, recipe=Recipe(lengths=(1, 1), semantics=semantics), examples=1)
    assert [str(p) for p in solution.programs(0)] == ["def run() { turn_left() }", "def run() { turn_right() }"]
    assert solution.posterior(0)[1:3] == pytest.approx([1 / 2, 1 / 2])


def test_held_out_worlds_of_ones_own_are_those_of_the_samples():
    samples = generate(RECIPE, count=6)
    theirs = kf.exact.solve(samples)
    ours = kf.exact.solve(*samples.shown(), recipe=RECIPE, held_out=samples.held_out())
    assert ours.generalises.tolist() == theirs.generalises.tolist()
    assert 0 < ours.generalises.min() < 1


@compiled
def test_too_many_states_or_programs_say_what_grows():
    samples = generate(Recipe.paper(lengths=(18, 20), held_out=0), count=1)
    with pytest.raises(
        ValueError, match=r"specification 0: programs of up to 20 actions .* max_states = 1000 .* grow with"
    ):
        kf.exact.solve(samples, max_states=1000)
    cell = kf.Worlds.from_text("###\n#>#\n###")  # four states, so there is no end to what can be counted
    countless = Recipe(lengths=(60, 60), action_weights=(1, 1, 1, 0, 0))
    with pytest.raises(ValueError, match=r"specification 0: more than 2\*\*63 - 1 programs of up to 60 actions"):
        kf.exact.solve(cell, cell, recipe=countless, examples=1)
    some = kf.exact.solve(cell, cell, recipe=countless.replace(lengths=(30, 30)), examples=1)
    # Left, right or not at all, back where they began: the sum of (1 + w + 1/w)**30 over the fourth roots of unity w, over 4.
    assert some.counts[0] == (3**30 + 3) // 4


@compiled
def test_programs_too_improbable_for_a_double():
    open_field = np.pad(np.zeros((1, 62, 62), bool), ((0, 0), (1, 1), (1, 1)), constant_values=True)
    corners = [
        kf.Worlds(walls=open_field, markers=np.zeros((1, 64, 64), np.uint8), robot=np.array([robot], np.uint8))
        for robot in ([1, 1, 1], [62, 62, 2])
    ]
    only_one = Recipe(lengths=(123, 123), action_weights=(1, 0, 10_000, 0, 0))
    with pytest.raises(ValueError, match="less probable than a double can hold"):
        kf.exact.solve(*corners, recipe=only_one, examples=1)
    likely = kf.exact.solve(*corners, recipe=only_one.replace(action_weights=(1, 0, 1, 0, 0)), examples=1)
    assert likely.counts[0] == 1
    assert likely.mass[0] == 2.0**-123


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"outputs": kf.Worlds.from_text(["####\n#>.#\n#..#\n####"] * 2)}, ValueError, "2 of 3 x 4 cells and outputs 2 of 4 x 4"),
        ({"outputs": room(1)}, ValueError, "inputs are 2 of 3 x 4"),
        ({"outputs": None}, TypeError, "give samples, or inputs, outputs and recipe="),
        ({"recipe": None}, TypeError, "give samples, or inputs, outputs and recipe="),
        ({"outputs": "####"}, TypeError, "outputs is str"),
        ({"recipe": Recipe(control=ControlFlow())}, ValueError, "control flow"),
        ({"examples": 0}, ValueError, "examples is 0"),
        ({"examples": None}, ValueError, "no whole number of specifications of 5 examples"),
        ({"max_states": 0}, ValueError, "max_states is 0"),
        ({"threads": 0}, ValueError, "threads is 0"),
        ({"backend": "numba"}, ValueError, "backend is 'numba'; use one of cpp, reference"),
        ({"held_out": (room(1), room(1))}, ValueError, "held_out has 1 examples for 2 specifications"),
    ],
)  # fmt: skip
def test_wrong_input(change, error, message):
    arguments = {"outputs": room(2), "recipe": Recipe(lengths=(1, 1)), "examples": 1} | change
    with pytest.raises(error, match=message):
        kf.exact.solve(room(2), **arguments)


@compiled
def test_the_backend_from_the_environment(monkeypatch):
    monkeypatch.setenv("KAREL_FAST_BACKEND", "nonsense")
    with pytest.raises(ValueError, match=r"unknown backend 'nonsense' \(from KAREL_FAST_BACKEND\)"):
        solver_backend(None)
    for named, used in (("reference", "reference"), ("numba", "cpp"), ("cpp", "cpp")):
        monkeypatch.setenv("KAREL_FAST_BACKEND", named)
        assert solver_backend(None) == used


def test_wrong_questions():
    samples = generate(RECIPE, count=2)
    solution = kf.exact.solve(samples)
    with pytest.raises(TypeError, match="samples bring their own recipe"):
        kf.exact.solve(samples, recipe=RECIPE)
    with pytest.raises(IndexError, match="specification 2 of 2"):
        solution.posterior(2)
    assert solution.posterior(-1).tolist() == solution.posterior(1).tolist()
    with pytest.raises(ValueError, match="control flow"):
        solution.posterior(0, "def run() { repeat (2) { move() } }")
    with pytest.raises(ValueError, match="code 5"):
        prefix_actions([5])
    with pytest.raises(ValueError, match=r"actions\[1, 0\] is 7"):
        solution.along([[0], [7]], [1, 1])
    with pytest.raises(ValueError, match=r"lengths\[0\] is 2"):
        solution.along([[0], [0]], [2, 1])
    with pytest.raises(ValueError, match="one row for each of 2"):
        solution.along([[0]], [1])


def test_slices_have_the_same_answers():
    samples = generate(RECIPE, count=40)
    whole, part = kf.exact.solve(samples), kf.exact.solve(samples[25:40], threads=1)
    for name in ("counts", "mass", "entropy", "generalises", "token_entropy", "shortest_actions"):
        assert getattr(whole, name)[25:].tobytes() == getattr(part, name).tobytes(), name
    assert whole.posterior(30, [0]).tolist() == part.posterior(5, [0]).tolist()
    assert len(kf.exact.solve(samples[:0])) == 0


def test_many_graphs_are_not_all_kept():
    samples = generate(RECIPE, count=20)
    solution = kf.exact.solve(samples)
    first = solution.posterior(0)
    for i in range(20):
        assert len(list(solution.programs(i))) == solution.counts[i]
    assert len(solution._graphs) < 20
    assert solution.posterior(0).tolist() == first.tolist()


def test_the_floor_of_the_loss():
    samples = generate(RECIPE, count=50)
    solution = kf.exact.solve(samples)
    found = kf.exact.floor(samples, solution)
    rows = np.arange(5) <= samples.lengths[:, None]
    assert (np.isnan(found.loss) == ~rows).all()
    # The chances of a program's tokens multiply to its posterior probability.
    weights = np.array(RECIPE.action_weights) / 15
    for i, program in enumerate(samples.programs):
        prior = math.prod(weights[a] for a in program.actions) / 3
        assert np.exp(-np.nansum(found.loss[i])) == pytest.approx(prior / solution.mass[i])
        for t in range(len(program.actions) + 1):
            p = solution.posterior(i, program.actions[:t])
            assert found.entropy[i, t] == pytest.approx(-sum(x * math.log(x) for x in p if x), abs=1e-12)
    assert found.perplexity == pytest.approx(math.exp(np.nanmean(found.loss)))
    by_length = found.by_length()
    assert sorted(by_length) == [2, 3, 4]
    total = sum(row.sum() * (samples.lengths == length).sum() for length, row in by_length.items())
    assert total == pytest.approx(np.nansum(found.loss))
    assert np.nansum(found.by_position() * rows.sum(axis=0)) == pytest.approx(total)


def test_divergence_of_a_model():
    samples = generate(RECIPE, count=5)
    found = kf.exact.floor(samples)
    with np.errstate(divide="ignore"):
        ideal = np.log(found.posteriors)
    rows = np.arange(5) <= samples.lengths[:, None]
    assert found.divergence(ideal)[rows] == pytest.approx(0)
    uniform = np.full(ideal.shape, math.log(1 / 6))
    assert found.divergence(uniform)[rows] == pytest.approx(math.log(6) - found.entropy[rows])
    assert np.isnan(found.divergence(uniform)[~rows]).all()
    assert np.isinf(found.divergence(np.full(ideal.shape, -np.inf))[rows]).all()
    with pytest.raises(ValueError, match="these programs need"):
        found.divergence(uniform[0])


@compiled
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_specification_that_is_too_large_is_named(threads):
    """Whatever the threads: a piece of work are 16, and here the last of one and the first of the next are too large."""
    recipe = Recipe.paper(held_out=0)
    inputs, outputs = generate(recipe, count=40).shown()
    worlds = np.arange(len(inputs)).reshape(40, recipe.examples)

    def solve(specifications, threads=1):
        chosen = worlds[specifications].ravel()
        return kf.exact.solve(
            inputs[chosen], outputs[chosen], recipe=recipe, examples=5, max_states=3000, threads=threads
        )

    def is_too_large(i):
        try:
            solve([i])
        except ValueError:
            return True
        return False

    large = [i for i in range(40) if is_too_large(i)]
    small = [i for i in range(40) if i not in large]
    assert len(large) >= 2
    mixed = [*(small * 15)[:15], *large[:2], *(small * 15)[:15]]
    with pytest.raises(ValueError, match="specification 15: "):
        solve(mixed, threads)


ENDLESS = """
import karel_fast as kf
from karel_fast.data import Recipe, generate
recipe = Recipe.paper(examples=1, held_out=0, lengths=(13, 14))
samples = generate(recipe, count=2_000)
print("ready", flush=True)
kf.exact.solve(samples, threads=2, max_states=250_000_000)
"""


@compiled
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent differently there")
def test_interrupt():
    with started(ENDLESS) as child:
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
        assert "KeyboardInterrupt" in errors


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """call(*arguments) -> exit code, standard output, standard error; in a folder with worlds before and after."""
    before = kf.Worlds.from_text([ROOM, "####\n#^1#\n####"])
    after_ = kf.run("def run() { turn_right(); move() }", before).worlds
    (tmp_path / "before.txt").write_text("\n\n".join(before.to_text()))
    (tmp_path / "after.txt").write_text("\n\n".join(after_.to_text()))
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys, "solve")


def test_command_draws_the_shortest_program(call):
    code, out, _ = call("--inputs", "before.txt", "--outputs", "after.txt", "--longest", "2", "--show", "1")
    assert code == 0
    assert "1 program of 1 to 2 actions" in out
    assert out.count("def run() { turn_right(); move() }") == 2
    assert out.count("before") == 2
    assert "2 steps, OK" in out


def test_command_json(call):
    code, out, _ = call("--inputs", "before.txt", "--outputs", "after.txt", "--longest", "3", "--json", "--show", "2")
    found = json.loads(out)
    assert code == 0
    assert found["programs"] >= 2 == len(found["listed"])
    assert found["first_shortest"] == found["mode"] == "def run() { turn_right(); move() }"
    assert sum(found["first_token"]) == pytest.approx(1)


def test_command_without_a_program(call):
    code, out, _ = call("--inputs", "before.txt", "--outputs", "after.txt", "--longest", "1")
    assert (code, out) == (0, "0 programs of 1 to 1 actions\n")
    code, out, _ = call("--inputs", "before.txt", "--outputs", "after.txt", "--longest", "1", "--json")
    assert (code, json.loads(out)["first_token"]) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--inputs", "-", "--outputs", "-"), "only one of --inputs and --outputs"),
        (("--inputs", "before.txt", "--outputs", "none.txt"), "none.txt: No such file"),
        (("--inputs", "before.txt", "--outputs", "after.txt", "--recipe", "pape"), "no recipe preset 'pape'"),
        (("--inputs", "before.txt", "--outputs", "after.txt", "--recipe", "control-flow"), "control flow"),
        (("--inputs", "before.txt", "--outputs", "after.txt", "--shortest", "4", "--longest", "3"), "lengths 4..3 is empty"),
        (("--inputs", "before.txt", "--outputs", "after.txt", "--semantics", "flap"), "unknown semantics 'flap'"),
    ],
)  # fmt: skip
def test_command_wrong_input(call, arguments, message):
    code, out, errors = call(*arguments)
    assert (code, out) == (2, "")
    assert message in errors


def test_the_floor_takes_no_solution_of_others():
    recipe = Recipe.paper_short()
    samples = generate(recipe, "test", 50, 4)
    for other in (generate(recipe, "test", 0, 4), samples[:3], generate(recipe.replace(lengths=(1, 4)), "test", 50, 4)):
        with pytest.raises(ValueError, match="the solution is of other samples than these"):
            kf.exact.floor(samples, kf.exact.solve(other))
    same = kf.exact.solve(samples.shown()[0], samples.shown()[1], recipe=recipe)
    assert kf.exact.floor(samples, same).mean_loss == kf.exact.floor(samples).mean_loss
