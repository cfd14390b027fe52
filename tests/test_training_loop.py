"""The training loop: the right loss and gradient, exact resume, whole snapshots, and a clear stop when it diverges."""

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_model import PAD, PROMPT, VOCABULARY, losses, tiny_config, tiny_model, tiny_rows, tiny_tokens
from tiny_training import BASE, go, weights
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from karel_fast.data import Recipe, Tokenizer
from karel_fast.data.sampling.active_examples import ActiveExamples
from karel_fast.model import Transformer, model_config
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import list_snapshots, read_card, read_resume, write_resume
from karel_fast.training import TrainConfig, TrainingDiverged, train
from karel_fast.training.targets import loss_sum


@pytest.mark.parametrize("first", [0, PROMPT - 1])
def test_loss_is_the_mean_over_targets(first):
    model, tokens = tiny_model(), torch.from_numpy(tiny_rows(0, 4)).long()
    log = F.log_softmax(model(tokens), dim=-1)
    wanted = [
        -log[row, t - 1, tokens[row, t]] for row in range(4) for t in range(first + 1, 16) if tokens[row, t] != PAD
    ]
    assert len(wanted) == 4 * (13 - first)
    torch.testing.assert_close(loss_sum(model, tokens, first, PAD), torch.stack(wanted).sum(), atol=1e-4, rtol=1e-5)


def test_ignored_positions_are_no_targets():
    model, tokens = tiny_model(), torch.from_numpy(tiny_rows(0, 4)).long()
    ignored = torch.zeros(16, dtype=torch.bool)
    ignored[[3, 8]] = True
    log = F.log_softmax(model(tokens), dim=-1)
    wanted = sum(-log[row, t - 1, tokens[row, t]] for row in range(4) for t in (2, 4, 5, 6, 7, *range(9, 14)))
    torch.testing.assert_close(loss_sum(model, tokens, 1, PAD, ignored), wanted, atol=1e-4, rtol=1e-5)


def test_outputs_loss_leaves_out_the_input_worlds(tmp_path):
    recipe = Recipe(height=4, width=5, examples=2, held_out=0, lengths=(1, 2))
    tokenizer = Tokenizer(recipe)
    shape = model_config(
        tokenizer.vocab_size,
        tokenizer.sequence_length,
        layers=1,
        width=16,
        heads=4,
        prompt_length=tokenizer.prompt_length,
    )
    torch.manual_seed(0)
    model, rows = Transformer(shape), tokenizer.generate("train", 0, 4)
    train(
        TrainConfig(**{**BASE, "steps": 1, "batch_size": 4, "seed": 0, "log_every": 1}, loss="outputs"),
        shape, lambda start, count: rows, tmp_path, pad_id=tokenizer.pad_id, tokenizer=tokenizer,
    )  # fmt: skip
    tokens = torch.from_numpy(rows).long()
    log = F.log_softmax(model(tokens), dim=-1)
    # input 6 cells output 6 cells input 6 cells output 6 cells code ..: the outputs' cells and what follows `code`.
    places = [*range(8, 14), *range(22, 28), *range(29, tokenizer.sequence_length)]
    terms = [-log[row, t - 1, tokens[row, t]] for row in range(4) for t in places if tokens[row, t] != tokenizer.pad_id]
    assert losses(tmp_path)[0][1] == pytest.approx(torch.stack(terms).mean().item(), rel=1e-4)


@pytest.mark.parametrize("loss", ["all", "program"])
def test_rows_may_have_a_token_more_than_the_context(tmp_path, loss):
    """The last one is only a target."""
    shape = tiny_config()
    shape.n_positions = 15
    for name, model in (("long", tiny_config()), ("short", shape)):
        go(tmp_path / name, 2, lambda start, count: tiny_tokens(count, 16, seed=start), model, loss=loss)
    assert losses(tmp_path / "short") == losses(tmp_path / "long")


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("loss", ["all", "program"])
def test_it_learns_and_reports(tmp_path, optimizer, loss):
    seen = []
    result = go(
        tmp_path, 40, optimizer=optimizer, loss=loss, lr=2e-2, snapshot_every=40, log_every=10, progress=seen.append
    )
    lines = losses(tmp_path)
    assert [line[0] for line in lines] == [10, 20, 30, 40] == [report.step for report in seen]
    assert lines[-1][1] < 0.8 * lines[0][1]
    assert result.report == seen[-1]
    assert result.report.tokens == 40 * 8 * 16
    assert result.report.mfu > 0
    assert result.snapshots == list_snapshots(tmp_path)


