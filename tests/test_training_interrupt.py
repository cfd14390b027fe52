"""Ctrl-C and SIGTERM end training with its state saved, and what goes on from there ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from signals import foreground_signals, signal_at
from typer.testing import CliRunner

from karel_fast.cli import app
from karel_fast.runs.folder import RunFolder
from karel_fast.runs.snapshots import list_snapshots, read_resume
from karel_fast.support.interrupt import StopSignals
from karel_fast.training.bar import TrainingBar

TINY = ["--layers", "1", "--width", "16", "--steps", "8", "--batch-size", "4", "--snapshot-every", "8", "--no-compile"]


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_training_goes_on_from_the_very_update(number, monkeypatch, tmp_path):
    command = ["train", "--recipe", "paper", "--log-every", 1, "--precision", "fp32", *TINY]
    whole = call(*command, tmp_path / "whole")
    assert whole.exit_code == 0, whole.stderr
    with monkeypatch.context() as patched, foreground_signals():
        patched.setattr(TrainingBar, "__call__", signal_at(3, number))
        stopped = call(*command, tmp_path / "stopped")
    assert stopped.exit_code == 130
    assert "stopped after 3 of 8 updates; --resume goes on" in stopped.stderr
    assert read_resume(tmp_path / "stopped").step == 3
    resumed = call("train", *([tmp_path / "stopped", "--resume"][:: 1 if number == signal.SIGINT else -1]))
    assert resumed.exit_code == 0, resumed.stderr
    assert [line["step"] for line in RunFolder(tmp_path / "stopped").metrics()] == list(range(1, 9))
    first, second = (list_snapshots(tmp_path / name)[-1] / "model.safetensors" for name in ("whole", "stopped"))
    assert first.read_bytes() == second.read_bytes()


def test_the_second_signal_is_as_before(capfd):
    with foreground_signals():
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
            assert signals.asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert capfd.readouterr().err.count("stopping at the next report") == 1


@pytest.mark.parametrize(("ignored", "other"), [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
def test_an_ignored_signal_stays_ignored(ignored, other):
    """As in a background job of a script, which inherits that SIGINT is ignored: SIGTERM ends it with its state saved."""
    with foreground_signals():
        signal.signal(ignored, signal.SIG_IGN)
        with StopSignals() as signals:
            os.kill(os.getpid(), ignored)
            assert not signals.asked
            assert signal.getsignal(ignored) is signal.SIG_IGN
            os.kill(os.getpid(), other)
            assert signals.asked


def test_elsewhere_than_in_the_main_thread():
    before = signal.getsignal(signal.SIGINT)
    inside = []

    def work():
        with StopSignals() as signals:
            inside.append((signals.asked, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert inside == [(False, before)]
