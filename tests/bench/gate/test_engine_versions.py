"""Two versions of an engine, in turns: tiny wheels built here, real environments and processes."""

from __future__ import annotations

import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.bench.conftest import Result

Cli = Callable[..., Result]
WEIGHT = np.arange(1, 13, dtype=np.float32).reshape(4, 3) / 7
SECONDS = {"1.0": 0.01, "2.0": 0.04}
# Just what the engine's file calls; it knows the one network of this test by heart.
LIBRARY = """
import time
import numpy as np
__version__ = "{version}"
WEIGHT = np.array({weight}, dtype=np.float32)
class ExecutionMode:
    ORT_SEQUENTIAL = 0
class SessionOptions:
    pass
def get_available_providers():
    return ["CPUExecutionProvider"]
class Input:
    name = "images"
class InferenceSession:
    def __init__(self, path, options, providers):
        pass
    def get_inputs(self):
        return [Input]
    def get_providers(self):
        return ["CPUExecutionProvider"]
    def run(self, names, feeds):
        end = time.perf_counter() + {seconds}
        features = feeds["images"].mean((2, 3)) @ WEIGHT.T
        time.sleep(max(0.0, end - time.perf_counter()))
        return [features]
"""


def wheel(folder: Path, name: str, version: str, files: dict[str, str]) -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions of the engine's package and a numpy that is this interpreter's own."""
    folder = own_index(tmp_path, SECONDS, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return folder


def own_index(root: Path, seconds: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all uv can see: ONNX Runtimes by version and time of a call."""
    folder = root / "wheels"
    folder.mkdir()
    for version, took in seconds.items():
        text = LIBRARY.format(version=version, weight=WEIGHT.tolist(), seconds=took)
        wheel(folder, "onnxruntime", version, {"onnxruntime.py": text})
    ours = sysconfig.get_paths()["purelib"]
    wheel(folder, "numpy", "99.0", {"numpy_of_the_tests.pth": ours + "\n"})
    for key, value in (
        ("UV_NO_INDEX", "1"),
        ("UV_OFFLINE", "1"),
        ("UV_FIND_LINKS", str(folder)),
        ("UV_CACHE_DIR", str(root / "uv")),
        ("SPARSEBENCH_CACHE", str(root / "cache")),
    ):
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return folder


def network(path: Path) -> None:
    """A convolution of one pixel, the mean over the plane, and a classifier that is cut off."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "w"], ["planes"]),
            helper.make_node("GlobalAveragePool", ["planes"], ["means"]),
            helper.make_node("Flatten", ["means"], ["features"]),
            helper.make_node("Gemm", ["features", "classes"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(WEIGHT.reshape(4, 3, 1, 1), "w"),
            numpy_helper.from_array(np.ones((4, 2), np.float32), "classes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))


def test_a_slower_version_fails_and_leaves_its_runs(
    cli: Cli, index: Path, tmp_path: Path, images: Path
) -> None:
    network(tmp_path / "tiny.onnx")
    (tmp_path / "small.toml").write_text(
        'backbones = ["tiny.onnx"]\nworkloads = ["inference"]\nmin_seconds = 0.01\n'
        f'discards = 0\nseeds = [1]\nepochs = 1\nthreads = 1\ntasks = ["{images}"]\n'
    )
    done = cli(
        "check", "--base-engine", "onnxruntime==1.0", "--head-engine", "onnxruntime==2.0",
        "--plan", "small.toml", "--blocks", 3, "--run-options", "--batch-size 4",
        "--out", tmp_path / "kept",
    )  # fmt: skip
    assert done.code == 1, done
    out = " ".join(done.out.split())
    assert "head takes" in out and f"the runs are in {tmp_path / 'kept'}" in out
    assert "1 of 1 cells failed" in out and "--base-engine onnxruntime==1.0" in out
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == {"base.toml", "head.toml", "base", "head"}


def test_what_cannot_be_compared_is_refused(cli: Cli, index: Path, tmp_path: Path) -> None:
    for base, head, complaint in (
        ("onnxruntime", "onnxruntime==2.0", "names no version"),
        ("onnxruntime==1.0", "openvino==2.0", "two engines, not two versions"),
        ("onnxruntme==1.0", "onnxruntme==2.0", "Did you mean 'onnxruntime'"),
        ("torch==1.0", "torch==2.0", "needs the suite's own environment"),
        ("onnxruntime==1.0", "onnxruntime==3.0", "uv could not build"),
        ("onnxruntime==1.0", "", "two commits or two versions"),
    ):
        done = cli("check", "--base-engine", base, "--head-engine", head, "--blocks", 3)
        assert done.code == 2, (base, head, done)
        assert complaint in " ".join(done.err.split()), (complaint, done.err)