def test_snapshots_are_whole_hugging_face_folders(tmp_path):
    result = go(tmp_path, 7, recipe='{"seed": 1}')
    assert [p.name for p in result.snapshots] == ["step-000000", "step-000003", "step-000006", "step-000007"]
    stock = AutoModelForCausalLM.from_pretrained(result.snapshots[-1])
    tokens = torch.from_numpy(tiny_rows(0, 2)).long()
    torch.testing.assert_close(result.model(tokens), stock(tokens).logits, atol=1e-5, rtol=1e-5)
    card = read_card(result.snapshots[1])
    assert card["step"] == 3
    assert len(card["recipe_hash"]) == 16
    assert set(card["versions"]) == {"karel_fast", "torch"}
    assert [path.name for path in tmp_path.rglob(".*")] == [".training.lock"]
    assert not list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_resume_has_the_same_bits(tmp_path, optimizer):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    go(whole, optimizer=optimizer)

    class Killed(Exception):
        pass

    def kill(report):
        if report.step == 5:  # two steps after the snapshot
            raise Killed

    with pytest.raises(Killed):
        go(killed, optimizer=optimizer, progress=kill)
    assert [line[0] for line in losses(killed)] == [1, 2, 3, 4, 5]
    # A line cut short by the kill is dropped, too.
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    go(killed, optimizer=optimizer, resume=True)
    assert losses(killed) == losses(whole)
    ours, theirs = weights(list_snapshots(killed)[-1]), weights(list_snapshots(whole)[-1])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    again = go(killed, optimizer=optimizer, resume=True)
    assert again.report is None


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_stopping_changes_nothing_but_the_number_of_calls(tmp_path, optimizer):
    """Asked to stop after every second report: no extra snapshot, the same bits, and training time that adds up."""
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    go(whole, optimizer=optimizer)
    ends, asked = [], []

    def stop(seconds):
        asked.append(seconds)
        return len(asked) % 2 == 0

    while not ends or ends[-1] < 9:
        ends.append(go(pieces, optimizer=optimizer, resume=bool(ends), stop=stop).step)
    assert ends == [2, 4, 6, 8, 9]
    assert all(seconds > 0 for seconds in asked)
    assert [p.name for p in list_snapshots(pieces)] == [p.name for p in list_snapshots(whole)]
    assert losses(pieces) == losses(whole)
    for ours, theirs in zip(list_snapshots(pieces), list_snapshots(whole), strict=True):
        ours, theirs = weights(ours), weights(theirs)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    lines = RunFolder(pieces).metrics()
    assert all(before["seconds"] <= after["seconds"] for before, after in pairwise(lines))
    assert [line["flops"] for line in lines] == [line["step"] * lines[0]["flops"] for line in lines]


def test_killed_between_state_and_snapshot(tmp_path):
    wanted = weights(go(tmp_path, 6).snapshots[-1])
    shutil.rmtree(tmp_path / "snapshots" / "step-000006")
    result = go(tmp_path, 6, resume=True)
    assert result.report is None
    assert [p.name for p in result.snapshots] == ["step-000000", "step-000003", "step-000006"]
    found = weights(result.snapshots[-1])
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("loss", ["all", "program"])
def test_floating_point_operations_are_those_that_torch_counts(tmp_path, loss):
    """Of a forward and backward pass, matrix products only: what FlopCounterMode knows of."""
    first = PROMPT - 1 if loss == "program" else 0
    model, tokens = tiny_model(layers=3), torch.from_numpy(tiny_rows(0, 8)).long()
    with FlopCounterMode(display=False) as counter:
        loss_sum(model, tokens, first, PAD).backward()
    go(tmp_path, 1, model=tiny_config(layers=3), loss=loss)
    assert RunFolder(tmp_path).metrics()[0]["flops"] == counter.get_total_flops()
    assert model.flops_per_token(15, first) * 15 * 8 == counter.get_total_flops()


