"""``python -m tests.faults.flat CELLS``: memory, open files and threads of a run's parent.

A run of so many tiny cells, whose parent is looked at each time that a trial is on the disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults.forked import write_networks
from tests.faults.images import write_images


@dataclass(frozen=True)
class Look:
    """At the parent after so many trials."""

    trials: int
    megabytes: float
    files: int
    threads: int
    children: int


def watch(cells: int, root: Path) -> list[Look]:
    """What the parent of a run of two networks at `cells / 2` batch sizes takes, trial by trial."""
    images = write_images(root / "pictures")
    sparse, dense = write_networks(root / "networks")
    plan = root / "small.toml"
    plan.write_text(
        "min_seconds = 0.01\nrepeats = 1\ncall_timeout = 60\ndiscards = 0\n"
        f"batch_size = {list(range(1, cells // 2 + 1))}\n"
    )
    out = root / "R"
    command = [
        sys.executable, "-m", "sparsebench", "run", str(plan), "--backbone", str(sparse),
        "--dense", f"{sparse}={dense}", "--size", "16", "--engine", "onnxruntime", "--workload",
        "inference", "--threads", "1", "--task", str(images), "--out", str(out),
    ]  # fmt: skip
    own = {**os.environ, "SPARSEBENCH_CACHE": str(root / "cache")}
    found: list[Look] = []
    with (root / "said").open("w") as said:
        parent = psutil.Popen(command, stdout=said, stderr=said, env=own)
        while parent.poll() is None:
            path = out / "trials.jsonl"
            count = path.read_bytes().count(b"\n") if path.exists() else 0
            if count and (not found or count > found[-1].trials):
                try:
                    with parent.oneshot():
                        found.append(
                            Look(
                                count,
                                parent.memory_info().rss / 2**20,
                                parent.num_fds(),
                                parent.num_threads(),
                                len(parent.children(recursive=True)),
                            )
                        )
                except psutil.Error:
                    break
            time.sleep(0.1)
        if parent.wait():
            raise subprocess.CalledProcessError(
                parent.returncode, command, (root / "said").read_text()[-2000:]
            )
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        looks = watch(int(sys.argv[1]), Path(folder))
    print("| trials | MB | open files | threads | children |\n| ---: | ---: | ---: | ---: | ---: |")
    for place in range(10):
        one = looks[round(place * (len(looks) - 1) / 9)]
        print(
            f"| {one.trials} | {one.megabytes:.0f} | {one.files} | {one.threads} | {one.children} |"
        )
