"""What every benchmark shares: sizes and devices, and measuring this project, its peers and its limits in turn, so that a change of the
machine's speed meets all of them alike.

    pytest benchmarks --size quick --device cpu        # as `karel-fast bench` runs it
    pytest benchmarks --benchmark-disable              # everything once, quick, without timing
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import karel_fast as kf
from karel_fast.cli.bench import SIZES
from karel_fast.support.machine import processor

SETTINGS = pytest.StashKey[dict[str, dict[str, Any]]]()  # of each group of benchmarks, for the machine's description


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--size", choices=SIZES, help="default: small; quick where nothing is timed")
    parser.addoption("--device", default="auto", help="of model and probes: auto, cpu, cuda or cuda:N")


@pytest.fixture(scope="session")
def size(pytestconfig: pytest.Config) -> str:
    """One of karel_fast.cli.bench.SIZES."""
    untimed = pytestconfig.getoption("benchmark_disable")
    return pytestconfig.getoption("size") or ("quick" if untimed else "small")


@dataclass(frozen=True)
class Contender:
    """Something measured beside this project: a peer, or a limit. With `at_least` the ratio is how many times faster than it this
    project is, else how many times longer this project takes. target: the ratio aimed at, the least or the most.

    action does 1 / `scale` of the work; None stands for a peer that is not installed.
    """

    action: Callable[[], Any] | None
    target: float | None = None
    at_least: bool = False
    scale: float = 1.0


@dataclass(frozen=True)
class Figure:
    """A number beside the times. value: of the seconds by name, called when they are known. unit: written behind it."""

    value: Callable[[dict[str, float]], float]
    target: float | None = None
    at_least: bool = False
    unit: str = ""


def memcpy(arrays: list[np.ndarray], target: float | None = None) -> Contender:
    """The limit of moving data: copying these arrays into memory that is already there."""
    copies = [array.copy() for array in arrays]

    def copy() -> None:
        for to, source in zip(copies, arrays, strict=True):
            np.copyto(to, source)

    return Contender(copy, target)


Compare = Callable[..., dict[str, float]]


@pytest.fixture
def compare(benchmark: Any, pytestconfig: pytest.Config) -> Compare:
    """compare(action, {name: Contender or Figure}, units=.., unit="programs", rounds=..) -> seconds by name.

    Each round runs every contender once and then this project; medians over rounds are compared, after a round that is not counted
    (warm=False: without it). name: of the row, if not the function's. scale: `action` does 1 / scale of the work. setting: what the
    group of benchmarks was run with. With --benchmark-disable everything runs once and nothing is said about time.
    """

    def measure(
        action: Callable[[], Any],
        beside: Mapping[str, Contender | Figure],
        *,
        units: int,
        unit: str,
        rounds: int = 15,
        target_rate: float | None = None,
        name: str | None = None,
        scale: float = 1.0,
        warm: bool = True,
        setting: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        times: dict[str, list[float]] = {}

        def run(who: str, action: Callable[[], Any], scale: float) -> None:
            start = time.perf_counter()
            action()
            times.setdefault(who, []).append(scale * (time.perf_counter() - start))

        def others() -> None:
            for who, other in beside.items():
                if isinstance(other, Contender) and other.action is not None:
                    run(who, other.action, other.scale)

        benchmark.pedantic(run, (OURS, action, scale), setup=others, rounds=rounds, warmup_rounds=int(warm))
        uncounted = 0 if benchmark.disabled else int(warm)
        seconds = {who: statistics.median(values[uncounted:]) for who, values in times.items()}
        ours = seconds[OURS]
        benchmark.extra_info.update(
            seconds=seconds,
            rate=units / ours,
            unit=f"{unit}/s",
            target_rate=target_rate,
            comparisons=[_comparison(who, other, seconds) for who, other in beside.items()],
        )
        if name is not None:
            benchmark.extra_info["name"] = name
        if setting is not None:
            pytestconfig.stash.setdefault(SETTINGS, {})[benchmark.group] = setting
        return seconds

    return measure


OURS = "karel_fast"


def _comparison(who: str, other: Contender | Figure, seconds: dict[str, float]) -> dict[str, Any]:
    """A line of the table; its ratio is None where the peer is not installed."""
    ours, theirs = seconds[OURS], seconds.get(who)
    ratio: float | None
    if isinstance(other, Figure):
        ratio, unit = other.value(seconds), other.unit
    elif theirs is None:
        ratio, unit = None, "x as fast" if other.at_least else "x its time"
    else:
        ratio, unit = (theirs / ours, "x as fast") if other.at_least else (ours / theirs, "x its time")
    return {"with": who, "ratio": ratio, "unit": unit, "target": other.target, "at_least": other.at_least}


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    machine_info["karel_fast"] = {
        "version": kf.__version__,
        "processor": processor()["model"],
        "backends": kf.available_backends(),
        "numpy": np.__version__,
        "settings": config.stash.get(SETTINGS, {}),
    }