def test_accumulation_is_the_same_step(tmp_path):
    go(tmp_path / "one", 4)
    go(tmp_path / "four", 4, accumulate=4)
    np.testing.assert_allclose(losses(tmp_path / "one"), losses(tmp_path / "four"), rtol=1e-4)


def test_the_compiled_step_is_the_same(tmp_path):
    torch._dynamo.reset()
    go(tmp_path / "eager", 4, model=tiny_config(layers=1))
    go(tmp_path / "compiled", 4, model=tiny_config(layers=1), compile=True)
    np.testing.assert_allclose(losses(tmp_path / "eager"), losses(tmp_path / "compiled"), rtol=1e-4)


WORKER = """
import atexit, os, sys
from pathlib import Path
import torch.distributed as dist
open_at_the_end = Path(sys.argv[1], "open-" + os.environ["RANK"])
atexit.register(lambda: open_at_the_end.write_text(str(dist.is_initialized())))
sys.path.insert(0, sys.argv[2])
from test_training_loop import go
for reduce in ("fp32", "bf16"):
    go(f"{sys.argv[1]}/{reduce}", 4, reduce=reduce)
"""


def test_two_processes_are_one(tmp_path):
    here = str(Path(__file__).parent)
    (tmp_path / "worker.py").write_text(WORKER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(Path(here).parent), here])}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(tmp_path / "worker.py"),
    ]
    done = subprocess.run([*command, str(tmp_path), here], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [(tmp_path / f"open-{rank}").read_text() for rank in (0, 1)] == ["False", "False"]
    go(tmp_path / "one", 4)
    for reduce, tolerance in (("fp32", 1e-4), ("bf16", 2e-2)):
        np.testing.assert_allclose(losses(tmp_path / "one"), losses(tmp_path / reduce), rtol=tolerance)
    assert losses(tmp_path / "bf16") != losses(tmp_path / "fp32")


def test_divergence_keeps_the_last_good_snapshot(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"last good snapshot is .*step-000000") as caught:
        go(tmp_path, 60, lr=10.0, clip=0.0, warmup=0, weight_decay=0.0, snapshot_every=60, optimizer="adamw")
    assert caught.value.step > 1
    assert caught.value.snapshot == list_snapshots(tmp_path)[-1]
    assert all(tensor.isfinite().all() for tensor in weights(caught.value.snapshot).values())


def test_a_loss_that_is_not_a_number_stops(tmp_path, monkeypatch):
    import karel_fast.training.loop as loop

    monkeypatch.setattr(loop, "loss_sum", lambda model, *_: sum(p.sum() for p in model.parameters()) * float("nan"))
    with pytest.raises(TrainingDiverged, match="the loss is nan"):
        go(tmp_path)


def test_a_setting_of_another_version_is_no_run_of_this_one():
    config = TrainConfig(**BASE)
    with pytest.raises(ValueError, match="another version, with a setting 'cycles'"):
        config.check_resume({**config.to_dict(), "cycles": 2}, 3)


def test_a_run_outlives_the_version_of_transformers_that_it_began_with(tmp_path):
    go(tmp_path, 3)
    newer = tiny_config()
    newer.transformers_version, newer.a_new_default = "99.0", True
    assert go(tmp_path, 4, model=newer, resume=True).step == 4
    other = tiny_config()
    other.n_inner = 8
    with pytest.raises(ValueError, match="the model's n_inner was None when it began and is 8 now"):
        go(tmp_path, 5, model=other, resume=True)


def test_a_run_of_an_earlier_version_goes_on(tmp_path, monkeypatch):
    """Its card says the model otherwise, and no precision."""
    with monkeypatch.context() as patch:
        patch.setattr("karel_fast.training.resuming._described", lambda config: config.to_json_string(use_diff=False))
        go(tmp_path, 3)
    state = read_resume(tmp_path)
    del state.card["precision"]
    write_resume(tmp_path, state)
    assert go(tmp_path, 4, resume=True).step == 4


def test_what_cannot_be_resumed(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        go(tmp_path, resume=True)
    go(tmp_path, 3, recipe="one")
    with pytest.raises(ValueError, match="already holds a run"):
        go(tmp_path, 3, recipe="one")
    with pytest.raises(ValueError, match="the recipe was"):
        go(tmp_path, 3, recipe="other", resume=True)
    with pytest.raises(ValueError, match="the model's width was 32 when it began and is 64 now"):
        go(tmp_path, 3, recipe="one", model=tiny_config(width=64), resume=True)
    with pytest.raises(ValueError, match="the choice of active examples was None"):
        go(tmp_path, 3, recipe="one", active=ActiveExamples(1), resume=True)
    go(tmp_path, 3, recipe="one", active=ActiveExamples(), resume=True)
    with pytest.raises(ValueError, match=r"lr was 0\.002"):
        go(tmp_path, 3, recipe="one", lr=0.1, resume=True)
    assert read_card(list_snapshots(tmp_path)[-1])["precision"] == "fp32"
    with monkeypatch.context() as patch:
        patch.setattr("karel_fast.training.loop.resolve_precision", lambda *_: torch.bfloat16)
        with pytest.raises(ValueError, match=r"it was trained in fp32, and precision='fp32' is bf16 on this device"):
            go(tmp_path, 3, recipe="one", resume=True)
    (tmp_path / "resume.safetensors").write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(ValueError, match=r"resume\.safetensors: not a readable"):
        go(tmp_path, 3, recipe="one", resume=True)
    (list_snapshots(tmp_path)[-1] / "karel_fast.json").write_text("{}")
    with pytest.raises(ValueError, match="no step number"):
        read_card(list_snapshots(tmp_path)[-1])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            lambda s, n: tiny_rows(s, n) + VOCABULARY,
            r"rows\(0, 8\) has token \d+ in row 0 at position 0: the vocabulary is",
        ),
        (lambda s, n: tiny_rows(s, n + 1), "need integers"),
        (lambda s, n: tiny_rows(s, n).astype(float), "need integers"),
        (lambda s, n: tiny_rows(s, n)[:, : 16 if s == 0 else 15], "15 tokens a row"),
        (lambda s, n: np.ones((n, 40), np.uint8), "n_positions"),
    ],
)
def test_wrong_rows(tmp_path, rows, message):
    with pytest.raises(ValueError, match=message):
        go(tmp_path, rows=rows)


def test_settings_that_do_not_fit_together(tmp_path):
    with pytest.raises(ValueError, match=r"prompt_length"):
        go(tmp_path, model=tiny_config(prompt_length=None), loss="program")
    with pytest.raises(ValueError, match="needs the tokenizer"):
        go(tmp_path, loss="outputs")
    with pytest.raises(ValueError, match="no target after a prompt"):
        go(tmp_path, model=tiny_config(prompt_length=16), loss="program")
    with pytest.raises(ValueError, match="accumulate=3"):
        go(tmp_path, accumulate=3)


def test_metrics_are_json_lines(tmp_path):
    go(tmp_path, 2)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert set(lines[0]) == {
        "step", "loss", "lr", "grad_norm", "tokens", "flops", "tokens_per_second", "mfu", "seconds", "targets"
    }  # fmt: skip


def test_compiled_training_has_the_same_bits_twice(tmp_path):
    """Tokens that repeat within a batch: their embeddings' gradients must be added in one order, whatever the threads."""
    weights = [
        torch.cat([p.flatten() for p in go(tmp_path / str(k), 4, compile=True, batch_size=64).model.parameters()])
        for k in range(2)
    ]
    assert torch.equal(*weights)
