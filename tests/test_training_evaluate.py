"""Evaluation and the commands: each metric against a plain count, and data that does not match refused."""

import itertools
import json

import numpy as np
import pytest
import torch
import typer
from evaluated_model import PLAIN, RECIPE, SAMPLES, TOKENIZER, plain_counts, shape
from typer.testing import CliRunner

import karel_fast as kf
from karel_fast.cli.training import register
from karel_fast.data import ControlFlow, Recipe, Tokenizer, generate
from karel_fast.model import Capture, Transformer, to_hf
from karel_fast.probing.states import write_table
from karel_fast.runs.snapshots import list_snapshots, open_snapshot
from karel_fast.training import TrainConfig, train
from karel_fast.training.divergence import divergence_metrics, log_probabilities
from karel_fast.training.evaluate import evaluate, ideal_metrics
from karel_fast.training.rows import generated_rows
from karel_fast.training.written import generated_programs, one_for_all, satisfied


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = TrainConfig(
        steps=30, batch_size=32, lr=1e-2, warmup=5, snapshot_every=30, compile=False, precision="fp32", device="cpu"
    )
    rows = generated_rows(RECIPE, TOKENIZER)
    train(
        config,
        shape(),
        rows,
        folder,
        pad_id=TOKENIZER.pad_id,
        tokenizer=TOKENIZER,
        recipe=RECIPE.to_json(),
        layout="compact",
    )
    return folder


def test_diversity_is_of_so_many_samples(run, monkeypatch):
    monkeypatch.setattr("karel_fast.training.evaluate.DIVERSITY_SAMPLES", 20)
    result = evaluate(list_snapshots(run)[-1], TOKENIZER, SAMPLES, free=False, **PLAIN)
    different = {row.tobytes() for row in result.generated.tokens[:20]}
    assert result.metrics["diversity"] == len(different) / 20


def test_metrics(run, tmp_path):
    snapshot = list_snapshots(run)[-1]
    seen = []
    result = evaluate(snapshot, TOKENIZER, SAMPLES, capture=Capture(), progress=seen.append, **PLAIN)
    made, metrics = result.generated, result.metrics
    assert seen == [25, 50, 60]
    correct, general = plain_counts(TOKENIZER, SAMPLES, made)
    assert np.array_equal(result.correct, correct)
    assert np.array_equal(result.generalizes, general)
    assert metrics["generative_accuracy"] == pytest.approx(correct.mean())
    assert metrics["generalization"] == pytest.approx(general.mean())
    assert 0 < metrics["generative_accuracy"] < 1
    texts = [str(kf.Program.from_actions(a[:n].tolist())) for a, n in zip(made.actions, made.lengths, strict=True)]
    assert metrics["distinct_programs"] == len(set(texts))
    assert metrics["diversity"] == len(set(texts)) / len(texts)
    assert metrics["top_share"] == max(texts.count(t) for t in texts) / 60
    assert texts.count(metrics["top_program"]) == metrics["top_share"] * 60
    inputs, outputs = SAMPLES.shown()
    ended = {t for t, end in zip(texts, made.finished, strict=True) if end}
    alone = {t: kf.check(t, inputs, outputs).reshape(60, -1).all(axis=1).mean() for t in ended}
    assert metrics["one_for_all"] in ended
    assert metrics["one_for_all_accuracy"] == alone[metrics["one_for_all"]] == max(alone.values()) > 0
    assert metrics["exact_match"] == np.mean([t == str(p) for t, p in zip(texts, SAMPLES.programs, strict=True)])
    assert metrics["mean_length"] == pytest.approx(made.lengths.mean())
    assert metrics["reference_mean_length"] == pytest.approx(SAMPLES.lengths.mean())
    assert 0 <= metrics["parse_rate"] <= 1
    assert made.hidden.shape == (60, made.lengths.max(), 32)
    assert json.loads(json.dumps(metrics)) == metrics
    # What probes are told of a program is what evaluation says of it.
    written = write_table(tmp_path / "t", kf.model.from_hf(snapshot), TOKENIZER, "test", 60, compile_model=False)
    assert written.correct.tolist() == correct.tolist()
    # Perplexity, the long way round.
    model = kf.model.from_hf(snapshot)
    tokens = torch.from_numpy(TOKENIZER.encode(SAMPLES).astype(np.int64))
    log = torch.log_softmax(model(tokens)[:, :-1], -1).gather(2, tokens[:, 1:, None])[
        :, TOKENIZER.prompt_length - 1 :, 0
    ]
    there = tokens[:, TOKENIZER.prompt_length :] != TOKENIZER.pad_id
    assert metrics["perplexity"] == pytest.approx(torch.exp(-log[there].mean()).item(), rel=1e-4)


