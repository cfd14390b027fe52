"""Pieces of an experiment: none is begun that may not fit, and the first one always is."""

from __future__ import annotations

import pytest

from karel_fast.experiment.pieces import OutOfTime, Pieces
from karel_fast.support.files import read_json


class Clock:
    def __init__(self, monkeypatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("karel_fast.experiment.pieces.time.monotonic", lambda: self.now)

    def work(self, pieces: Pieces, kind: str, seconds: float) -> None:
        with pieces.piece(kind, f"before {kind}"):
            self.now += seconds


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


def test_without_minutes_everything_fits(tmp_path, clock):
    pieces = Pieces(tmp_path)
    for seconds in (5.0, 1e6, 20.0):
        clock.work(pieces, "probe", seconds)
    assert read_json(tmp_path / "time.json") == {"probe": {"seconds": 1_000_025.0, "longest": 1e6}}


def test_a_piece_takes_as_long_as_the_longest(tmp_path, clock):
    pieces = Pieces(tmp_path, minutes=10.0)  # 570 s without the margin
    for seconds in (100.0, 150.0, 100.0):
        clock.work(pieces, "probe", seconds)
    assert pieces.fits(220.0)
    assert not pieces.fits(220.1)
    clock.work(pieces, "probe", 80.0)  # 140 s are left
    with pytest.raises(OutOfTime, match="before probe"):
        clock.work(pieces, "probe", 1.0)
    assert clock.now == 1430.0


def test_times_outlive_the_call(tmp_path, clock):
    clock.work(Pieces(tmp_path), "probe", 400.0)
    pieces = Pieces(tmp_path, minutes=10.0)
    clock.work(pieces, "evaluate", 180.0)
    with pytest.raises(OutOfTime):
        clock.work(pieces, "probe", 1.0)


def test_an_unknown_piece_needs_half_of_the_minutes(tmp_path, clock):
    pieces = Pieces(tmp_path, minutes=10.0, started=clock.now - 100.0)
    clock.work(pieces, "evaluate", 170.0)  # 300 of 570 s are left
    clock.work(pieces, "probe", 1.0)
    with pytest.raises(OutOfTime):
        clock.work(pieces, "draw", 1.0)


def test_the_first_piece_is_always_begun(tmp_path, clock):
    clock.work(Pieces(tmp_path), "probe", 400.0)
    pieces = Pieces(tmp_path, minutes=1.0)
    clock.work(pieces, "probe", 300.0)
    with pytest.raises(OutOfTime):
        clock.work(pieces, "probe", 1.0)


def test_an_interrupted_piece_took_time(tmp_path, clock):
    pieces = Pieces(tmp_path)

    def interrupted() -> None:
        with pieces.piece("probe", "before"):
            clock.now += 30.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert read_json(tmp_path / "time.json")["probe"]["seconds"] == 30.0
    assert pieces.done == 0


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_minutes(tmp_path, minutes):
    with pytest.raises(ValueError, match="minutes="):
        Pieces(tmp_path, minutes)
