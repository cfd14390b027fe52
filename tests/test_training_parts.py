"""The parts of training: settings, schedules, Muon, optimizer state, row sources, devices."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_model import tiny_config, tiny_model

from karel_fast.model import Transformer
from karel_fast.model.device import NotEnoughMemory, memory_advice, repeatable, resolve_device
from karel_fast.model.transformer import fresh_model
from karel_fast.support.checks import InputError
from karel_fast.training import TrainConfig
from karel_fast.training.bar import TrainingBar
from karel_fast.training.config import SCHEDULES
from karel_fast.training.distributed import VARIABLES, join_processes
from karel_fast.training.metrics import MetricsFile, Reporter
from karel_fast.training.muon import Muon, orthogonalise
from karel_fast.training.optim import Optimizers
from karel_fast.training.rows import prefetched
from karel_fast.training.schedule import rate_factor


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0}, {"steps": 2.5}, {"steps": True}, {"batch_size": 0},
        {"accumulate": 3}, {"lr": -1.0}, {"lr": "fast"}, {"lr": float("nan")}, {"optimizer": "sgd"},
        {"schedule": "step"}, {"loss": "none"}, {"precision": "fp16"},
        {"warmup": -1}, {"decay_fraction": 1.5}, {"clip": -1.0}, {"snapshot_every": 0}, {"reduce": "int8"},
        {"compile": "no"}, {"tensorboard": 1}, {"device": 3}, {"extra_snapshots": 5},
        {"beta1": 1.0}, {"beta2": 1.0}, {"momentum": 1.0},
    ],
)  # fmt: skip
def test_wrong_settings_name_the_field(wrong):
    (name,) = wrong
    with pytest.raises((TypeError, ValueError), match=rf"{name}( is |=)"):
        TrainConfig(**{"steps": 10, **wrong})


def test_resume_settings():
    config = TrainConfig(steps=10)
    config.check_resume(TrainConfig(steps=10, log_every=3, snapshot_every=5).to_dict(), 0)
    with pytest.raises(ValueError, match=r"lr was 0\.5 when the run began"):
        config.check_resume(TrainConfig(steps=10, lr=0.5).to_dict(), 0)


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ((), [0, 10, 20, 25]), ("log", [0, 1, 2, 4, 8, 10, 20, 25]), ([3, 10, 17], [0, 3, 10, 17, 20, 25]),
    ],
)  # fmt: skip
def test_when_there_are_snapshots(extra, found):
    config = TrainConfig(steps=25, snapshot_every=10, extra_snapshots=extra)
    assert [step for step in range(26) if config.has_snapshot(step)] == found


@pytest.mark.parametrize("wrong", ["linear", [0], [26], [1.5]])
def test_wrong_extra_snapshots(wrong):
    with pytest.raises((ValueError, TypeError), match="extra_snapshots"):
        TrainConfig(steps=25, extra_snapshots=wrong)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(schedule):
    factors = [
        rate_factor(s, steps=100, warmup=10, schedule=schedule, decay_fraction=0.3, final=0.1) for s in range(100)
    ]
    assert factors[:10] == [(s + 1) / 11 for s in range(10)]
    assert factors[10] == 1.0
    assert all(a >= b for a, b in pairwise(factors[10:]))
    assert factors[-1] == (1.0 if schedule == "constant" else pytest.approx(0.1, abs=0.04))
    if schedule == "wsd":
        assert factors[70] == 1.0 > factors[71]
    if schedule == "cosine":
        assert factors[55] == pytest.approx(0.55)


def test_restarts_run_through_the_schedule_again():
    settings = {"warmup": 3, "schedule": "wsd", "decay_fraction": 0.5, "final": 0.1}
    first, second = ([rate_factor(s, steps=steps, **settings) for s in range(steps)] for steps in (20, 12))
    both = [rate_factor(s, steps=32, restarts=(20,), later=0.5, **settings) for s in range(32)]
    assert both == [*first, *(0.5 * factor for factor in second)]


@pytest.mark.parametrize("wrong", [[0], [25], [10, 10], [12, 6], [7.5], "abc", 5, None])
def test_restarts_lie_inside_the_run_in_order(wrong):
    with pytest.raises(
        (ValueError, TypeError),
        match=r"restarts is .* (whole number|list of updates|ascending order, below the run's 25)",
    ):
        TrainConfig(steps=25, restarts=wrong)


def test_updates_are_kept_as_whole_numbers():
    config = TrainConfig(steps=25, restarts=iter(np.array([5, 6])), extra_snapshots=iter(np.array([3])))
    stored = json.loads(json.dumps(config.to_dict()))
    assert (stored["restarts"], stored["extra_snapshots"]) == ([5, 6], [3])
    with pytest.raises(ValueError, match="a run of one update has nothing to restart after"):
        TrainConfig(steps=1, restarts=[1])


def test_orthogonalise():
    torch.manual_seed(0)
    matrices = torch.randn(3, 8, 20)
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.3
    # The singular vectors stay: the result of a matrix with equal singular values is a multiple of it.
    q = torch.linalg.qr(torch.randn(8, 8))[0]
    out = orthogonalise(3 * q[None])[0]
    torch.testing.assert_close(out / out.norm(), q / q.norm(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 20), (20, 8)])
def test_muon_is_torch_muon(shape):
    """Same as torch.optim.Muon, whose iteration is in bfloat16."""
    torch.manual_seed(0)
    start = torch.randn(shape)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    settings = {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.9}
    mine = Muon([(ours, 1)], dtype=torch.bfloat16, **settings)
    reference = torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **settings)
    for _ in range(3):
        gradient = torch.randn(shape)
        for parameter, optimizer in ((ours, mine), (theirs, reference)):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=0)


def test_muon_takes_a_fused_matrix_apart():
    torch.manual_seed(0)
    fused = torch.randn(24, 8)
    whole = fused.clone().requires_grad_()
    pieces = [part.clone().requires_grad_() for part in fused.chunk(3)]
    gradient = torch.randn(24, 8)
    whole.grad = gradient
    for piece, part in zip(pieces, gradient.chunk(3), strict=True):
        piece.grad = part.clone()
    Muon([(whole, 3)], lr=0.1).step()
    Muon([(piece, 1) for piece in pieces], lr=0.1).step()
    torch.testing.assert_close(whole, torch.cat(pieces), atol=1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match="3 parts"):
        Muon([(torch.zeros(8, 8), 3)], lr=0.1)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_optimizer_state_goes_round(name):
    def made():
        model = tiny_model()
        return model, Optimizers(model, name, lr=0.1, weight_decay=0.1, betas=(0.9, 0.98), momentum=0.9)

    def step(model, optimizers, seed):
        torch.manual_seed(seed)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizers.step(0.01)

    model, optimizers = made()
    step(model, optimizers, 1)
    state = {key: tensor.clone() for key, tensor in optimizers.state_dict().items()}
    assert {key.rpartition("/")[0] for key in state} == {key for key, _ in model.named_parameters()}
    other, others = made()
    other.load_state_dict(model.state_dict())
    others.load_state_dict(state)
    step(model, optimizers, 2)
    step(other, others, 2)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(ValueError, match="is missing"):
        others.load_state_dict({key: tensor for key, tensor in state.items() if "ln_f" not in key})
    with pytest.raises(ValueError, match="does not belong"):
        others.load_state_dict({**state, "other.weight/exp_avg": torch.zeros(3)})


def test_prefetched_keeps_order_and_errors():
    ranges = [(i, 2) for i in range(0, 10, 2)]
    assert [part.tolist() for part in prefetched(lambda s, n: np.arange(s, s + n), iter(ranges))] == [
        [i, i + 1] for i, _ in ranges
    ]

    def failing(start, count):
        raise OSError(f"no rows at {start}")

    with pytest.raises(OSError, match="no rows at 0"):
        list(prefetched(failing, iter(ranges)))


def test_devices_and_memory():
    assert resolve_device("cpu").type == "cpu"
    for name in ("tpu9", "cuda:99", "mps"):
        with pytest.raises(ValueError, match=name):
            resolve_device(name)
    with pytest.raises(NotEnoughMemory, match="lower batch_size"), memory_advice("lower batch_size"):
        torch.empty(1 << 60)
    with pytest.raises(RuntimeError, match="shape"), memory_advice("lower batch_size"):
        torch.zeros(2).view(3)


def test_training_time_counts_every_update_once(monkeypatch):
    """The first update compiles: it counts as one of the next ones; a pause does not count; an earlier process does."""
    now = 100.0
    monkeypatch.setattr("karel_fast.training.metrics.time.perf_counter", lambda: now)
    seen = []
    reporter = Reporter(None, seen.append, first_step=40, peak=1000.0, seconds=7.0)
    now = 160.0  # compiled
    reporter.leave_out(100.0)
    now += 8.0  # four updates of two seconds
    reporter.report(45, 1.0, 0.1, 1.0, tokens_per_step=10, flops_per_step=500.0, flops=22500.0, targets="all")
    now += 30.0  # a snapshot
    reporter.skip_pause()
    now += 10.0
    reporter.report(50, 1.0, 0.1, 1.0, tokens_per_step=10, flops_per_step=500.0, flops=25000.0, targets="all")
    now += 2.0
    began, now = now, now + 40.0  # another loss is compiled
    reporter.leave_out(began)
    now += 6.0
    reporter.report(55, 1.0, 0.1, 1.0, tokens_per_step=10, flops_per_step=250.0, flops=26500.0, targets="all")
    assert [report.seconds for report in seen] == [17.0, 27.0, 37.0]
    assert [report.mfu for report in seen] == [0.25, 0.25, 0.125]
    assert [(report.tokens, report.flops) for report in seen] == [(450, 22500.0), (500, 25000.0), (550, 26500.0)]


def test_a_report_of_the_first_update_has_no_rate(capsys):
    seen = []
    reporter = Reporter(None, seen.append, first_step=40, peak=1000.0, seconds=7.0)
    reporter.leave_out(reporter.clock)
    reporter.report(41, 1.0, 0.1, 1.0, tokens_per_step=10, flops_per_step=500.0, flops=20500.0, targets="all")
    assert (seen[0].tokens_per_second, seen[0].mfu) == (None, None)
    with TrainingBar(50) as bar:
        bar(seen[0])
    assert "step 41  loss 1.0000\n" in capsys.readouterr().err


def test_tensorboard_keeps_the_report_that_a_run_goes_on_from(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pytest.importorskip("torch.utils.tensorboard")
    for first, steps in ((0, (5, 10, 15)), (10, (15, 20))):
        with Reporter(MetricsFile(tmp_path, first, tensorboard=True), None, first, None, 0.0) as reporter:
            for step in steps:
                reporter.report(
                    step, 1.0, 0.1, 1.0, tokens_per_step=10, flops_per_step=500.0, flops=500.0 * step, targets="all"
                )
    board = events.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert [event.step for event in board.Scalars("loss")] == [5, 10, 15, 20]
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [5, 10, 15, 20]


def test_what_is_set_for_training_is_put_back():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with repeatable(torch.device("cpu")):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(before)


def test_a_fresh_model_seeds_nothing_else(monkeypatch):
    def refused(_):
        raise AssertionError("torch.manual_seed sets the devices' generators, too")

    one = fresh_model(tiny_config(), 3)
    torch.manual_seed(3)
    assert torch.equal(one.lm_head.weight, Transformer(tiny_config()).lm_head.weight)
    state = torch.get_rng_state()
    monkeypatch.setattr(torch, "manual_seed", refused)
    other = fresh_model(tiny_config(), 3)
    assert torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert torch.equal(state, torch.get_rng_state())


def test_numbers_of_numpy():
    config = TrainConfig(steps=np.int64(5), batch_size=np.int32(4), lr=np.float32(0.5), weight_decay=np.float64(0.1))
    assert json.loads(json.dumps(config.to_dict()))["steps"] == 5
    assert config == TrainConfig(steps=5, batch_size=4, lr=0.5, weight_decay=0.1)
    for wrong in ({"steps": 5.0}, {"steps": True}, {"lr": "0.1"}, {"lr": float("nan")}, {"lr": 11}):
        with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
            TrainConfig(**wrong)


@pytest.mark.parametrize(
    ("there", "says"),
    [
        (
            {"WORLD_SIZE": "2"},
            "has WORLD_SIZE, but not RANK, MASTER_ADDR, MASTER_PORT: start with torchrun.* or unset WORLD_SIZE",
        ),
        ({"RANK": "0", "MASTER_ADDR": "a"}, "has RANK and MASTER_ADDR, but not WORLD_SIZE, MASTER_PORT"),
        (
            {"RANK": "x", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"},
            "RANK is 'x'; it must be a whole number",
        ),
    ],
)
def test_an_environment_half_set_is_one_line(monkeypatch, there, says):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in there.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=says):
        join_processes(torch.device("cpu"))


def test_alone_where_only_the_meeting_place_is_named(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "a")
    assert join_processes(torch.device("cpu"))[0].world == 1