def test_one_program_for_all_is_of_the_candidates_and_chosen_on_the_first(monkeypatch):
    inputs, outputs = SAMPLES.shown()
    texts = [str(program) for program in SAMPLES.programs]
    programs = kf.compile(texts)
    right = np.array([kf.check(text, inputs, outputs).reshape(60, -1) for text in texts])
    shares = right.all(axis=2).mean(axis=1)
    assert len(set(shares)) > 1
    program, share = one_for_all(programs, range(60), SAMPLES)
    assert (str(program), share) == (texts[shares.argmax()], shares.max())
    program, share = one_for_all(programs, [int(shares.argmin()), int(shares.argmax())], SAMPLES)
    assert (str(program), share) == (texts[shares.argmax()], shares.max())
    # Of examples, those that do not count are as good as right.
    active = np.zeros((60, SAMPLES.recipe.examples), bool)
    active[:, 0] = True
    assert one_for_all(programs, [0], SAMPLES, active)[1] == right[0, :, 0].mean() > shares[0]
    # Each program satisfies its own specification, so the first one's is chosen on that one alone, whatever its share.
    monkeypatch.setattr("karel_fast.training.written.CHOOSING_SAMPLES", 1)
    first = int(right[:, 0].all(axis=1).argmax())
    assert one_for_all(programs, range(60), SAMPLES)[1] == shares[first]
    monkeypatch.setattr("karel_fast.training.written.CANDIDATES", 1)
    assert one_for_all(programs, range(5, 60), SAMPLES)[1] == shares[5]


def test_programs_may_take_as_long_as_the_recipe_s_own():
    control = ControlFlow(
        if_weight=0, ifelse_weight=0, while_weight=0, repeat_weight=5, repeat_counts=(40, 99), max_steps=100_000
    )
    recipe = Recipe.control_flow(height=5, width=5, examples=2, held_out=1, lengths=(5, 6), control=control)
    samples = generate(recipe, "test", count=100)
    longest = kf.run(samples.compiled, samples.inputs, max_steps=recipe.step_limit).steps.max()
    assert 1000 < longest <= recipe.step_limit == 100_000
    for right in satisfied(samples.compiled, samples):
        assert right.all()


def test_an_untrained_model_and_no_held_out():
    recipe = RECIPE.replace(held_out=0)
    model = Transformer(shape())
    result = evaluate(model, Tokenizer(recipe), generate(recipe, split="test", count=5), free=False, **PLAIN)
    assert result.generalizes is None
    assert result.metrics["generalization"] is None
    assert result.metrics["parse_rate"] is None


@pytest.mark.parametrize("layout", ["compact", "reference"])
def test_programs_with_control_flow(layout):
    """The reference programs' own tokens, taken as generated, satisfy their samples."""
    recipe = Recipe.control_flow(height=5, width=5, examples=1, held_out=1, lengths=(2, 3))
    samples = generate(recipe, count=30)
    tokenizer = Tokenizer(recipe, layout=layout)
    tokens = tokenizer.encode(samples)[:, tokenizer.prompt_length :]
    from karel_fast.model.decode import Generated
    from karel_fast.training.written import satisfied

    flags = np.ones(len(tokens), bool)
    made = Generated(tokens, np.zeros((30, 1), np.uint8), np.zeros(30, np.int32), flags, flags, None)
    programs = generated_programs(tokenizer, made)
    assert [programs.program(i) for i in range(30)] == list(samples.programs)
    shown, held_out = satisfied(programs, samples)
    assert shown.all()
    assert held_out.all()
    assert tokenizer.symbols(tokenizer.action_ids) == list(range(len(kf.Action)))
    model = Transformer(shape(tokenizer))
    result = evaluate(model, tokenizer, samples[:4], **PLAIN)
    assert len(result.generated) == 4


def test_data_that_does_not_match(run):
    snapshot = list_snapshots(run)[-1]
    other = RECIPE.replace(seed=5)
    samples = generate(other, split="test", count=3)
    with pytest.raises(ValueError, match="trained with recipe"):
        evaluate(snapshot, Tokenizer(other), samples, **PLAIN)
    evaluate(snapshot, Tokenizer(other), samples, any_recipe=True, **PLAIN)
    with pytest.raises(ValueError, match="trained with layout compact"):
        evaluate(snapshot, Tokenizer(RECIPE, layout="reference"), SAMPLES, **PLAIN)
    control = Recipe.control_flow(height=5, width=5, examples=2, lengths=(1, 2))
    with pytest.raises(ValueError, match="not the same vocabulary"):
        evaluate(snapshot, Tokenizer(control), generate(control, count=2), any_recipe=True, **PLAIN)
    longer = RECIPE.replace(lengths=(1, 9))
    with pytest.raises(ValueError, match="n_positions"):
        evaluate(snapshot, Tokenizer(longer), generate(longer, count=2), any_recipe=True, **PLAIN)
    with pytest.raises(ValueError, match="no sample"):
        evaluate(snapshot, TOKENIZER, SAMPLES[:0], **PLAIN)


