"""The main job on machines that lack something, as far as one machine can play another."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from sparsebench.models.cache import cache_dir
from tests.bench.run.small import COMMAND, TINY

# Read by the parent at its start: no other process may use shared memory in /dev/shm.
NO_SHM = """
import os
_access = os.access
os.access = lambda path, *rest, **more: str(path) != "/dev/shm" and _access(path, *rest, **more)
"""


def run(folder: Path, images: Path, *options: str, **environment: str) -> tuple[int, str]:
    plan = folder / "small.toml"
    plan.write_text("min_seconds = 0.01\nrepeats = 1\ncall_timeout = 400\ndiscards = 0\n")
    home = folder / "home"
    home.write_text("a file: nothing can be kept below it")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(NO_SHM)
    kept = ("LD_LIBRARY_PATH", "PYTHONHASHSEED", "OMP_NUM_THREADS")
    done = subprocess.run(
        [
            *COMMAND, "run", str(plan), "--backbone", TINY,
            "--size", "32", "--batch-size", "8", "--epochs", "2", "--task", str(images),
            "--seed", "1", "--out", str(folder / "R"), *options,
        ],
        env={
            **{key: os.environ[key] for key in kept if key in os.environ},
            "HOME": str(home), "TMPDIR": str(folder), "PYTHONPATH": str(folder / "site"),
            "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **environment,
        },
        capture_output=True, text=True, timeout=500,
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_one_core_no_home_no_path_no_shm_no_utf8(tmp_path: Path, images: Path) -> None:
    code, said = run(tmp_path, images, "--engine", "onnxruntime", "--workload", "linear-cached",
                     PATH="")  # fmt: skip
    assert code == 0, said
    assert "cache folder in your home cannot be written" in said and said.isascii()
    records = [json.loads(one) for one in (tmp_path / "R/records.jsonl").read_text().splitlines()]
    assert [record["status"] for record in records] == ["ok", "ok"]
    assert {record["engine"]["threads"] for record in records} == {1}


def test_without_a_compiler_the_kernels_say_so(tmp_path: Path, images: Path) -> None:
    code, said = run(tmp_path, images, "--engine", "native", "--workload", "inference", PATH="")
    assert code == 3, said
    assert "compiler" in said and "Traceback" not in said


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="asks Linux for its instructions")
def test_kernels_run_without_avx512(tmp_path: Path, images: Path) -> None:
    code, said = run(
        tmp_path, images, "--engine", "native", "--workload", "inference",
        SPARSEBENCH_KERNEL_ISA="portable", PATH=os.environ["PATH"],
        # The kernels' own tests compile the same library, which takes a minute.
        SPARSEBENCH_CACHE=str(cache_dir()),
    )  # fmt: skip
    assert code == 0, said
