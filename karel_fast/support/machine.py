"""What this machine is."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
FEATURES = ("sse2", "avx2", "bmi1", "bmi2", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "amx_bf16")


CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


@cache
def quota() -> int | None:
    """Processors' worth of time that this process's control groups grant it, rounded up; None if they set no limit."""
    return min(_limits("cpu", _processors_granted), default=None)


@cache
def memory() -> int:
    """Bytes that this process may use: the machine's, or what its control groups grant it where that is less."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 60
    return min([there, *_limits("memory", _bytes_granted)])


def _limits(controller: str, granted: Callable[[Path], int | None]) -> list[int]:
    """What the folders of the process's groups, and of all above them, grant, of both versions of control groups."""
    try:
        lines = OWN_CGROUP.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUPS / controllers if controllers else CGROUPS
        for part in _and_above(place.strip("/")):
            try:
                limit = granted(root / part)
            except (OSError, ValueError, ZeroDivisionError):
                continue
            if limit is not None:
                limits.append(limit)
    return limits


def _and_above(place: str) -> list[str]:
    parts = place.split("/") if place else []
    return ["/".join(parts[:end]) for end in range(len(parts), -1, -1)]


def _processors_granted(folder: Path) -> int | None:
    if (folder / "cpu.max").is_file():
        granted, period = (folder / "cpu.max").read_text().split()
    else:
        granted = (folder / "cpu.cfs_quota_us").read_text()
        period = (folder / "cpu.cfs_period_us").read_text()
    return max(1, math.ceil(int(granted) / int(period))) if int(granted) > 0 else None


def _bytes_granted(folder: Path) -> int:
    """Without a limit it is "max", which is no number, or one larger than any memory."""
    path = folder / "memory.max"
    return int((path if path.is_file() else folder / "memory.limit_in_bytes").read_text())


def processor() -> dict[str, str]:
    """Model, and those of its features that the kernels ask about."""
    facts = {"model": platform.processor() or platform.machine(), "features": ""}
    if CPUINFO.exists():
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                facts["model"] = value.strip()
            elif name.strip() == "flags":
                flags = set(value.split())
                facts["features"] = " ".join(flag for flag in FEATURES if flag in flags)
                break
    return facts
