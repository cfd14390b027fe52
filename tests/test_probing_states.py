"""From a snapshot to tables, probes and examples, with a small untrained model."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import typer
from probed_model import RECIPE, SMALL, make_model
from typer.testing import CliRunner

import karel_fast as kf
from karel_fast.cli import probing as probe_commands
from karel_fast.cli import report as report_commands
from karel_fast.data import Samples, Tokenizer, export_jsonl, generate
from karel_fast.karel.language.vocabulary import DIRECTION_NAMES
from karel_fast.model import Capture, Transformer
from karel_fast.probing.ceilings import ceilings_of_rows
from karel_fast.probing.experiments import Grid, Split, gather_rows
from karel_fast.probing.probes.training import ProbeConfig
from karel_fast.probing.snapshot import ProbeRun, is_done, probe_snapshot
from karel_fast.probing.states import SPLIT_NAMES, forced_states, write_table
from karel_fast.probing.table import HiddenTable
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import choose_snapshots, snapshot_path, write_snapshot
from karel_fast.support.checks import InputError
from karel_fast.support.files import read_json
from karel_fast.support.locks import locked


@pytest.fixture(scope="module", params=["compact", "reference"])
def tokenizer(request) -> Tokenizer:
    return Tokenizer(RECIPE, layout=request.param)


@pytest.fixture(scope="module")
def model(tokenizer) -> Transformer:
    return make_model(tokenizer)


def table(path, model, tokenizer, count=20, **options) -> HiddenTable:
    settings = {"compile_model": False, "batch_size": 8, "layers": [0, 1, 2], **options}
    return write_table(path, model, tokenizer, "train", count, **settings)


def test_forced_decoding_gives_the_states_that_decoding_gave(model, tokenizer, tmp_path):
    """Two ways to the same states: captured while writing, and read from the finished text."""
    written = table(tmp_path / "written", model, tokenizer)
    assert written.finished.sum() > 5, "no program ended: this tests nothing"
    again = table(tmp_path / "again", model, tokenizer, same_programs_as=written)
    assert (written.rows, written.layers) == (again.rows, [0, 1, 2])
    for layer in range(3):
        rows = np.arange(written.rows)
        np.testing.assert_allclose(written.hidden(rows, layer), again.hidden(rows, layer), atol=2e-4)


def test_a_killed_table_goes_on(model, tokenizer, tmp_path):
    whole = table(tmp_path / "whole", model, tokenizer, part=8)

    def killed(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table(tmp_path / "killed", model, tokenizer, part=8, progress=killed)
    seen: list[int] = []
    again = table(tmp_path / "killed", model, tokenizer, part=8, progress=seen.append)
    assert seen == [16, 20]
    np.testing.assert_array_equal(whole.actions, again.actions)
    np.testing.assert_array_equal(whole.hidden(np.arange(whole.rows)), again.hidden(np.arange(whole.rows)))


def test_reference_programs_are_all_there_and_right(model, tokenizer, tmp_path):
    found = table(tmp_path, model, tokenizer, programs="reference")
    samples = generate(RECIPE, split="train", start=0, count=20)
    assert found.correct.all()
    assert found.finished.all()
    np.testing.assert_array_equal(found.lengths, samples.lengths)


def test_withheld_outputs_change_the_states_and_only_by_the_outputs(model, tokenizer):
    samples = generate(RECIPE, split="test", start=0, count=6)
    capture = Capture([2])
    options = {"compile_model": False}

    def states(samples: Samples, withhold: str | None) -> np.ndarray:
        return forced_states(
            model, tokenizer, samples, samples.actions, samples.lengths, capture, withhold=withhold, **options
        )

    inputs_twice = Samples(
        RECIPE, samples.split, samples.start, samples.symbols, samples.lengths, samples.inputs, samples.inputs
    )
    np.testing.assert_array_equal(states(samples, "input"), states(inputs_twice, None))
    assert np.abs(states(samples, "input") - states(samples, None)).max() > 1e-3
    np.testing.assert_array_equal(states(samples, "space"), states(inputs_twice, "space"))
    assert np.abs(states(samples, "space") - states(samples, "input")).max() > 1e-3
    with pytest.raises(ValueError, match="withhold 'all'"):
        states(samples, "all")


def test_wrong_requests(model, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="split 'val' is unknown"):
        write_table(tmp_path, model, tokenizer, "val", 3)
    with pytest.raises(ValueError, match="0 programs make no table"):
        table(tmp_path, model, tokenizer, count=0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    tokenizer = Tokenizer(RECIPE)
    for step in (0, 100):
        card = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": "compact"}
        write_snapshot(path, step, make_model(tokenizer, seed=step // 50), card)  # whose programs have several actions
    return path


def test_a_snapshot_from_end_to_end(run):
    stages: list[str] = []
    snapshot = choose_snapshots(run)[-1]
    path = probe_snapshot(
        run,
        snapshot,
        SMALL,
        compile_model=False,
        progress=lambda stage, done, of: stages.append(f"{stage} {done}/{of}"),
    )
    assert path == RunFolder(run).file("probing", 100)
    result = json.loads(path.read_text())
    assert len(result["records"]) == SMALL.grid.size(3, untrained=True)
    assert stages[-1] == f"train probes {len(result['records'])}/{len(result['records'])}"
    assert {r["layer"] for r in result["records"]} == {0, 1, 2}
    examples = json.loads(RunFolder(run).file("examples", 100).read_text())["examples"]
    assert 0 < len(examples) <= 4
    named = 0
    for example in examples:
        for k, read in enumerate(example["reads"]):
            if read and "direction" in read:
                robots = [world["robots"][k + 1] for world in example["worlds"]]
                assert [t[0] for t in read["direction"]["truth"]] == [DIRECTION_NAMES[robot[2]] for robot in robots]
                named += 1
        assert len(example["worlds"]) == RECIPE.examples
        for world in example["worlds"]:
            assert len(world["robots"]) == len(example["actions"]) + 1
            assert [len(world[k]) for k in ("input", "output", "result")] == [5, 5, 5]
        assert example["correct"] == all(w["right"] for w in example["worlds"])
    assert named

    changed = path.stat().st_mtime_ns
    assert is_done(run, 100, SMALL)
    assert probe_snapshot(run, snapshot, SMALL).stat().st_mtime_ns == changed
    assert not is_done(run, 100, replace(SMALL, grid=replace(SMALL.grid, seeds=(0,))))


ASKED = {
    "features": ("direction", "walls_around"), "depths": ("linear",), "offsets": (0, -1), "semantics": ("original", "map8"),
    "seeds": (0, 1), "programs": {"train": 60, "validation": 20, "test": 20}, "least_steps": 20,
}  # fmt: skip


@pytest.mark.parametrize("protocol", ["paper-grid", "paper"])
def test_the_published_protocol(tmp_path, protocol):
    """In a folder of its own, with specifications of every length and programs that were cut off."""
    tokenizer = Tokenizer(RECIPE)
    card = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": "compact"}
    # A model that seldom ends a program in time.
    snapshot = write_snapshot(tmp_path, 100, make_model(tokenizer, seed=6), card)
    asked = ProbeRun.of(protocol=protocol, epochs=2, **ASKED)
    run = tmp_path
    path = probe_snapshot(run, snapshot, asked, compile_model=False)
    assert path == RunFolder(run).file(protocol, 100)
    assert not RunFolder(run).pieces(protocol, 100).exists()
    result = json.loads(path.read_text())
    assert len(result["records"]) == asked.grid.size(1) == 2 * 2 * 2 * 2
    assert result["grid"]["worlds"] == "first"
    assert ("best_on_test" in result["records"][0]) == (protocol == "paper")
    table = HiddenTable(RunFolder(run).table(100, "test-20-shortest-1-unfinished"))
    assert table.rows == table.lengths.sum()
    assert not table.finished.all()
    # Once more: no byte differs.
    content = path.read_bytes()
    path.unlink()
    assert probe_snapshot(run, snapshot, asked, compile_model=False).read_bytes() == content


def test_a_protocol_gives_way_to_what_is_given():
    asked = ProbeRun.of(protocol="paper", epochs=6, seeds=(3,), semantics=("original", "flip"))
    assert (asked.config.epochs, asked.grid.seeds, asked.grid.semantics) == (6, (3,), ("original", "flip"))
    assert (asked.config.normalization, asked.grid.worlds, asked.shortest) == ("batch", "first", 1)
    # In Python, a part is given whole.
    assert ProbeRun(protocol="paper", config=ProbeConfig()).config == ProbeConfig()
    assert ProbeRun(protocol="paper") == ProbeRun.of(protocol="paper")
    with pytest.raises(InputError, match="protocol is 'papers'; did you mean 'paper'"):
        ProbeRun.of(protocol="papers")
    with pytest.raises(ValueError, match="leave out protocol 'paper', or closer"):
        ProbeRun(protocol="paper", closer=True)
    with pytest.raises(ValueError, match="leave out programs_from, or protocol"):
        ProbeRun(protocol="paper-grid", programs_from="reference")


def test_settings_that_came_later_do_not_undo_old_results():
    """What is stored of an experiment with defaults is what versions before them stored."""
    stored = SMALL.to_json()
    assert not {"protocol", "shortest", "pieces"} & stored.keys()
    assert not {"worlds", "unfinished"} & stored["grid"].keys()
    assert not {"schedule", "normalization", "best_on_test"} & stored["config"].keys()
    assert replace(SMALL, config=replace(SMALL.config, schedule="exponential")).to_json() != stored


def write_file(path, *parts: Samples) -> str:
    """One file of all these specifications."""
    texts = []
    for samples in parts:
        export_jsonl(samples, path)
        texts.append(path.read_text())
    path.write_text("".join(texts))
    return str(path)


def test_specifications_of_a_file(run, tmp_path):
    """A file that holds what the recipe would have drawn: the same results, in a place of their own."""
    asked = replace(SMALL, layers="mean", untrained=False, examples=0)
    snapshot = choose_snapshots(run)[0]
    drawn = read_json(probe_snapshot(run, snapshot, asked, compile_model=False))
    parts = [generate(RECIPE, split, 0, asked.programs[name]) for name, split in SPLIT_NAMES.items()]
    own = replace(asked, specifications=write_file(tmp_path / "own.jsonl", *parts))
    path = probe_snapshot(run, snapshot, own, compile_model=False)
    assert path != RunFolder(run).file("probing", 0)
    assert read_json(path)["records"] == drawn["records"]
    assert is_done(run, 0, own)
    # Others of the file: a file's content decides, not its name.
    write_file(tmp_path / "own.jsonl", *reversed(parts))
    assert not is_done(run, 0, own)
    few = replace(own, specifications=write_file(tmp_path / "few.jsonl", parts[1]))
    with pytest.raises(InputError, match=r"holds 20 .* asks for 100, .* --programs train=18,validation=1,test=1"):
        probe_snapshot(run, snapshot, few, compile_model=False)
    small = generate(replace(RECIPE, height=4), "test", 0, 3)
    with pytest.raises(InputError, match="worlds of 4 x 5 cells; the model reads 5 x 5"):
        probe_snapshot(
            run, snapshot, replace(own, specifications=write_file(tmp_path / "small.jsonl", small)), compile_model=False
        )
    with pytest.raises(ValueError, match="ideal is about the recipe's own specifications"):
        replace(own, ideal=True)


def test_probes_are_saved_where_they_are_asked_for(run):
    asked = replace(SMALL, layers="mean", untrained=False, examples=0, test_start=7)
    snapshot = choose_snapshots(run)[0]
    path = probe_snapshot(run, snapshot, asked, compile_model=False)
    saved = path.with_suffix(".safetensors")
    assert not saved.exists()
    content = path.read_bytes()
    assert probe_snapshot(run, snapshot, asked, compile_model=False, save_probes=True) == path
    records = read_json(path)["records"]
    assert records == json.loads(content)["records"]
    trained = [record for record in records if record["epoch"] is not None]  # the others had no rows
    assert [probe.record for probe in kf.probing.load_probes(path)] == trained != []
    assert set(read_json(path)["files"]) == {saved.name, "step-000000.npz"}
    saved.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        kf.probing.load_probes(path)
    app = typer.Typer()
    probe_commands.register(app)
    wrong = CliRunner().invoke(app, [str(run), "--save-probes", "--pieces"])
    assert "leave out --pieces" in str(wrong.exception)


def test_no_specification_is_as_long_as_asked(run):
    asked = replace(SMALL, shortest=RECIPE.lengths[1] + 1)
    with pytest.raises(ValueError, match="at most 5 actions"):
        probe_snapshot(run, choose_snapshots(run)[-1], asked, compile_model=False)


def test_ideal_readers_of_the_first_world_are_asked_of_no_other(tmp_path):
    """Labels of the first world alone, and of all worlds with those of the others masked: the same ceilings."""
    tokenizer = Tokenizer(RECIPE)
    table = write_table(tmp_path / "t", make_model(tokenizer, seed=2), tokenizer, "test", 20, compile_model=False)
    samples = generate(RECIPE, split="test", start=0, count=20)
    grid = Grid(features=("direction",), offsets=(0,), semantics=("original", "flip"), seeds=(0,))
    every = gather_rows(Split(table, samples.shown()[0]), grid, "test", 999)
    masked = {key: np.where(np.arange(2)[:, None] == 0, labels, -1) for key, labels in every.labels.items()}
    first = {key: labels[:, :1] for key, labels in every.labels.items()}
    pool = generate(RECIPE, split="train", start=0, count=20)
    answers = [
        ceilings_of_rows(samples, pool, table, every.sample, every.action, labels, last_state=False, doubt=0.5)
        for labels in (masked, first, every.labels)
    ]
    assert answers[0] == answers[1] != answers[2]


def test_records_say_what_ideal_readers_know(tmp_path):
    tokenizer = Tokenizer(RECIPE)
    card = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": "compact"}
    snapshot = write_snapshot(tmp_path, 100, make_model(tokenizer, seed=1), card)
    grid = replace(SMALL.grid, features=("direction", "walls_around", "steps_left"), offsets=(-1, 0), seeds=(0,))
    ideal = replace(SMALL, grid=grid, layers="mean", ideal=True)
    result = json.loads(probe_snapshot(tmp_path, snapshot, ideal, compile_model=False).read_text())
    assert is_done(tmp_path, 100, ideal)
    assert not is_done(tmp_path, 100, replace(ideal, ideal=False))
    assert "ideal" not in SMALL.to_json(), "results from before the setting are still results of the same experiment"
    assert any(note.startswith("steps_left: no ceiling") for note in result["notes"])
    known = [r for r in result["records"] if "ceiling_both_accuracy" in r]
    wanted = {(f, o, s) for f in ("direction", "walls_around") for o in (-1, 0) for s in ("original", "flip")}
    assert {(r["feature"], r["offset"], r["semantics"]) for r in known} == wanted
    assert {r["labels"] for r in known} == {"true"}
    for record in known:
        if record["offset"] < 0:
            assert record["ceiling_both_accuracy"] == 1
            assert record["ceiling_both_bits"] == pytest.approx(record["entropy"])
            assert record["lift_share"] == pytest.approx(record["normalised"])
        assert record["ceiling_specification_accuracy"] <= 1
        assert record["ceiling_prefix_bits"] <= record["entropy"]


def test_the_runs_own_settings_take_their_place(tmp_path):
    """Asking moves nothing; probing moves what others asked for aside, whole."""
    card = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": "compact"}
    snapshot = write_snapshot(tmp_path, 100, make_model(Tokenizer(RECIPE), seed=1), card)
    explored = probe_snapshot(tmp_path, snapshot, SMALL, compile_model=False)
    content, sums = explored.read_bytes(), explored.with_suffix(".npz").read_bytes()
    own = replace(SMALL, grid=replace(SMALL.grid, seeds=(5,)))
    assert not is_done(tmp_path, 100, own, own=True)
    assert explored.read_bytes() == content
    assert probe_snapshot(tmp_path, snapshot, own, own=True, compile_model=False) == explored
    assert is_done(tmp_path, 100, own, own=True)
    assert is_done(tmp_path, 100, SMALL)
    (aside,) = explored.parent.glob("settings-*/step-000100.json")
    assert (aside.read_bytes(), aside.with_suffix(".npz").read_bytes()) == (content, sums)


def test_two_processes_do_not_probe_one_snapshot(run):
    snapshot = choose_snapshots(run)[0]
    lock = RunFolder(run).file("probing", 0).parent / ".step-000000.lock"
    lock.parent.mkdir(exist_ok=True)
    with locked(lock), pytest.raises(BlockingIOError, match=r"step-000000\.json: another process is making these"):
        probe_snapshot(run, snapshot, SMALL, compile_model=False)
    assert probe_snapshot(run, snapshot, SMALL, compile_model=False).exists()


def test_other_weights_are_not_taken_for_those_probed(tmp_path):
    tokenizer = Tokenizer(RECIPE)
    card = {"recipe": RECIPE.to_json(), "recipe_hash": RECIPE.hash, "layout": "compact"}
    snapshot = write_snapshot(tmp_path, 100, make_model(tokenizer, seed=1), card)
    probe_snapshot(tmp_path, snapshot, SMALL, compile_model=False)
    assert is_done(tmp_path, 100, SMALL)
    write_snapshot(tmp_path, 100, make_model(tokenizer, seed=2), card)
    assert not is_done(tmp_path, 100, SMALL)
    with pytest.raises(ValueError, match="holds a table with source"):
        probe_snapshot(tmp_path, snapshot, SMALL, compile_model=False)


def test_commands(run):
    app = typer.Typer()
    probe_commands.register(app)
    report_commands.register(app)
    args = [
        "probe", str(run), "--step", "0", "--programs", "train=60,validation=20,test=20", "--depths", "linear",
        "--offsets", "0", "--seeds", "0", "--epochs", "1", "--examples", "2", "--no-compile-decoding", "--precision", "fp32",
        "--semantics", "original,turn_left>move",
    ]  # fmt: skip
    done = CliRunner().invoke(app, args, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.strip().endswith("step-000000.json")
    done = CliRunner().invoke(app, ["report", str(run)], catch_exceptions=False)
    assert "report.html" in done.stdout
    for extra, message in (
        (["--step", "7"], "no snapshot of step 7; it has 0, 100"),
        (["--depths", "mlp9"], "depth is 'mlp9'; did you mean 'mlp2'"),
        (["--offsets", "a"], "--offsets 'a' cannot be read: give a value like comma-separated integers"),
        (["--engine", "slurm"], "--engine is 'slurm'"),
        (["--features", "speed"], "unknown feature 'speed'"),
        (["--semantics", "original,move>fly"], "names no action"),
        (["--batch-size", "0"], "batch_size is 0; give a whole number of at least 1"),
        (["--decode-batch-size", "0"], "decode_batch_size is 0"),
        (["--max-rows", "train=0,validation=1,test=1"], "max_rows.train is 0"),
        (["--address", "auto"], "give --engine ray too"),
    ):
        with pytest.raises(ValueError, match=message):
            CliRunner().invoke(app, ["probe", str(run), *extra], catch_exceptions=False)
    with pytest.raises(ValueError, match="holds no snapshot"):
        choose_snapshots(run / "report")
    assert snapshot_path(run, 0).is_dir()


def test_latent_commands(run):
    app = typer.Typer()
    probe_commands.register(app)
    report_commands.register(app)  # with one command alone there is no name to call it by
    args = [
        "probe", str(run), "--step", "100", "--programs", "train=60,validation=20,test=20", "--depths", "linear",
        "--offsets", "0", "--seeds", "0", "--epochs", "1", "--no-compile-decoding", "--precision", "fp32", "--semantics",
        "original,map8", "--programs-from", "reference", "--withhold", "space", "--actions", "train=0+1,validation=2+3,test=2+3",
    ]  # fmt: skip
    done = CliRunner().invoke(app, args, catch_exceptions=False)
    assert done.stdout.strip().endswith("latent/space/step-000100.json")
    result = json.loads(RunFolder(run).file("latent/space", 100).read_text())
    assert all(r["accuracy"] is not None for r in result["records"])
    assert {r["semantics"] for r in result["records"]} == {"original", "map8"}
    with pytest.raises(ValueError, match="a closer look is at programs that the model writes"):
        CliRunner().invoke(app, ["probe", str(run), "--programs-from", "reference", "--closer"], catch_exceptions=False)
    probed = RunFolder(run).file("probing", 100)
    before = probed.read_bytes() if probed.exists() else None
    args = [*args[: args.index("--semantics")], "--closer"]
    done = CliRunner().invoke(app, args, catch_exceptions=False)
    assert done.stdout.strip().endswith("closer/step-000100.json")
    assert (probed.read_bytes() if probed.exists() else None) == before
    with pytest.raises(ValueError, match="outputs are withheld; use the reference"):
        CliRunner().invoke(app, ["probe", str(run), "--withhold", "input"], catch_exceptions=False)
