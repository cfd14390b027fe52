"""What this machine is."""

from __future__ import annotations

import math
import platform
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
FEATURES = ("sse2", "avx2", "bmi1", "bmi2", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "amx_bf16")


CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


@cache
def quota() -> int | None:
    """Processors' worth of time that this process's control groups grant it, rounded up; None if they set no limit."""
    limits = [limit for folder in _cgroup_folders() if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _cgroup_folders() -> list[Path]:
    """Those that the process is in, and all above them, of both versions of control groups."""
    try:
        lines = OWN_CGROUP.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / controllers if controllers else CGROUPS
        folders += [root / part for part in _and_above(place.strip("/"))]
    return folders


def _and_above(place: str) -> list[str]:
    parts = place.split("/") if place else []
    return ["/".join(parts[:end]) for end in range(len(parts), -1, -1)]


def _limit(folder: Path) -> int | None:
    try:
        if (folder / "cpu.max").is_file():
            granted, period = (folder / "cpu.max").read_text().split()
        else:
            granted = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return max(1, math.ceil(int(granted) / int(period))) if int(granted) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


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
