"""The model as interpreter: its rows, its scores the long way round, and a whole run of one."""

import json

import numpy as np
import pytest
import torch
from evaluated_model import PLAIN, shape
from grammar_walk import walk
from hypothesis import given, settings
from rich.console import Console
from test_data_recipe import recipes

from karel_fast.analysis.series import Run
from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.data.tokens.interpreter import InterpreterTokenizer, make_tokenizer
from karel_fast.experiment.preset import load_preset
from karel_fast.experiment.reproduce import reproduce
from karel_fast.karel.backends import available_backends
from karel_fast.model import Transformer
from karel_fast.probing.settings import ProbeRun
from karel_fast.probing.snapshot import probe_snapshot
from karel_fast.report.interpreter_figure import interpreter_plot
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import list_snapshots
from karel_fast.support.checks import InputError, NotFiniteError
from karel_fast.training.evaluate import evaluate
from karel_fast.training.interpret import interpret
from karel_fast.training.targets import loss_sum

RECIPE = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(1, 3))
TOKENIZER = InterpreterTokenizer(RECIPE)
SAMPLES = generate(RECIPE, "test", 0, 40)


@given(recipe=recipes())
@settings(max_examples=20)
def test_rows_are_the_compact_ones_in_another_order(recipe):
    samples = generate(recipe, "train", 3, 8)
    ours, plain = InterpreterTokenizer(recipe), Tokenizer(recipe)
    rows, theirs = ours.encode(samples), plain.encode(samples)
    assert rows.shape == theirs.shape
    for backend in available_backends():
        np.testing.assert_array_equal(ours.encode(samples, backend=backend), rows)
    np.testing.assert_array_equal(ours.generate("train", 3, 8), rows)
    np.testing.assert_array_equal(ours.encode_prompts(samples), rows[:, : ours.prompt_length])
    np.testing.assert_array_equal(rows[:, ours.cell_positions], theirs[:, plain.cell_positions])
    assert ours.cell_positions[:, 0].max() < ours.prompt_length <= ours.cell_positions[:, 1].min()
    world = (recipe.height - 2) * (recipe.width - 2) + 1
    inputs = recipe.examples * world
    np.testing.assert_array_equal(rows[:, inputs : ours.prompt_length], theirs[:, 2 * inputs :])
    heads = [ours.tokens[t] for t in rows[0, ours.prompt_length :: world]]
    assert heads == ["output"] * recipe.examples
    if recipe.straight_line:
        positions = ours.action_positions(samples)
        used = positions >= 0
        predicted = np.take_along_axis(rows, np.where(used, positions + 1, 0), axis=1)
        np.testing.assert_array_equal(np.array(ours.action_ids)[samples.actions[used]], predicted[used])


def test_the_grammar_is_of_outputs():
    grammar, rows = TOKENIZER.grammar(), TOKENIZER.encode(SAMPLES)
    for row in rows:
        state = walk(grammar, row[TOKENIZER.prompt_length :])
        assert grammar.allowed[state].nonzero()[0].tolist() == [TOKENIZER.pad_id]
    choices = grammar.allowed[:-1].sum(axis=1)
    assert choices.tolist() == ([1] + [len(TOKENIZER.cell_ids)] * 9) * 2


def random_model(std=0.3):
    torch.manual_seed(0)
    model = Transformer(shape(TOKENIZER))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model.eval()


def test_scores_the_long_way_round():
    model = random_model()
    metrics = interpret(model, TOKENIZER, SAMPLES, **PLAIN)
    rows, first, low = TOKENIZER.encode(SAMPLES).astype(np.int64), TOKENIZER.prompt_length, TOKENIZER.cell_ids.start
    inputs, outputs = SAMPLES.shown()
    before, after = [
        ["".join(line[1:-1] for line in text.split("\n")[1:-1]) for text in worlds.to_text()]
        for worlds in (inputs, outputs)
    ]
    written, best, loss = [], [], []
    with torch.no_grad():
        for row in rows:
            tokens = torch.from_numpy(row[None])
            log = torch.log_softmax(model(tokens)[0, :-1].double(), -1)
            mine = row[:first].tolist()
            for place in range(first, len(row)):
                if (place - first) % 10 == 0:
                    mine.append(int(row[place]))  # the word "output"
                    continue
                logits = model(torch.tensor([mine]))[0, -1]
                mine.append(low + int(logits[low : TOKENIZER.cell_ids.stop].argmax()))
                best.append(low + int(log[place - 1, low : TOKENIZER.cell_ids.stop].argmax()))
                loss.append(-float(log[place - 1, row[place]]))
            written += ["".join(TOKENIZER.tokens[t] for t in mine[first + 1 + s : first + 10 + s]) for s in (0, 10)]
    guessed = ["".join(TOKENIZER.tokens[t] for t in best[i : i + 9]) for i in range(0, len(best), 9)]

    def cells(texts, only_changed=False):
        triples = [c for three in zip(texts, before, after, strict=True) for c in zip(*three, strict=True)]
        return np.mean([mine == true for mine, old, true in triples if old != true or not only_changed])

    for prefix, texts in (("", written), ("teacher_", guessed), ("copy_", before)):
        assert metrics[prefix + "cell_accuracy"] == pytest.approx(cells(texts))
        assert metrics[prefix + "world_accuracy"] == np.mean([a == b for a, b in zip(texts, after, strict=True)])
        if prefix != "copy_":
            assert metrics[prefix + "changed_cell_accuracy"] == pytest.approx(cells(texts, only_changed=True))
    pairs = [a == b for a, b in zip(before, after, strict=True)]
    assert metrics["copy_specification_accuracy"] == np.mean([pairs[i] and pairs[i + 1] for i in range(0, 80, 2)])
    assert metrics["output_loss"] == pytest.approx(np.reshape(loss, (40, 2, 9)).mean(axis=(0, 2)).tolist(), rel=1e-4)
    everything = "".join(after)
    assert metrics["frequent_cell_accuracy"] == max(map(everything.count, set(everything))) / len(everything)
    by = metrics["by_program_length"]
    assert list(by) == ["1", "2", "3"]
    assert sum(cell["worlds"] for cell in by.values()) == 80
    assert sum(cell["correct"] for cell in by.values()) == metrics["world_accuracy"] * 80
    assert sum(cell["copied"] for cell in by.values()) == sum(pairs)
    assert json.loads(json.dumps(metrics)) == metrics


