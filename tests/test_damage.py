"""Damage in a run's files is found before it is used; models whose numbers are not finite are not evaluated."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import tiny_config, tiny_model, tiny_rows

from karel_fast import cli
from karel_fast.data import Recipe, Tokenizer, generate
from karel_fast.model import Transformer, from_hf, model_config, to_hf
from karel_fast.probing.table import HiddenTable, TableWriter
from karel_fast.runs.snapshots import list_snapshots, open_snapshot, read_resume, write_snapshot
from karel_fast.runs.verifying import verify_folder
from karel_fast.support.checks import NotFiniteError
from karel_fast.support.checksums import DamagedFile
from karel_fast.support.files import read_json, read_json_if_whole, write_json
from karel_fast.training import TrainConfig, train
from karel_fast.training.evaluate import evaluate

RECIPE = Recipe(height=5, width=5, examples=2, held_out=1, lengths=(2, 3))
TOKENIZER = Tokenizer(RECIPE)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    config = TrainConfig(steps=2, batch_size=2, snapshot_every=2, compile=False, precision="fp32", device="cpu")
    train(config, tiny_config(layers=1), tiny_rows, run, pad_id=0)
    write_json(run / "evaluation" / "step-000002.json", {"step": 2, "generative_accuracy": 0.5})
    table = TableWriter(run / "tables" / "test", width=4, layers=(0,), max_actions=3, identity={})
    table.append(
        np.zeros((9, 3), np.uint8), np.full(9, 3), np.ones(9, bool), np.ones(9, bool), np.ones((9, 3, 4), np.float32)
    )
    table.close()
    return run


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def flips(path: Path, count: int = 60):
    """The file with one bit flipped, in `count` places spread over all of it; whole again afterwards."""
    good = path.read_bytes()
    for at in np.linspace(0, len(good) - 1, count).astype(int):
        content = bytearray(good)
        content[at] ^= 1 << (at % 8)
        path.write_bytes(content)
        yield
    path.write_bytes(good)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_every_flip_in_a_snapshot_is_found(run, name):
    snapshot = list_snapshots(run)[-1]
    for _ in flips(snapshot / name):
        with pytest.raises(DamagedFile, match=rf"{name}: does not match its checksum"):
            from_hf(snapshot)
    from_hf(snapshot)


def test_every_flip_in_a_card_is_found(run):
    snapshot = list_snapshots(run)[-1]
    good = read_json(snapshot / "karel_fast.json")
    for _ in flips(snapshot / "karel_fast.json"):
        found = read_json_if_whole(snapshot / "karel_fast.json")
        assert found is None or found.items() >= good.items()


def test_every_flip_in_the_state_of_training_is_found(run):
    right = read_resume(run)
    refused = 0
    for _ in flips(run / "resume.safetensors", 200):
        try:
            state = read_resume(run)
        except ValueError:
            refused += 1
            continue
        # A flip in the white space of its head changes nothing.
        assert (state.step, state.seconds, state.card) == (right.step, right.seconds, right.card)
        for some, others in ((state.weights, right.weights), (state.optimizer, right.optimizer)):
            assert some.keys() == others.keys()
            assert all(torch.equal(some[name], others[name]) for name in others)
    assert refused > 150


@pytest.mark.parametrize("name", ["hidden", "actions", "lengths", "correct", "finished"])
def test_every_flip_in_a_table_is_found(run, name):
    path = run / "tables" / "test" / "part-00000" / f"{name}.npy"
    for _ in flips(path):
        table = HiddenTable(run / "tables" / "test")
        with pytest.raises(ValueError, match=rf"{name}\.npy: cannot be read .*checksum"):
            table.hidden(np.arange(3)) if name == "hidden" else getattr(table, name)
    assert HiddenTable(run / "tables" / "test").hidden(np.arange(3)).tolist() == [[1.0] * 4] * 3


def test_a_table_with_arrays_of_another_shape(run):
    path = run / "tables" / "test"
    np.save(path / "part-00000" / "actions.npy", np.zeros((9, 2), np.uint8))
    head = read_json(path / "table.json")
    write_json(path / "table.json", {**head, "files": {}})
    with pytest.raises(ValueError, match=r"actions\.npy: holds uint8 \(9, 2\), the table uint8 \(9, 3\)"):
        _ = HiddenTable(path).actions


def test_files_without_checksums_are_read(run):
    """Those of earlier versions."""
    snapshot = list_snapshots(run)[-1]
    card = read_json(snapshot / "karel_fast.json")
    del card["files"]
    (snapshot / "karel_fast.json").write_text(json.dumps(card))
    from_hf(snapshot)
    table = run / "tables" / "test"
    head = read_json(table / "table.json")
    del head["files"]
    (table / "table.json").write_text(json.dumps(head))
    assert HiddenTable(table).actions.shape == (9, 3)
    tensors, metadata = load_file(run / "resume.safetensors"), read_resume(run)
    about = {"step": "2", "seconds": "1.0", "card": json.dumps(metadata.card)}
    save_file(tensors, run / "resume.safetensors", metadata=about)
    assert read_resume(run).step == 2
    found = verify_folder(run)
    assert found.problems == []
    names = {str(path.relative_to(run)) for path in found.unsealed}
    assert {"resume.safetensors", "snapshots/step-000002/model.safetensors", "tables/test/table.json"} <= names


def test_a_run_is_verified(run):
    found = verify_folder(run)
    assert (found.problems, found.unsealed) == ([], [])
    files = [path for path in run.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    assert found.right == len([path for path in files if path.name != ".training.lock"])


def test_everything_wrong_with_a_run_is_named(run, monkeypatch, capsys):
    (run / "evaluation" / "step-000002.json").write_text('{"step": 2, "generative_accuracy": 1.5, "sha256": "0"}')
    (run / "tables" / "test" / "part-00000" / "lengths.npy").unlink()
    (run / "snapshots" / "step-000002" / "config.json").write_text("{}")
    (run / "resume.safetensors").write_bytes(b"half")
    (run / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes()[:-5])
    monkeypatch.setattr("sys.argv", ["karel-fast", "verify", str(run)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    for name in ("step-000002.json", "lengths.npy: missing", "config.json", "resume.safetensors", "metrics.jsonl line"):
        assert sum(name in line for line in lines) == 1, name


def test_verify_of_what_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="neither shards nor anything of a run"):
        verify_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        verify_folder(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="file: a file; name its folder"):
        verify_folder(tmp_path / "file")


# -- hostile snapshots ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_layer": 10**9}, "n_layer is 1000000000"),
        ({"n_layer": 4000}, "n_layer is 4000"),
        ({"n_layer": -1}, "n_layer is -1"),
        ({"n_layer": "two"}, "n_layer is 'two'"),
        ({"n_positions": 10**12}, "n_positions is"),
        ({"vocab_size": 10**12}, "vocab_size is"),
        ({"vocab_size": None}, "vocab_size is None"),
        ({"n_head": 2.5}, "n_head is 2.5"),
        ({"n_embd": [32]}, r"n_embd is \[32\]"),
        ({"rotary_dim": True}, "rotary_dim is True"),
        ({"resid_pdrop": "none"}, "resid_pdrop is 'none'"),
        ({"activation_function": 3}, "activation_function"),
        ({"model_type": ["codegen"]}, "model_type"),
        ({"n_head": 3}, r"heads \(n_head\) is 3"),
        ({"n_embd": 33}, r"width \(n_embd\) is 33; use a multiple of heads \(n_head\), 4"),
    ],
)
def test_a_hostile_config_is_one_line(tmp_path, changes, says):
    to_hf(tiny_model(layers=1), tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**fields, **changes}))
    with pytest.raises(ValueError, match=rf"{re.escape(str(tmp_path))}.*{says}"):
        from_hf(tmp_path)


@pytest.mark.parametrize(
    "index",
    [
        {"weight_map": {"x": "../secret.safetensors"}}, {"weight_map": {"x": "/secret.safetensors"}}, {"weight_map": [1]},
        {"weight_map": {"a": 5}}, {"weight_map": {"a": []}}, {"weight_map": {"a": "."}}, {"weight_map": {}}, {},
        {"weight_map": {"a": "model.bin"}},
    ],
)  # fmt: skip
def test_an_index_names_files_beside_it_only(tmp_path, index):
    to_hf(tiny_model(layers=1), tmp_path / "snapshot")
    (tmp_path / "snapshot" / "model.safetensors").rename(tmp_path / "secret.safetensors")
    (tmp_path / "snapshot" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"index\.json: names"):
        from_hf(tmp_path / "snapshot")


# -- numbers that are not finite --------------------------------------------------------------------------------------


def model(scale: float) -> Transformer:
    torch.manual_seed(0)
    made = Transformer(
        model_config(
            TOKENIZER.vocab_size,
            TOKENIZER.sequence_length,
            layers=1,
            width=32,
            heads=4,
            prompt_length=TOKENIZER.prompt_length,
            pad_id=TOKENIZER.pad_id,
            end_id=TOKENIZER.end_id,
        )
    )
    with torch.no_grad():
        made.lm_head.weight.mul_(scale)
    return made


def test_weights_that_are_no_numbers_are_not_evaluated():
    samples = generate(RECIPE, "test", 0, 4)
    with pytest.raises(NotFiniteError, match=r"the model: the weights lm_head\.weight are not finite"):
        evaluate(model(float("nan")), TOKENIZER, samples, compile_model=False, device="cpu")
    largest = model(3e38)
    with torch.no_grad():
        largest.lm_head.weight.mul_(20)  # finite, and too large for the sums of a product
    with pytest.raises(NotFiniteError, match="its loss is not finite"):
        evaluate(largest, TOKENIZER, samples, compile_model=False, device="cpu")
    assert evaluate(model(3e38), TOKENIZER, samples, compile_model=False, device="cpu").metrics["loss"] > 1e36


def test_a_perplexity_beyond_all_numbers_is_null():
    metrics = evaluate(model(1e5), TOKENIZER, generate(RECIPE, "test", 0, 4), compile_model=False, device="cpu").metrics
    assert metrics["loss"] > 709.8
    assert metrics["perplexity"] is None
    json.dumps(metrics, allow_nan=False)


def test_the_command_says_not_finite_and_exits_with_1(tmp_path, monkeypatch, capsys):
    card = {"recipe": RECIPE.to_json(), "layout": "compact"}
    snapshot = write_snapshot(tmp_path, 1, model(float("nan")), card, TOKENIZER)
    open_snapshot(snapshot, TOKENIZER)
    monkeypatch.setattr("sys.argv", ["karel-fast", "evaluate", str(snapshot), "--specifications", "4"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    assert (end.value.code, captured.out) == (1, "")
    assert captured.err == (
        f"karel-fast: {snapshot}: the weights lm_head.weight are not finite; its training has diverged\n"
    )
