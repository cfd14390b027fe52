"""The exact solver against brute force over all programs, run by the reference backend; and its two backends against each other."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import actions, semantics, worlds

import karel_fast as kf
from karel_fast.data import Recipe, generate
from karel_fast.exact.reference import solve_graph
from karel_fast.exact.solution import solver_of

BACKENDS = [name for name in ("cpp", "reference") if name in kf.available_backends()]
WHOLE = (
    "counts",
    "shortest",
    "shortest_counts",
    "mode_generalises",
    "shortest_actions",
    "mode_actions",
    "mode_lengths",
)
REAL = ("mass", "entropy", "mode_mass", "generalises", "reach", "token_entropy")


@st.composite
def recipes(draw):
    """Few short programs, with every choice that the solver knows."""
    shortest = draw(st.integers(1, 3))
    weights = draw(st.lists(st.integers(0, 3), min_size=5, max_size=5).filter(any))
    return Recipe(
        examples=draw(st.integers(1, 3)),
        lengths=(shortest, draw(st.integers(shortest, 3))),
        action_weights=tuple(weights),
        avoid_noops=draw(st.booleans()),
        semantics=draw(semantics),
    )


@st.composite
def specifications(draw):
    """A recipe, inputs and outputs of one specification and of held-out examples; some program satisfies most of them."""
    recipe = draw(recipes())
    held_out = draw(st.integers(0, 2))
    inputs = draw(worlds(count=recipe.examples + held_out, max_side=5))
    program = kf.Program.from_actions(draw(st.lists(actions, min_size=recipe.lengths[0], max_size=3)))
    outputs = kf.run(program, inputs, semantics=recipe.semantics, backend="reference").worlds
    if draw(st.integers(0, 4)) == 0:
        outputs = draw(worlds(count=len(inputs), min_side=inputs.height, max_side=inputs.height))
        outputs = outputs if outputs.width == inputs.width else inputs
    shown = slice(0, recipe.examples)
    rest = slice(recipe.examples, None)
    pairs = (inputs[rest], outputs[rest]) if held_out else None
    return recipe, inputs[shown], outputs[shown], pairs


class BruteForce:
    """Every program of at most the longest length, run."""

    def __init__(self, recipe, inputs, outputs):
        self.recipe = recipe
        longest = recipe.lengths[1]
        self.programs = [p for n in range(longest + 1) for p in itertools.product(range(5), repeat=n)]
        self.after, self.right, self.ok = {}, {}, {}
        rows = np.tile(np.arange(len(inputs)), len(self.programs))
        compiled = kf.compile([kf.Program.from_actions(p) for p in self.programs])
        result = kf.run(compiled, inputs[rows], semantics=recipe.semantics, backend=BACKENDS[0])
        right = result.worlds.same_text(outputs[rows]) & (result.status == kf.Status.OK)
        for k, program in enumerate(self.programs):
            span = slice(k * len(inputs), (k + 1) * len(inputs))
            self.after[program] = result.worlds[span]
            self.ok[program] = result.status[span] == kf.Status.OK
            self.right[program] = right[span].all()

    def weights(self, prefix):
        weights = self.recipe.action_weights
        if self.recipe.avoid_noops:
            changes = []
            for action in range(5):
                longer, count = (*prefix, action), len(self.ok[prefix])
                unlike = [
                    self.after[longer][e] != self.after[prefix][e] or not self.ok[longer][e] for e in range(count)
                ]
                changes.append((unlike & self.ok[prefix]).any())  # a world whose run has ended changes no more
            useful = tuple(w * c for w, c in zip(weights, changes, strict=True))
            weights = useful if sum(useful) else weights
        return weights

    def prior(self, program):
        shortest, longest = self.recipe.lengths
        if not shortest <= len(program) <= longest:
            return Fraction(0)
        chance = Fraction(1, longest - shortest + 1)
        for t, action in enumerate(program):
            weights = self.weights(program[:t])
            chance *= Fraction(weights[action], sum(weights))
        return chance

    def satisfying(self):
        right = {p: self.prior(p) for p in self.programs if self.right[p]}
        return {program: chance for program, chance in right.items() if chance}


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=60)
@given(specification=specifications())
def test_brute_force(backend, specification):
    recipe, inputs, outputs, held_out = specification
    brute = BruteForce(recipe, inputs, outputs)
    right = brute.satisfying()
    solution = kf.exact.solve(inputs, outputs, recipe=recipe, held_out=held_out, backend=backend)
    mass = sum(right.values(), Fraction(0))
    assert len(solution) == 1
    assert solution.counts[0] == len(right)
    assert solution.mass[0] == pytest.approx(float(mass), rel=1e-12)
    assert sorted(tuple(map(int, p.actions)) for p in solution.programs(0)) == sorted(right)
    for prefix in brute.programs:
        check_posterior(solution, brute, right, prefix)
    if not right:
        assert solution.shortest[0] == -1
        assert solution.shortest_counts[0] == 0
        assert np.isnan(solution.entropy[0])
        assert np.isnan(solution.generalises[0])
        return
    shortest = min(map(len, right))
    assert solution.shortest[0] == shortest
    assert solution.shortest_counts[0] == sum(len(p) == shortest for p in right)
    assert solution.shortest_programs[0] == kf.Program.from_actions(min(p for p in right if len(p) == shortest))
    chances = [float(chance / mass) for chance in right.values()]
    assert solution.entropy[0] == pytest.approx(-sum(p * math.log(p) for p in chances), rel=1e-9, abs=1e-12)
    reach = [
        sum(float(chance / mass) for p, chance in right.items() if len(p) >= t) for t in range(recipe.lengths[1] + 1)
    ]
    assert solution.reach[0] == pytest.approx(reach, rel=1e-12)
    assert solution.token_entropy[0].sum() == pytest.approx(solution.entropy[0], rel=1e-9, abs=1e-12)
    best = tuple(map(int, solution.modes[0].actions))
    assert right[best] == max(right.values())
    assert solution.mode_mass[0] == pytest.approx(float(right[best]), rel=1e-12)
    general = BruteForce(recipe, *held_out).right if held_out else dict.fromkeys(right, True)
    expected = sum((chance for p, chance in right.items() if general[p]), Fraction(0)) / mass
    assert solution.generalises[0] == pytest.approx(float(expected), rel=1e-12)
    assert solution.mode_generalises[0] == general[best]


def check_posterior(solution, brute, right, prefix):
    """By adding up the programs; after a prefix that none of them has, the prior's, if the prior has the prefix."""
    begins = {p: chance for p, chance in right.items() if p[: len(prefix)] == prefix}
    total = sum(begins.values(), Fraction(0))
    mass = sum(right.values(), Fraction(0))
    assert solution.prefix_mass(0, prefix) == pytest.approx(float(total / mass) if mass else 0.0, rel=1e-12)
    if not begins:
        begins = {p: brute.prior(p) for p in brute.programs if p[: len(prefix)] == prefix and brute.prior(p)}
        total = sum(begins.values(), Fraction(0))
    if begins:
        expected = [
            float(sum((c for p, c in begins.items() if p[len(prefix) :][:1] == following), Fraction(0)) / total)
            for following in [*((a,) for a in range(5)), ()]
        ]
        assert solution.posterior(0, prefix) == pytest.approx(expected, rel=1e-12, abs=1e-15)