def test_a_folder_from_elsewhere(tmp_path):
    to_hf(Transformer(shape()), tmp_path)
    assert evaluate(tmp_path, TOKENIZER, SAMPLES[:3], **PLAIN).metrics["samples"] == 3


def test_ideal_metrics():
    """By brute force: every program of up to the recipe's longest is run on every specification."""
    samples = SAMPLES[:8]
    low, high = RECIPE.lengths
    programs = [codes for length in range(1, high + 1) for codes in itertools.product(range(5), repeat=length)]
    weights = np.array(RECIPE.action_weights) / sum(RECIPE.action_weights)
    inputs, outputs = samples.shown()
    loss, shortest = 0.0, []
    for i in range(len(samples)):
        pair = slice(i * RECIPE.examples, (i + 1) * RECIPE.examples)
        tried = kf.compile([kf.Program.from_actions(codes) for codes in programs])
        each = np.arange(RECIPE.examples)
        many = [np.tile(each + pair.start, len(programs))] * 2
        right = kf.check(tried, inputs[many[0]], outputs[many[1]], semantics=RECIPE.semantics)
        right = right.reshape(len(programs), -1).all(axis=1)
        fitting = [codes for codes, fits in zip(programs, right, strict=True) if fits]
        shortest.append(min(map(len, fitting)))
        prior = {codes: np.prod(weights[list(codes)]) for codes in fitting if len(codes) >= low}
        loss -= np.log(prior[tuple(samples.programs[i].actions)] / sum(prior.values()))
    lengths = np.array([high, -1, *[int(n) for n in samples.lengths[2:]]])
    tokens = int(samples.lengths.sum()) + len(samples)
    solution = kf.exact.solve(samples)
    least = kf.exact.floor(samples, solution)
    metrics = ideal_metrics(samples, solution, least, tokens, lengths)
    assert metrics["floor_loss"] == pytest.approx(loss / tokens)
    assert metrics["floor_perplexity"] == pytest.approx(np.exp(loss / tokens))
    right = lengths >= 0
    assert metrics["excess_length"] == pytest.approx((lengths - shortest)[right].mean())
    assert 0 < metrics["ideal_generalization"] <= 1
    assert ideal_metrics(samples, solution, least, tokens, np.full(8, -1))["excess_length"] is None


def test_divergence_from_the_ideal_reader(run):
    """The model's loss is that of the ideal reader and the divergence, on average over the programs of one specification."""
    model = open_snapshot(list_snapshots(run)[-1], TOKENIZER)
    metrics = evaluate(model, TOKENIZER, SAMPLES, ideal=True, text=False, **PLAIN).metrics
    assert metrics["divergence"] > 0
    assert metrics["solver_accuracy"] == 1
    assert 0 < metrics["solver_generalization"] <= 1
    ids = (*TOKENIZER.action_ids, TOKENIZER.end_id)
    rows = TOKENIZER.encode(SAMPLES)
    settings = {"dtype": torch.float32, "compile_model": False, "batch_size": 25}
    scores = log_probabilities(model, rows, TOKENIZER.prompt_length, ids, **settings)
    solution = kf.exact.solve(SAMPLES)
    tokens = [*zip(*np.nonzero(rows[:, TOKENIZER.prompt_length :] != TOKENIZER.pad_id), strict=True)]
    by_hand = []
    for i, t in tokens:
        ideal = solution.posterior(i, SAMPLES.actions[i, :t].tolist())
        by_hand.append(sum(p * (np.log(p) - scores[i, t, a]) for a, p in enumerate(ideal) if p > 0))
    assert metrics["divergence"] == pytest.approx(np.mean(by_hand))
    for t, mean in enumerate(metrics["divergence_by_position"]):
        assert mean == pytest.approx(
            np.mean([value for value, (_, at) in zip(by_hand, tokens, strict=True) if at == t])
        )
    there = [scores[i, t, ids.index(rows[i, TOKENIZER.prompt_length + t])] for i, t in tokens]
    assert -np.mean(there) == pytest.approx(metrics["loss"], rel=1e-5)


def test_no_divergence_where_actions_are_several_tokens():
    tokenizer = Tokenizer(RECIPE, layout="reference")
    model = Transformer(shape(tokenizer))
    least = kf.exact.floor(SAMPLES[:2])
    assert divergence_metrics(model, tokenizer, SAMPLES[:2], least, compile_model=False)["divergence"] is None


