"""One line on the machine: a figure without it says nothing."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path


def machine_line(versions: Mapping[str, str]) -> str:
    """Processor, cores, memory, system, Python, the version of each engine, and how busy the machine is: if it is, believe nothing."""
    told = ", ".join(f"{engine} {version}" for engine, version in versions.items())
    hardware = f"{cpu_model()}, {os.cpu_count()} cores, {memory_gb():.0f} GB"
    return f"{hardware}{load()}; {platform.system()} {platform.release()}; Python {platform.python_version()}; {told}"


def load() -> str:
    """How many processes wanted a core in the last minutes."""
    return f", load {os.getloadavg()[1]:.1f}" if hasattr(os, "getloadavg") else ""


def cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def memory_gb() -> float:
    if not hasattr(os, "sysconf"):
        return 0.0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