@pytest.mark.skipif("cpp" not in BACKENDS, reason="no compiled core")
@settings(max_examples=40)
@given(
    recipe=recipes(),
    held_out=st.integers(0, 2),
    side=st.integers(3, 6),
    seed=st.integers(0, 2**32),
    threads=st.integers(1, 3),
)
def test_the_backends_agree(recipe, held_out, side, seed, threads):
    recipe = recipe.replace(height=side, width=side, held_out=held_out, seed=seed)
    samples = generate(recipe, count=5)
    compiled = kf.exact.solve(samples, backend="cpp", threads=threads)
    plain = kf.exact.solve(samples, backend="reference")
    for name in WHOLE:
        np.testing.assert_array_equal(getattr(compiled, name), getattr(plain, name), err_msg=name)
    for name in REAL:
        np.testing.assert_allclose(getattr(compiled, name), getattr(plain, name), rtol=1e-12, atol=1e-13, err_msg=name)
    assert (compiled.counts > 0).all()  # the programs that were drawn are among them
    assert (compiled.states <= plain.states).all()
    programs = generate(recipe.replace(seed=seed + 1), count=5)  # of other specifications
    for rows in (samples, programs):
        ours, theirs = compiled.along(rows.actions, rows.lengths), plain.along(rows.actions, rows.lengths)
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12, atol=1e-15)
        np.testing.assert_array_equal(ours[1], theirs[1])
    for i in range(len(samples)):
        theirs = solve_graph(plain.problem, i, 10**6)
        for name, array in solver_of("cpp").solve_graph(compiled.problem, i, 10**6).items():
            np.testing.assert_allclose(array, theirs[name], rtol=1e-12, atol=1e-13, err_msg=name)
            assert array.dtype == theirs[name].dtype, name


@pytest.mark.skipif("cpp" not in BACKENDS, reason="no compiled core")
@pytest.mark.parametrize("recipe", [Recipe.paper(), Recipe.colm(lengths=(8, 9)), Recipe.paper(avoid_noops=True)])
def test_threads_change_no_bit(recipe):
    samples = generate(recipe, count=40)
    one = kf.exact.solve(samples, threads=1)
    assert (one.counts > 0).all()
    for threads in (4, 7):
        more = kf.exact.solve(samples, threads=threads)
        for name in (*WHOLE, *REAL, "states"):
            assert getattr(one, name).tobytes() == getattr(more, name).tobytes(), name
        assert (
            one.along(samples.actions, samples.lengths)[0].tobytes()
            == more.along(samples.actions, samples.lengths)[0].tobytes()
        )


def test_paper_specifications_by_running_every_program():
    """Two whole specifications of the paper's worlds, with programs up to six actions."""
    recipe = Recipe.paper(lengths=(5, 6))
    samples = generate(recipe, count=2)
    solution = kf.exact.solve(samples)
    inputs, outputs = samples.shown()
    for i in range(2):
        right = 0
        for length in (5, 6):
            rows = np.array(list(itertools.product(range(5), repeat=length)), np.uint8)
            programs = kf.CompiledPrograms.from_actions(rows, np.full(len(rows), length, np.int32))
            good = np.ones(len(rows), bool)
            for e in range(5 * i, 5 * i + 5):
                copies = np.full(len(rows), e)
                result = kf.run(programs, inputs[copies])
                good &= result.worlds.same_text(outputs[copies]) & (result.status == 0)
            right += int(good.sum())
        assert solution.counts[i] == right > 0