def test_commands(tmp_path):
    app = typer.Typer()
    register(app)
    runner = CliRunner()
    (tmp_path / "recipe.json").write_text(RECIPE.to_json())
    run = tmp_path / "run"
    train_it = [
        "train",
        str(run),
        "--recipe",
        str(tmp_path / "recipe.json"),
        "--layers",
        "1",
        "--width",
        "32",
        "--steps",
        "4",
    ]
    train_it += ["--batch-size", "8", "--snapshot-every", "2", "--no-compile", "--device", "cpu", "--samples", "20"]
    done = runner.invoke(app, train_it, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.strip().endswith("step-000004")
    assert (run / "snapshots" / "step-000004" / "tokenizer.json").is_file()
    assert "tokens/s" in done.stderr
    again = runner.invoke(app, [*train_it, "--resume"], catch_exceptions=False)
    assert again.exit_code == 0
    out = tmp_path / "metrics.json"
    look = [
        "evaluate",
        str(run),
        "--specifications",
        "10",
        "--output",
        str(out),
        "--device",
        "cpu",
        "--no-compile-decoding",
    ]
    shown = runner.invoke(app, look, catch_exceptions=False).stdout
    assert "  satisfied " in shown
    assert max(map(len, shown.splitlines()[1:])) < 80
    done = runner.invoke(app, [*look, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads(out.read_text())
    assert json.loads(done.stdout)["samples"] == 10
    asked = ["--split", "val", "--start", "7", "--ideal", "--no-text", "--no-free", "--precision", "fp32"]
    found = json.loads(runner.invoke(app, [*look, "--json", *asked], catch_exceptions=False).stdout)
    samples = generate(RECIPE, "val", start=7, count=10)
    settings = {**PLAIN, "batch_size": 256}
    wanted = evaluate(
        list_snapshots(run)[-1], TOKENIZER, samples, free=False, ideal=True, text=False, **settings
    ).metrics
    assert {name: found.get(name) for name in wanted} == json.loads(json.dumps(wanted))
    assert "written_loss" not in found
    longest = runner.invoke(app, [*look, "--json", "--shortest", str(RECIPE.lengths[1])], catch_exceptions=False)
    assert json.loads(longest.stdout)["reference_mean_length"] == RECIPE.lengths[1]
    shards = tmp_path / "shards"
    kf.data.write_shards(RECIPE, "train", shards, count=20, shard_size=8)
    other = [str(tmp_path / "disk") if word == str(run) else word for word in train_it]
    done = runner.invoke(app, [*other, "--shards", str(shards)], catch_exceptions=False)
    assert done.exit_code == 0
    ours, theirs = (kf.model.from_hf(tmp_path / name / "snapshots" / "step-000004") for name in ("run", "disk"))
    # All settings are the run's own, unless they are given.
    more = runner.invoke(app, ["train", str(tmp_path / "disk"), "--resume", "--log-every", "1"], catch_exceptions=False)
    assert more.exit_code == 0
    for option, says in (
        ("--lr=0.5", "lr was 0.002"),
        ("--width=64", "the model's width was 32 when it began and is 64 now"),
        ("--samples=7", "number of samples was 20"),
        ("--semantics=flip", "leave out --shards"),
        ("--recipe=paper", "the recipe's examples was 2 when it began and is 5 now"),
    ):
        folder = tmp_path / ("run" if "recipe" in option else "disk")
        with pytest.raises(ValueError, match=says):
            runner.invoke(app, ["train", str(folder), "--resume", option], catch_exceptions=False)
    shards.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match="shards"):
        runner.invoke(app, ["train", str(tmp_path / "disk"), "--resume"], catch_exceptions=False)
    moved = ["train", str(tmp_path / "disk"), "--resume", "--shards", str(tmp_path / "moved")]
    assert runner.invoke(app, moved, catch_exceptions=False).exit_code == 0
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        runner.invoke(app, ["train", str(tmp_path / "nothing"), "--resume"], catch_exceptions=False)
    assert torch.equal(ours.lm_head.weight, theirs.lm_head.weight)  # shards or on the fly, the same rows
    for wrong, error in (
        (["train", str(run), "--recipe", "nothing"], ValueError),
        (["train", str(tmp_path / "new"), "--recipe", str(tmp_path / "absent.json")], OSError),
        (train_it, ValueError),
        (["evaluate", str(tmp_path / "absent")], OSError),
        ([*look, "--shortest", str(RECIPE.lengths[1] + 1)], ValueError),
    ):
        assert isinstance(runner.invoke(app, wrong).exception, error)
