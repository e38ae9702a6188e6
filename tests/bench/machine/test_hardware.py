"""Clocks, thread runtimes and GPUs: what is read, and what is None where nothing can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsebench.bench.machine.hardware import clock_facts, gpu_facts, openmp_runtimes, parse_gpus


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / "sys/devices/system/cpu" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_governor_and_clock_of_a_server(tmp_path: Path) -> None:
    write(
        tmp_path,
        cpu0__cpufreq__scaling_governor="performance",
        cpu0__cpufreq__scaling_driver="intel_pstate",
        cpu0__cpufreq__scaling_min_freq="800000",
        cpu0__cpufreq__scaling_max_freq="3500000",
        intel_pstate__no_turbo="0",
        smt__active="1",
    )
    assert clock_facts(tmp_path) == {
        "governor": "performance",
        "driver": "intel_pstate",
        "min_mhz": 800.0,
        "max_mhz": 3500.0,
        "turbo": True,
        "smt": True,
    }


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    assert set(clock_facts(tmp_path).values()) == {None}
    assert openmp_runtimes(1, tmp_path) is None


def test_two_runtimes_in_one_process_are_named(tmp_path: Path) -> None:
    maps = tmp_path / "proc/7/maps"
    maps.parent.mkdir(parents=True)
    line = "7f00-7f01 r-xp 00000000 fd:00 1 /site-packages/{}\n"
    names = ("torch.libs/libgomp-a34b3233.so.1.0.0", "torch/lib/libiomp5.so", "x/libother.so")
    maps.write_text("".join(line.format(name) for name in names))
    assert openmp_runtimes(7, tmp_path) == ["GNU OpenMP", "Intel OpenMP"]


def test_gpus_as_the_driver_tells_them() -> None:
    text = "NVIDIA H200, 570.86.15, 1980, 3201, 1980, 34, 118.21, 0x0000000000000000\n"
    (gpu,) = parse_gpus(text + "\n")
    assert gpu["name"] == "NVIDIA H200"
    assert (gpu["sm_mhz"], gpu["power_watts"]) == (1980.0, 118.21)
    assert gpu["throttle_reasons"] == "0x0000000000000000"
    (silent,) = parse_gpus("Tesla, 1.0, [N/A], 1, 1, 1, [N/A], [N/A]")
    assert silent["sm_mhz"] is None


def test_without_the_tool_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_facts() is None
