"""Facts of this machine, and the fingerprint that says whether two runs may share numbers.

Everything is read where the platform offers it and left None where it does not: containers
hide files, macOS has no /proc.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sparsebench.models.cpus import usable_cpus

MUST_MATCH = (
    "system",
    "arch",
    "cpu",
    "isa",
    "caches",
    "physical_cores",
    "logical_cpus",
    "usable_cpus",
    "threads_per_core",
    "cpu_quota",
    "memory_gib",
)
"""What the fingerprint covers. Kernel, libc and GPUs are recorded beside it: kernels are
patched on the same machine, and GPUs must match for records with device cuda only."""

# What decides which kernels an inference engine picks.
ISA = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
    "avx_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimddp", "sve", "sve2", "i8mm", "bf16",
)  # fmt: skip

PACKAGES = (
    "sparsebench", "torch", "torchvision", "timm", "numpy", "scipy", "onnx", "onnxruntime",
    "openvino", "deepsparse", "scikit-learn", "pillow", "safetensors",
)  # fmt: skip

GIB = 2**30


def machine_facts(*, gpus: bool = False, root: Path = Path("/")) -> dict[str, Any]:
    """All facts with their `fingerprint`: the `machine` of a record.

    Args:
        gpus: also ask torch for the names of the GPUs (imports torch).
        root: where /proc and /sys are found; for tests.

    Returns:
        Keys of `MUST_MATCH`, then kernel, libc, python, virtual, gpus, fingerprint. Sizes are in
        GiB or KiB as the key or value says, quotas in CPUs.
    """
    cpuinfo = _read(root / "proc/cpuinfo")
    physical, logical = _cores(cpuinfo)
    facts: dict[str, Any] = {
        "system": platform.system(),
        "arch": platform.machine(),
        "cpu": _cpu_model(cpuinfo),
        "isa": _isa(cpuinfo),
        "caches": _caches(root),
        "physical_cores": physical,
        "logical_cpus": logical,
        "usable_cpus": usable_cpus(),
        "threads_per_core": None if not physical or not logical else logical // physical,
        "cpu_quota": cpu_quota(root),
        "memory_gib": _memory_gib(root),
    }
    facts["fingerprint"] = fingerprint(facts)
    return {
        **facts,
        "kernel": platform.release(),
        "libc": " ".join(part for part in platform.libc_ver() if part) or None,
        "python": platform.python_version(),
        "virtual": "hypervisor" in _flags(cpuinfo) if cpuinfo else None,
        "gpus": _gpu_names() if gpus else None,
    }


def fingerprint(facts: Mapping[str, Any]) -> str:
    """sha256 over the must-match keys of `machine_facts`, 16 hex digits."""
    text = json.dumps({key: facts.get(key) for key in MUST_MATCH}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe_machine(facts: Mapping[str, Any]) -> str:
    """One line for a person: processor, cores, memory, system."""
    cores = facts.get("usable_cpus") or facts.get("logical_cpus")
    parts = [
        str(facts.get("cpu") or "unknown processor"),
        f"{cores} CPUs" if cores else "",
        f"quota {facts['cpu_quota']:g} CPUs" if facts.get("cpu_quota") else "",
        f"{facts['memory_gib']:g} GiB" if facts.get("memory_gib") else "",
        _widest(facts.get("isa") or ()),
        str(facts.get("system") or ""),
        *(facts.get("gpus") or ()),
    ]
    return ", ".join(part for part in parts if part)


def load_now(root: Path = Path("/")) -> dict[str, float | None]:
    """What else the machine is doing, for the drift rule: read before and after each block.

    Returns:
        load1: runnable processes, 1-minute mean; steal_seconds: CPU time that the hypervisor has
        taken since boot, all CPUs; throttled_seconds: time that the quota has held this group
        back; mhz: mean clock of the CPUs; cpu_seconds: CPU time that all programs have taken
        since boot of those CPUs that this process may use; own_seconds: CPU time of this process
        and of its children that have ended. None where it cannot be read.
    """
    try:
        load: float | None = os.getloadavg()[0]
    except (OSError, AttributeError):
        load = None
    clocks = [float(m) for m in re.findall(r"cpu MHz\s*:\s*([\d.]+)", _read(root / "proc/cpuinfo"))]
    return {
        "load1": load,
        "steal_seconds": _steal_seconds(root),
        "throttled_seconds": _throttled_seconds(root),
        "mhz": sum(clocks) / len(clocks) if clocks else None,
        "cpu_seconds": _cpu_seconds(root),
        "own_seconds": sum(os.times()[:4]),
    }


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Installed version of each distribution, None where it is not installed."""
    versions: dict[str, str | None] = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs that the control group grants, v2 or v1; None without a limit."""
    limits = [_quota_v2(root, group) for group in _groups(root, "")]
    limits += [_quota_v1(root, group) for group in _groups(root, "cpu")]
    return min((limit for limit in limits if limit), default=None)


def _groups(root: Path, controller: str) -> list[str]:
    """This process's control group and its parents, "" last (that of a container)."""
    own = ""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controller in controllers.split(","):
            own = path.strip("/")
    parts = own.split("/") if own else []
    return ["/".join(parts[:count]) for count in range(len(parts), -1, -1)]


