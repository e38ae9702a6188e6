"""What a clock or a driver says about this machine at one moment; none of it is in the fingerprint.

Read where the platform offers it, None where it does not: containers hide /sys, virtual machines
have no governor, and GPUs answer through `nvidia-smi` only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

# Runtimes whose threads fight when two of them live in one process.
_RUNTIMES = {
    "libgomp": "GNU OpenMP",
    "libiomp5": "Intel OpenMP",
    "libomp": "LLVM OpenMP",
    "libtbb": "oneTBB",
}
_GPU_FIELDS = {
    "name": "name",
    "driver": "driver_version",
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "max_sm_mhz": "clocks.max.sm",
    "temperature_celsius": "temperature.gpu",
    "power_watts": "power.draw",
    "throttle_reasons": "clocks_throttle_reasons.active",
}
_NUMBERS = {key for key in _GPU_FIELDS if key.endswith(("_mhz", "_celsius", "_watts"))}


def clock_facts(root: Path = Path("/")) -> dict[str, Any]:
    """How the CPU's clock is steered.

    Args:
        root: where /sys is found; for tests.

    Returns:
        governor and driver of the first CPU, min_mhz, max_mhz, turbo and smt as booleans; None
        where it cannot be read.
    """
    cpu = root / "sys/devices/system/cpu"
    frequency = cpu / "cpu0/cpufreq"
    no_turbo = _read(cpu / "intel_pstate/no_turbo")
    boost = _read(cpu / "cpufreq/boost")
    smt = _read(cpu / "smt/active")
    return {
        "governor": _read(frequency / "scaling_governor"),
        "driver": _read(frequency / "scaling_driver"),
        "min_mhz": _mhz(frequency / "scaling_min_freq"),
        "max_mhz": _mhz(frequency / "scaling_max_freq"),
        "turbo": no_turbo == "0" if no_turbo else boost == "1" if boost else None,
        "smt": smt == "1" if smt else None,
    }


def openmp_runtimes(pid: int | str = "self", root: Path = Path("/")) -> list[str] | None:
    """Names of the thread runtimes that a process has loaded; None where it cannot be read."""
    maps = _read(root / "proc" / str(pid) / "maps")
    if maps is None:
        return None
    found = re.findall(r"/(libgomp|libiomp5|libomp|libtbb)[-.\w]*\.(?:so|dylib)", maps)
    return sorted({_RUNTIMES[name] for name in found})


def gpu_facts() -> list[dict[str, Any]] | None:
    """Clocks, driver and throttle reasons of every NVIDIA GPU now; None without `nvidia-smi`.

    Throttle reasons are the driver's bit mask in hexadecimal, 0x…0 for none and 0x…1 for an idle
    GPU (NVML, nvmlClocksEventReasons).
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = ",".join(_GPU_FIELDS.values())
    try:
        done = subprocess.run(
            [tool, f"--query-gpu={query}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_gpus(done.stdout) if done.returncode == 0 else None


def parse_gpus(text: str) -> list[dict[str, Any]]:
    """Lines of `nvidia-smi --format=csv,noheader,nounits` as one dictionary a GPU."""
    gpus = []
    for line in text.strip().splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        gpu: dict[str, Any] = dict(zip(_GPU_FIELDS, cells, strict=False))
        for key in _NUMBERS & gpu.keys():
            try:
                gpu[key] = float(gpu[key])
            except ValueError:  # "[N/A]" on GPUs that do not tell
                gpu[key] = None
        gpus.append(gpu)
    return gpus


def _mhz(path: Path) -> float | None:
    text = _read(path)
    return int(text) / 1000 if text and text.isdigit() else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", errors="replace").strip() or None
    except OSError:
        return None
