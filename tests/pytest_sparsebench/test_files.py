"""The fixture with a user's own ONNX files and images: a real run, nothing replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.bench.conftest import images  # noqa: F401  (a fixture)
from tests.bench.run.test_onnx_run import DENSE, SPARSE, export

MINE = """
SMALL = dict(size=32, batch_size=8, threads=1, repeats=3, epochs=2, limit=32)

def test_mine(sparse_benchmark):
    sparse_benchmark(
        "my.onnx", dense="dense.onnx", engine="onnxruntime", task="folder",
        max_accuracy_loss=100, min_speedup=1000, **SMALL,
    )
"""


def test_files_of_ones_own_are_measured_from_a_test(
    tmp_path: Path,
    images: Path,  # noqa: F811
) -> None:
    export(SPARSE, tmp_path / "my.onnx")
    export(DENSE, tmp_path / "dense.onnx")
    (tmp_path / "folder").symlink_to(images)
    (tmp_path / "test_mine.py").write_text(MINE)
    own = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--benchmark-json=b.json"],
        cwd=tmp_path,
        env=own,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout and "points of accuracy" not in done.stdout
    assert "at least 1000x is asked for" in done.stdout
    (mine,) = json.loads((tmp_path / "b.json").read_text())["benchmarks"]
    info = mine["extra_info"]["sparsebench"]
    assert info["backbone"] == "my.onnx" and info["engine"]["name"] == "onnxruntime"
    assert info["speedup"] > 0 and info["blocks"] == 3
    assert info["accuracy_change"] is not None
    assert info["measured_sparsity"] > 0.85
    assert info["proof"]["checkpoint_mask"] == info["proof"]["onnx_mask"]
