"""`kf.load`: a run's parts in one line, programs and worlds of one's own, states as arrays with what is so there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Cli
from probed_model import RECIPE, make_model

import karel_fast as kf
from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.model import Capture
from karel_fast.model.hub import to_hf
from karel_fast.probing.lab import Lab, States, load
from karel_fast.probing.states import forced_states
from karel_fast.runs.snapshots import snapshot_path, write_snapshot
from karel_fast.support.checks import InputError

CARD = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": "compact"}
WORLDS = ["#####\n#>..#\n#...#\n#...#\n#####", "#####\n#...#\n#.^.#\n#..1#\n#####"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    for step, seed in ((0, 1), (100, 2)):
        write_snapshot(path, step, make_model(Tokenizer(RECIPE), seed=seed), CARD)
    return path


@pytest.fixture(scope="module")
def lab(run: Path) -> Lab:
    return kf.load(run, device="cpu")


def programs_of(written: States) -> list[kf.Program]:
    return [kf.Program.from_actions(row[:n]) for row, n in zip(written.actions, written.lengths, strict=True)]


def test_what_is_opened(run: Path, lab: Lab) -> None:
    assert lab.path == snapshot_path(run, 100)
    assert kf.load(run, step=0).path == kf.load(snapshot_path(run, 0)).path == snapshot_path(run, 0)
    assert lab.recipe == RECIPE


def test_opening_changes_no_random_state(run: Path) -> None:
    state = torch.get_rng_state()
    kf.load(run, device="cpu")
    assert torch.equal(torch.get_rng_state(), state)


def test_the_model_that_is_kept_in_the_tree() -> None:
    """The one that docs/results-paper.md opens: 95.8 % of 4,000 of val satisfied; under 85 of 100 has a chance below 1e-4."""
    kept = Path(__file__).parent.parent / "benchmarks/results/paper-epyc-zen5-2cpu/seed0/model"
    opened = kf.load(kept, device="cpu")
    assert opened.recipe == Recipe.paper()
    assert opened.generate(opened.samples("val", count=100)).correct.sum() >= 85


def test_written_programs_and_their_states(lab: Lab) -> None:
    samples = lab.samples("test", 5, 30)
    written = lab.write(samples, layers=[0, 2])
    assert written.axes == ("program", "action", "layer", "width")
    assert written.values.shape == (30, written.lengths.max(), 2, 32)
    assert len(set(written.lengths)) > 2
    ran = kf.run(kf.CompiledPrograms.from_actions(written.actions, written.lengths), samples.shown()[0])
    right = np.array([a == b for a, b in zip(ran.worlds.to_text(), samples.shown()[1].to_text(), strict=True)])
    assert (written.correct <= right.reshape(30, -1).all(1)).all()
    # Reading what was written gives the same states, up to rounding.
    again = lab.read(
        programs_of(written),
        *samples.shown(),
        layers=[0, 2],
    )
    np.testing.assert_allclose(again.rows(), written.rows(), atol=1e-4)


def test_read_samples_are_forced_states(lab: Lab) -> None:
    samples = lab.samples("val", 0, 20)
    for withhold in (None, "space"):
        states = lab.read(samples, withhold=withhold)
        wanted = forced_states(
            lab.model, lab.tokenizer, samples, samples.actions, samples.lengths, Capture("mean"), withhold=withhold,
            compile_model=False,
        )  # fmt: skip
        np.testing.assert_array_equal(states.values, wanted)
        assert states.axes == ("program", "action", "width")
        assert states.correct.all()
        assert states.rows().shape == (samples.lengths.sum(), 32)


@pytest.mark.parametrize("point", ["attn_out", "mlp_out"])
def test_what_blocks_add(lab: Lab, point: str) -> None:
    """While writing, and read again: the outputs of blocks add up to the states."""
    samples = lab.samples("test", 5, 12)
    written = lab.write(samples, layers=[1, 2], point=point)
    again = lab.states(programs_of(written), *samples.shown(), layers=[1, 2], point=point)
    np.testing.assert_allclose(again.rows(), written.rows(), atol=1e-4)
    states = lab.states(samples, layers=[0, 1])
    added = sum(lab.states(samples, layers=[1], point=name).values for name in ("attn_out", "mlp_out"))
    np.testing.assert_allclose(states.values[:, :, 0] + added[:, :, 0], states.values[:, :, 1], atol=1e-4)


@pytest.mark.parametrize("world", [0, 1])
@pytest.mark.parametrize("semantics", ["original", "flip"])
@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_labels_are_what_is_so(lab: Lab, world: int, semantics: str, offset: int) -> None:
    samples = lab.samples("val", 0, 20)
    states = lab.read(samples)
    trace = kf.trace(samples.compiled, samples.shown()[0], semantics=semantics)
    direction, position = (
        states.labels(name, offset, semantics=semantics, world=world) for name in ("direction", "absolute")
    )
    for row, (program, action) in enumerate(zip(*states.places, strict=True)):
        at = action + 1 + offset
        if not 0 <= at <= samples.lengths[program]:
            assert direction[row] == -1
            continue
        y, x, looks = trace.robot[2 * program + world, at]
        assert direction[row] == looks
        assert tuple(position[row]) == (x - 1, y - 1)  # column and row inside the ring


def test_programs_and_worlds_of_ones_own(lab: Lab) -> None:
    before = kf.Worlds.from_text(WORLDS)
    states = lab.read(["def run() { move(); turn_right(); move() }"], before)
    assert states.lengths.tolist() == [3]
    assert states.correct.all()
    assert states.labels("direction").tolist() == [1, 2, 2]
    assert states.labels("direction", world=1).tolist() == [0, 1, 1]
    written = lab.write(before, kf.run("def run() { move() }", before).worlds)
    assert len(written) == 1
    wrong = lab.read(["def run() { move() }"], before, before)
    assert not wrong.correct.any()


def test_a_probe_of_ones_own(lab: Lab) -> None:
    """What an interpretability researcher does first, with scikit-learn."""
    from sklearn.linear_model import LogisticRegression

    train, test = (lab.read(lab.samples(split, 0, 150)) for split in ("train", "test"))
    facing_east = train.labels("direction") == 1
    probe = LogisticRegression(max_iter=2000).fit(train.rows(), facing_east)
    assert probe.score(train.rows(), facing_east) > facing_east.mean()
    assert probe.predict(test.rows()).shape == test.labels("direction").shape


def test_a_folder_from_elsewhere(tmp_path: Path, lab: Lab) -> None:
    to_hf(lab.model, tmp_path)
    with pytest.raises(InputError, match="does not say what it was trained on: give its recipe"):
        load(tmp_path)
    opened = load(tmp_path, recipe=RECIPE, device="cpu")  # the layout is known by the size of the vocabulary
    assert opened.tokenizer.layout == "compact"
    samples = lab.samples("test", 0, 4)
    np.testing.assert_array_equal(opened.read(samples).values, lab.read(samples).values)
    with pytest.raises(InputError, match="give the recipe and layout that it was trained on"):
        load(tmp_path, recipe=RECIPE, layout="reference")
    # A vocabulary of as many other words is another one.
    words = {word: number for number, word in enumerate(reversed(lab.tokenizer.tokens))}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": words}}))
    with pytest.raises(
        InputError, match=r"which are no layout's of this recipe \(compact: \d+ tokens; reference: \d+ tokens; rows: "
    ):
        load(tmp_path, recipe=RECIPE)


def test_a_stock_model_saved_by_transformers(tmp_path: Path, lab: Lab, cli: Cli) -> None:
    """What another laboratory has: CodeGenForCausalLM.save_pretrained, and a tokenizer beside it; evaluated and probed."""
    from transformers import CodeGenForCausalLM

    to_hf(lab.model, tmp_path / "made")
    CodeGenForCausalLM.from_pretrained(tmp_path / "made").save_pretrained(tmp_path / "stock")
    lab.tokenizer.to_hf().save_pretrained(tmp_path / "stock")
    (tmp_path / "recipe.json").write_text(RECIPE.to_json())
    kf.data.export_jsonl(lab.samples("test", 0, 20), tmp_path / "own.jsonl")

    def call(*arguments: object) -> str:
        code, out, error = cli(*arguments)
        assert code == 0, error
        return out

    def refused(says: str, *arguments: object) -> None:
        code, _, error = cli(*arguments)
        assert (code, error.count("\n")) == (2, 1)
        assert says in error

    stock, origin = tmp_path / "stock", ("--recipe", tmp_path / "recipe.json")
    here = ("--no-compile-decoding", "--precision", "fp32", "--device", "cpu")
    small = (
        "--programs", "train=30,validation=10,test=10", "--depths", "linear", "--offsets", "0", "--seeds", "0", "--epochs", "1",
        "--least-steps", "2", "--semantics", "original", "--features", "direction", *here,
    )  # fmt: skip
    drawn = json.loads(call("evaluate", stock, *origin, "--specifications", "20", *here, "--json"))
    read = json.loads(call("evaluate", stock, *origin, "--data", tmp_path / "own.jsonl", *here, "--json"))
    assert {**read, "split": "test"} == {**drawn, "data": str(tmp_path / "own.jsonl")}
    for name, value in (("shortest", 1), ("specifications", 5), ("on-the-way", 5), ("split", "val")):
        data = ("--data", tmp_path / "own.jsonl", f"--{name}", value)
        refused(f"--{name} is about specifications that are drawn", "evaluate", stock, *origin, *data, *here)
    refused("is a model and no run: give --output", "probe", stock, *small)
    refused("does not say what it was trained on", "probe", stock, "--output", tmp_path / "probed", *small)
    for _ in range(2):  # the second time it is there
        shown = call("probe", stock, *origin, "--output", tmp_path / "probed", *small)
        assert shown.strip().endswith("probed/probing/step-000000.json")
    np.testing.assert_array_equal(
        kf.load(tmp_path / "probed", device="cpu").read(lab.samples(count=3)).values,
        lab.read(lab.samples(count=3)).values,
    )
    refused(
        "--output is for a model from elsewhere", "probe", tmp_path / "probed", "--output", tmp_path / "again", *small
    )
    other = tmp_path / "other"
    to_hf(make_model(Tokenizer(RECIPE), seed=9), other)
    refused("probed holds another model", "probe", other, *origin, "--output", tmp_path / "probed", *small)


def test_generation(lab: Lab) -> None:
    samples = lab.samples("test", 5, 12)
    greedy = lab.generate(samples)
    assert greedy.axes == ("specification", "program")
    assert greedy.correct.shape == greedy.finished.shape == (12, 1)
    assert greedy.generalizes is None or greedy.generalizes.shape == (12, 1)
    written = lab.write(samples)
    np.testing.assert_array_equal(greedy.correct[:, 0], written.correct)
    for i in range(12):
        program = greedy.program(i)
        if program is not None:
            assert program.actions == tuple(written.actions[i, : written.lengths[i]])
            right = kf.check(program, *(w[2 * i : 2 * i + 2] for w in samples.shown())).all()
            assert right == greedy.correct[i, 0]
    # In any company a specification gets the same draws.
    drawn = lab.generate(samples, temperature=1.0, draws=4, seed=7)
    again = lab.generate(samples[4:6], temperature=1.0, draws=4, seed=7, batch_size=1)
    np.testing.assert_array_equal(drawn.tokens[4:6], again.tokens)
    assert len({drawn.text(0, k) for k in range(4)}) > 1
    assert 0 <= drawn.pass_at_k(1) <= drawn.pass_at_k(4) == drawn.correct.any(axis=1).mean()
    assert drawn.pass_at_k(1) == pytest.approx(drawn.correct.mean())
    free = lab.generate(samples, temperature=1.0, draws=2, grammar=False)
    assert not free.valid.all()  # a model of random weights
    assert not (free.correct & ~free.valid).any()
    assert [[p is not None for p in row] for row in free.programs] == (free.valid & free.finished).tolist()
    beams = lab.generate(samples, beam=3)
    assert (np.diff(beams.log_probability[beams.finished.all(axis=1)], axis=1) <= 0).all()
    own = lab.generate(*samples.shown())
    np.testing.assert_array_equal(own.tokens, greedy.tokens)
    for settings, message in (
        ({"draws": 2}, "give a temperature above 0"),
        ({"beam": 2, "temperature": 1.0}, "draws nothing at random"),
        ({"beam": 2, "top_p": 0.5}, "draws nothing at random"),
        ({"top_p": 0.5}, "greedy programs draw nothing at random: leave out top_p and seed, or give a temperature"),
        ({"seed": 1}, "greedy programs draw nothing at random"),
        ({"length_penalty": 5.0}, "length_penalty ranks the programs of a beam search: leave it out, or give beam="),
        ({"beam": 2, "grammar": False}, "goes by the grammar"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"draws": 0}, "draws is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            lab.generate(samples, **settings)
    with pytest.raises(InputError, match="programs drawn at random; these are a beam search"):
        beams.pass_at_k(1)
    with pytest.raises(ValueError, match="k is 5"):
        drawn.pass_at_k(5)


def test_wrong_input(run: Path, lab: Lab, tmp_path: Path) -> None:
    before = kf.Worlds.from_text(WORLDS)
    with pytest.raises(InputError, match="no snapshot of step 7; it has 0, 100"):
        load(run, step=7)
    with pytest.raises(InputError, match="no run with snapshots"):
        load(snapshot_path(run, 0), step=0)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nowhere", recipe=RECIPE, layout="compact")
    with pytest.raises(InputError, match="worlds of one's own need outputs"):
        lab.write(before)
    with pytest.raises(InputError, match="1 inputs and 1 outputs: give as many of both, 2 for each"):
        lab.write(before[:1], before[:1])
    with pytest.raises(InputError, match="have 3 x 5 cells; this model was trained on 5 x 5"):
        lab.write(*[kf.Worlds.from_text(["#####\n#>..#\n#####"] * 2)] * 2)
    with pytest.raises(InputError, match="program 0 has control flow"):
        lab.read(["def run() { while (front_is_clear()) { move() } }"], before)
    with pytest.raises(InputError, match="program 0 has 6 actions; this model's recipe has at most 5"):
        lab.read(["def run() { " + "; ".join(["move()"] * 6) + " }"], before)
    with pytest.raises(InputError, match="need inputs"):
        lab.read(["def run() { move() }"])
    with pytest.raises(InputError, match="2 programs on 2 inputs: give 2 for each"):
        lab.read(["def run() { move() }"] * 2, before)
    with pytest.raises(ValueError, match="another world size"):
        lab.write(generate(Recipe.paper(), "test", 0, 3))
    for programs, says in (
        ("def run() { move() }", "programs are str; give a list"),
        (kf.parse("def run() { move() }"), "programs are Program; give a list"),
        ((p for p in ()), "programs are generator; give a list"),
        ([1], "program 0 is int; give programs, or their source"),
    ):
        with pytest.raises(InputError, match=says):
            lab.read(programs, before)
    with pytest.raises(InputError, match="inputs are list; make them Worlds"):
        lab.write([1], [1])
    samples = lab.samples(count=3)
    for use in (lab.write, lab.read, lab.generate):
        with pytest.raises(InputError, match="there are no samples; give at least one"):
            use(samples[:0])
        for batch_size in (0, -1):
            with pytest.raises(ValueError, match=f"batch_size is {batch_size}; give a whole number of at least 1"):
                use(samples, batch_size=batch_size)
    with pytest.raises(TypeError, match=r"recipe is 'paper'; give a Recipe, such as .*Recipe.preset\('paper'\)"):
        load(run, recipe="paper")
    with pytest.raises(IndexError, match="world 2: the specifications have 2 examples"):
        lab.read(["def run() { move() }"], before).labels("direction", world=2)
