"""Facts of a machine, from the files of several kinds of machine."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from sparsebench.bench.machine.facts import (
    MUST_MATCH,
    cpu_quota,
    describe_machine,
    fingerprint,
    load_now,
    machine_facts,
    package_versions,
)

X86 = """processor\t: {n}
model name\t: AMD EPYC  9B14
physical id\t: 0
core id\t\t: {core}
cpu MHz\t\t: 2500.5
flags\t\t: fpu avx avx2 fma avx512f avx512_vnni hypervisor
"""
ARM = """processor\t: 0
Features\t: fp asimd asimddp i8mm

processor\t: 1
Features\t: fp asimd asimddp i8mm
"""


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def smt_machine(root: Path) -> Path:
    """Two cores with two threads each."""
    cpus = "\n".join(X86.format(n=n, core=n // 2) for n in range(4))
    cache = "sys/devices/system/cpu/cpu0/cache"
    return put(
        root,
        {
            "proc/cpuinfo": cpus + "\n",
            "proc/meminfo": "MemTotal:       16384000 kB\n",
            "proc/stat": "cpu  100 0 50 900 0 0 0 250 0 0\n",
            f"{cache}/index0/level": "1\n",
            f"{cache}/index0/type": "Data\n",
            f"{cache}/index0/size": "32K\n",
            f"{cache}/index3/level": "3\n",
            f"{cache}/index3/type": "Unified\n",
            f"{cache}/index3/size": "32768K\n",
        },
    )


def test_facts_of_this_machine() -> None:
    facts = machine_facts()
    assert facts["system"] == platform.system()
    assert facts["usable_cpus"] >= 1
    assert facts["fingerprint"] == fingerprint(facts)
    assert set(MUST_MATCH) <= set(facts)
    assert describe_machine(facts)


def test_facts_of_an_x86_machine_with_smt(tmp_path: Path) -> None:
    facts = machine_facts(root=smt_machine(tmp_path))
    assert facts["cpu"] == "AMD EPYC 9B14"
    assert (facts["physical_cores"], facts["logical_cpus"], facts["threads_per_core"]) == (2, 4, 2)
    assert facts["isa"] == ["avx", "avx2", "fma", "avx512f", "avx512_vnni"]
    assert facts["caches"] == {"L1d": "32K", "L3": "32768K"}
    assert facts["memory_gib"] == 16
    assert facts["virtual"] is True
    assert "AVX-512 VNNI" in describe_machine(facts)


def test_facts_of_an_arm_machine(tmp_path: Path) -> None:
    facts = machine_facts(root=put(tmp_path, {"proc/cpuinfo": ARM}))
    assert facts["isa"] == ["asimd", "asimddp", "i8mm"]
    assert facts["logical_cpus"] == 2
    assert facts["physical_cores"] is None  # it does not say


def test_machine_that_shows_no_files_still_has_facts(tmp_path: Path) -> None:
    facts = machine_facts(root=tmp_path)
    assert facts["isa"] == [] or platform.system() == "Darwin"
    assert facts["cpu_quota"] is None and facts["caches"] == {}
    assert facts["memory_gib"] > 0
    assert len(facts["fingerprint"]) == 16
    assert load_now(tmp_path)["steal_seconds"] is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "proc/self/cgroup": "0::/box/job\n",
                "sys/fs/cgroup/box/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/box/job/cpu.max": "400000 100000\n",
            },
            2.0,  # the parent's limit is the tighter one
        ),
        (
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/docker/x\n0::/\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            {
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_quota_of_control_groups(
    tmp_path: Path, files: dict[str, str], expected: float | None
) -> None:
    assert cpu_quota(put(tmp_path, files)) == expected


def test_memory_limit_of_a_container_counts(tmp_path: Path) -> None:
    root = put(smt_machine(tmp_path), {"sys/fs/cgroup/memory.max": str(4 * 2**30)})
    assert machine_facts(root=root)["memory_gib"] == 4


def test_fingerprint_is_of_what_decides_times(tmp_path: Path) -> None:
    facts = machine_facts(root=smt_machine(tmp_path))
    assert fingerprint(facts | {"kernel": "7.0", "gpus": ["H200"]}) == facts["fingerprint"]
    for key, value in (("cpu", "Xeon"), ("usable_cpus", 64), ("cpu_quota", 1.0)):
        assert fingerprint(facts | {key: value}) != facts["fingerprint"]


def test_load_and_steal(tmp_path: Path) -> None:
    load = load_now(put(smt_machine(tmp_path), {"sys/fs/cgroup/cpu.stat": "throttled_usec 500\n"}))
    assert load["steal_seconds"] == pytest.approx(2.5)  # 250 ticks of 10 ms
    assert load["mhz"] == pytest.approx(2500.5)
    assert load["throttled_seconds"] == pytest.approx(0.0005)


def test_package_versions() -> None:
    versions = package_versions(["numpy", "no-such-distribution"])
    assert versions["numpy"] is not None and versions["numpy"][0].isdigit()
    assert versions["no-such-distribution"] is None
