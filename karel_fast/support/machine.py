"""What this machine is."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
FEATURES = ("sse2", "avx2", "bmi1", "bmi2", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "amx_bf16")


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