def test_nothing_changes_and_control_flow():
    recipe = Recipe.control_flow(height=5, width=5, examples=1, lengths=(2, 3))
    tokenizer = InterpreterTokenizer(recipe)
    metrics = interpret(Transformer(shape(tokenizer)), tokenizer, generate(recipe, "test", 0, 6), **PLAIN)
    assert metrics["samples"] == 6
    still = generate(RECIPE, "test", 0, 40)
    same = type(still)(RECIPE, "test", 0, still.symbols, still.lengths, still.inputs, still.inputs)
    metrics = interpret(random_model(), TOKENIZER, same, **PLAIN)
    assert metrics["changed_cell_accuracy"] is None
    assert metrics["copy_world_accuracy"] == 1
    assert metrics["copy_output_loss"] == pytest.approx(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interpreter")
    preset = folder / "small.toml"
    preset.write_text(
        'layout = "interpreter"\n'
        "[recipe]\nheight = 5\nwidth = 5\nexamples = 2\nheld_out = 1\nlengths = [1, 3]\n"
        "[model]\nlayers = 1\nwidth = 32\nheads = 4\n"
        '[training]\nsteps = 6\nbatch_size = 8\nsnapshot_every = 3\nwarmup = 1\nloss = "outputs"\ncompile = false\n'
        'device = "cpu"\n'
        '[decoding]\ncompile_decoding = false\ndevice = "cpu"\n'
        "[evaluation]\nspecifications = 20\n"
    )
    console = Console(quiet=True)
    page = reproduce(load_preset(str(preset)), folder / "run", console)
    return folder / "run", page


def test_a_whole_run(run):
    folder, page = run
    evaluations = RunFolder(folder).read_all("evaluation")
    assert list(evaluations) == [0, 3, 6]
    assert all("world_accuracy" in evaluation for evaluation in evaluations.values())
    plot = interpreter_plot(Run.read(RunFolder(folder)))
    assert plot.rows[-1][1] == evaluations[6]["cell_accuracy"]
    text = page.read_text()
    assert "Output worlds right" in text
    assert "no accuracy at" not in text


def test_commands(run, tmp_path, cli):
    folder, _ = run
    words = ["evaluate", folder, "--specifications", "20", "--device", "cpu", "--no-compile-decoding", "--json"]
    kept = RunFolder(folder).read_all("evaluation")[6]
    assert json.loads(cli(*words)[1])["cell_accuracy"] == kept["cell_accuracy"]
    for wrong, says in (
        ((*words, "--layout", "compact"), "trained with layout interpreter"),
        ((*words, "--draws", "2"), "draws is about programs"),
        (("train", tmp_path / "new", "--layout", "interpretr"), "layout is 'interpretr'; did you mean 'interpreter'"),
    ):
        code, _, error = cli(*wrong)
        assert (code, error.count("\n")) == (2, 1)
        assert says in error
    changed = load_preset(str(folder.parent / "small.toml"), {"evaluation": {"ideal": True}})
    with pytest.raises(InputError, match="ideal is about programs"):
        reproduce(changed, tmp_path / "other", Console(quiet=True))
    assert not (tmp_path / "other").exists()


def test_what_needs_programs_says_so(run):
    folder, _ = run
    snapshot = list_snapshots(folder)[-1]
    with pytest.raises(ValueError, match="writes outputs, not programs"):
        evaluate(snapshot, TOKENIZER, SAMPLES, **PLAIN)
    with pytest.raises(InputError, match="writes outputs, not programs"):
        probe_snapshot(folder, snapshot, ProbeRun())
    with pytest.raises(ValueError, match="no sample"):
        interpret(snapshot, TOKENIZER, SAMPLES[:0], **PLAIN)
    other = RECIPE.replace(seed=5)
    with pytest.raises(ValueError, match="trained with recipe"):
        interpret(snapshot, InterpreterTokenizer(other), generate(other, "test", 0, 2), **PLAIN)
    assert make_tokenizer(RECIPE, "reference").layout == "reference"


def test_a_model_that_is_not_finite_has_no_scores():
    model = Transformer(shape(TOKENIZER))
    torch.nn.init.constant_(model.lm_head.bias, torch.nan)
    with pytest.raises(NotFiniteError, match="weights lm_head"):
        interpret(model, TOKENIZER, SAMPLES, **PLAIN)


def test_what_is_trained_is_what_is_scored():
    """A model that has learnt a few rows by heart writes their outputs without a mistake."""
    few = SAMPLES[:4]
    rows = torch.from_numpy(TOKENIZER.encode(few).astype(np.int64))
    torch.manual_seed(0)
    model = Transformer(shape(TOKENIZER))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss = loss_sum(model, rows, TOKENIZER.prompt_length - 1, TOKENIZER.pad_id) / rows.numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    metrics = interpret(model, TOKENIZER, few, **PLAIN)
    assert metrics["specification_accuracy"] == metrics["teacher_cell_accuracy"] == 1 > metrics["copy_cell_accuracy"]
    assert max(metrics["output_loss"]) < 0.1
