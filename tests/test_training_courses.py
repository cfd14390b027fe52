"""Courses of training: more updates, restarts and another loss have the bits of a run that was asked for all at once, or are refused."""

from dataclasses import replace

import pytest
import torch
from tiny_model import losses, tiny_config
from tiny_training import BASE, go, weights

from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import list_snapshots, read_resume, write_resume
from karel_fast.training import TrainConfig


@pytest.mark.parametrize(("schedule", "begun", "steps"), [("wsd", 10, 16), ("constant", 6, 9)])
def test_more_updates_have_the_bits_of_a_run_of_so_many(tmp_path, schedule, begun, steps):
    """A schedule that has not begun to fall may be extended: what was done is what the longer run would have done."""
    pieces, whole = tmp_path / "pieces", tmp_path / "whole"
    go(pieces, begun, schedule=schedule, stop=lambda _: schedule == "wsd" and len(RunFolder(pieces).metrics()) >= 6)
    assert go(pieces, steps, schedule=schedule, resume=True).step == steps
    go(whole, steps, schedule=schedule)
    assert losses(pieces) == losses(whole)
    ours, theirs = (weights(list_snapshots(run)[-1]) for run in (pieces, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_finished_run_goes_on_after_a_restart(tmp_path):
    pieces, whole = tmp_path / "pieces", tmp_path / "whole"
    go(pieces, 9)
    assert go(pieces, 15, restarts=[9], later_lr=0.5, resume=True).step == 15
    go(whole, 15, restarts=[9], later_lr=0.5)
    assert losses(pieces) == losses(whole)
    ours, theirs = (weights(list_snapshots(run)[-1]) for run in (pieces, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_restart_forgets_past_gradients(tmp_path):
    """Without the optimizers' state it goes on with the same bits."""
    with_state, without = tmp_path / "with", tmp_path / "without"
    for run in (with_state, without):
        go(run, 9)
    state = read_resume(without)
    assert state.optimizer
    write_resume(without, replace(state, optimizer={}))
    for run in (with_state, without):
        go(run, 12, restarts=[9], resume=True)
    assert losses(with_state) == losses(without)


@pytest.mark.parametrize(
    ("before", "after", "said"), [([], [6], "after 6 .* forgotten"), ([6], [], "after 6 .* remembered")]
)
def test_a_restart_that_is_past_stays_what_it_was(tmp_path, before, after, said):
    """Without a warm-up no rate tells."""
    same = {"schedule": "constant", "warmup": 0}
    go(tmp_path, 9, restarts=before, **same)
    with pytest.raises(ValueError, match=said):
        go(tmp_path, 12, restarts=after, resume=True, **same)


def test_another_later_rate_is_named(tmp_path):
    go(tmp_path, 9, restarts=[4], later_lr=0.5)
    with pytest.raises(ValueError, match=r"later_lr=0\.7 in place of 0\.5: 9 updates are done, and from update 4 on"):
        go(tmp_path, 9, restarts=[4], later_lr=0.7, resume=True)


def test_going_on_from_nothing_makes_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        go(tmp_path / "new" / "run", 9, resume=True)
    assert not (tmp_path / "new").exists()


def test_the_setting_of_another_model_is_named(tmp_path):
    go(tmp_path, 9)
    with pytest.raises(ValueError, match="the model's layers was 2 when it began and is 1 now; set it back"):
        go(tmp_path, 9, resume=True, model=tiny_config(layers=1))


def test_what_cannot_be_extended(tmp_path):
    go(tmp_path / "restarted", 9)
    with pytest.raises(
        ValueError,
        match=r"15 updates with a restart after 8 in place of 9 updates: 9 updates are done, and after 8 the",
    ):
        go(tmp_path / "restarted", 15, restarts=[8], resume=True)
    go(tmp_path / "wsd", 10)
    with pytest.raises(
        ValueError,
        match=r"16 updates in place of 10 updates: 10 updates are done, and from update 9 on .* only until it begins",
    ):
        go(tmp_path / "wsd", 16, resume=True)
    go(tmp_path / "cosine", 9, schedule="cosine", stop=lambda _: len(RunFolder(tmp_path / "cosine").metrics()) >= 5)
    with pytest.raises(ValueError, match="Schedule cosine can be extended only until"):
        go(tmp_path / "cosine", 12, schedule="cosine", resume=True)
    go(tmp_path / "constant", 6, schedule="constant")
    with pytest.raises(ValueError, match="5 updates in place of 6 updates: 6 are done"):
        go(tmp_path / "constant", 5, schedule="constant", resume=True)


def test_after_so_many_updates_only_the_program_is_learned(tmp_path):
    """With a rate of 0 the weights stay, so every update's loss is that of its targets alone."""
    for name, settings in (("all", {}), ("program", {"loss": "program"}), ("both", {"program_after": 4})):
        go(tmp_path / name, 9, lr=0.0, **settings)
    every, program, both = (losses(tmp_path / name) for name in ("all", "program", "both"))
    assert every[4][1] != program[4][1]
    assert [line[1] for line in both] == [line[1] for line in every[:4] + program[4:]]


def test_no_report_is_of_two_kinds_of_targets(tmp_path):
    go(tmp_path, 9, program_after=5, log_every=4, snapshot_every=9)
    assert [(line["step"], line["targets"]) for line in RunFolder(tmp_path).metrics()] == [
        (4, "all"), (5, "all"), (8, "program"), (9, "program")
    ]  # fmt: skip


def test_operations_are_those_of_the_targets_of_each_update(tmp_path):
    for name, settings in (("all", {}), ("program", {"loss": "program"}), ("both", {"program_after": 4})):
        go(tmp_path / name, 9, **settings)
    every, program, both = (
        [line["flops"] for line in RunFolder(tmp_path / name).metrics()] for name in ("all", "program", "both")
    )
    assert both == [*every[:4], *(every[3] + flops for flops in program[:5])]


def test_compiling_another_loss_is_no_training_time(tmp_path, monkeypatch):
    left_out = []
    monkeypatch.setattr(
        "karel_fast.training.metrics.Reporter.leave_out", lambda self, began: left_out.append(self.step)
    )
    go(tmp_path, 9, program_after=5)
    assert left_out == [0, 5]


@pytest.mark.parametrize("compile_step", [False, True])
def test_a_run_goes_on_with_the_program_alone(tmp_path, compile_step):
    pieces, whole = tmp_path / "pieces", tmp_path / "whole"
    later = {"restarts": [9], "later_lr": 0.5, "program_after": 9, "compile": compile_step}
    go(pieces, 9, compile=compile_step)
    assert go(pieces, 15, resume=True, **later).step == 15
    go(whole, 15, **later)
    assert losses(pieces) == losses(whole)
    ours, theirs = (weights(list_snapshots(run)[-1]) for run in (pieces, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (0, 6, "program_after=6 in place of 0: 9 updates are done, 9 of them with loss 'all' and not 6"),
        (6, 0, "program_after=0 in place of 6: 9 updates are done, 6 of them with loss 'all' and not 9"),
        (6, 5, "program_after=5 in place of 6"),
    ],
)
def test_what_was_learned_stays_what_it_was(tmp_path, before, after, said):
    go(tmp_path, 9, schedule="constant", program_after=before)
    with pytest.raises(ValueError, match=said):
        go(tmp_path, 12, schedule="constant", program_after=after, resume=True)


def test_a_change_of_targets_that_cannot_be(tmp_path):
    with pytest.raises(ValueError, match='program_after is 3, but loss is "program" from the beginning'):
        TrainConfig(**BASE, loss="program", program_after=3)
    with pytest.raises(ValueError, match="program_after is 9, but the run ends after 9 updates; give less, or 0"):
        TrainConfig(**BASE, steps=9, program_after=9)
    with pytest.raises(ValueError, match="program_after is -1"):
        TrainConfig(**BASE, program_after=-1)
    with pytest.raises(ValueError, match=r"program_after=3 needs model_config\.prompt_length"):
        go(tmp_path, 9, program_after=3, model=tiny_config(prompt_length=None))