def _quota_v2(root: Path, group: str) -> float | None:
    quota, period = [*_read(root / "sys/fs/cgroup" / group / "cpu.max").split(), "", ""][:2]
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _quota_v1(root: Path, group: str) -> float | None:
    for controller in ("cpu", "cpu,cpuacct"):
        folder = root / "sys/fs/cgroup" / controller / group
        quota = _read(folder / "cpu.cfs_quota_us").strip()
        period = _read(folder / "cpu.cfs_period_us").strip()
        if quota.isdigit() and period.isdigit():
            return int(quota) / int(period)
    return None


def _cpu_model(cpuinfo: str) -> str | None:
    match = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    if match:
        return " ".join(match[1].split())
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string")
    return platform.processor() or None


def _flags(cpuinfo: str) -> set[str]:
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return set(match[1].split()) if match else set()


def _isa(cpuinfo: str) -> list[str]:
    flags = _flags(cpuinfo)
    if not flags and sys.platform == "darwin":
        flags = {"neon"} if platform.machine() == "arm64" else set()
    return [name for name in ISA if name in flags]


def _widest(isa: Iterable[str]) -> str:
    """The instruction set that matters most, as vendors write it."""
    present = set(isa)
    names = {
        "amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx512f": "AVX-512",
        "avx_vnni": "AVX2 VNNI", "avx2": "AVX2", "sve2": "SVE2", "sve": "SVE", "asimd": "NEON",
        "neon": "NEON",
    }  # fmt: skip
    return next((text for name, text in names.items() if name in present), "")


def _cores(cpuinfo: str) -> tuple[int | None, int | None]:
    """Physical cores and logical CPUs."""
    blocks = [block for block in cpuinfo.split("\n\n") if "processor" in block]
    cores = {
        tuple(re.findall(r"^(?:physical id|core id)\s*:\s*(\d+)", block, re.MULTILINE))
        for block in blocks
    } - {()}
    if blocks:
        return len(cores) or None, len(blocks)
    import psutil

    return psutil.cpu_count(logical=False), psutil.cpu_count()


def _caches(root: Path) -> dict[str, str]:
    """Cache of the first CPU, "L1d": "32K", "L3": "32768K"."""
    caches = {}
    for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind = _read(index / "level").strip(), _read(index / "type").strip()
        size = _read(index / "size").strip()
        if level and size:
            suffix = {"Data": "d", "Instruction": "i"}.get(kind, "")
            caches[f"L{level}{suffix}"] = size
    return caches


def _memory_gib(root: Path) -> int:
    """Memory, or the control group's limit if that is smaller; whole GiB."""
    match = re.search(r"^MemTotal:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    if match:
        total = int(match[1]) * 1024
    else:
        import psutil

        total = psutil.virtual_memory().total
    limits = [
        _read(root / "sys/fs/cgroup" / group / "memory.max") for group in _groups(root, "")
    ] + [
        _read(root / "sys/fs/cgroup/memory" / group / "memory.limit_in_bytes")
        for group in _groups(root, "memory")
    ]
    known = [int(text) for text in limits if text.strip().isdigit()]
    return round(min([total, *known]) / GIB)


def _steal_seconds(root: Path) -> float | None:
    fields = (_read(root / "proc/stat").splitlines() or [""])[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    return int(fields[8]) / float(os.sysconf("SC_CLK_TCK"))


def _cpu_seconds(root: Path) -> float | None:
    """Time of all programs on this process's CPUs: all but idle, waiting for disks and stolen."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    ticks = 0
    seen = 0
    for number, values in re.findall(r"^cpu(\d+) (.+)$", _read(root / "proc/stat"), re.MULTILINE):
        if int(number) in usable:
            user, nice, system, _, _, irq, softirq = map(int, values.split()[:7])
            ticks, seen = ticks + user + nice + system + irq + softirq, seen + 1
    return ticks / float(os.sysconf("SC_CLK_TCK")) if seen == len(usable) > 0 else None


def _throttled_seconds(root: Path) -> float | None:
    for key, unit, path in (
        ("throttled_usec", 1e6, "sys/fs/cgroup/cpu.stat"),
        ("throttled_time", 1e9, "sys/fs/cgroup/cpu/cpu.stat"),
    ):
        match = re.search(rf"^{key} (\d+)", _read(root / path), re.MULTILINE)
        if match:
            return int(match[1]) / unit
    return None


def _gpu_names() -> list[str]:
    try:
        import torch

        return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except (ImportError, OSError, RuntimeError):  # no torch, or one whose CUDA is broken
        return []


def _sysctl(key: str) -> str | None:
    try:
        done = subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
