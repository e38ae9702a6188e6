"""Contract of every engine in the registry: the same network, the same numbers.

An engine added by one file and one line in the registry is tested here without edits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sparsebench.exporters.engines.base import CompileRequest, EngineError
from sparsebench.exporters.engines.onnxruntime import OnnxRuntimeEngine
from sparsebench.exporters.engines.torch import TorchEngine
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.torch_module import build_module
from sparsebench.exporters.worker import environments
from sparsebench.exporters.worker.client import WorkerFailed
from sparsebench.exporters.worker.launch import ENGINES, engine, probe, start_worker
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.errors import UnknownNameError
from sparsebench.models.zoo.load import load_backbone

IMAGES = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)
# Optional extras and platforms without DeepSparse are the only reasons for an engine to be
# absent here; every other engine must be there or the test fails.
OPTIONAL = {"openvino"}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    # The cache of exports is the test's own, that of environments stays the user's.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        readers = readers_of(ENGINES)  # one file for all of them, as in a run
        backbone = load_backbone("resnet18/uniform-90@generated")
        return export_backbone(backbone, size=32, readers=readers)


def skip_if_it_cannot_be_here(name: str) -> None:
    home = engine(name).environment
    if home is not None and (reason := environments.unsupported(home)):
        pytest.skip(f"{name}: {reason}")
    found = probe(name, build=True)
    if not found.ok and name in OPTIONAL:
        pytest.skip(f"{name} is an optional extra: {found.reason}")
    assert found.ok, found.reason
    assert found.version
    assert found.licence
    assert found.support


@pytest.mark.parametrize("name", ENGINES.names())
def test_every_engine_computes_what_pytorch_computes(name: str, artifact: Artifact) -> None:
    skip_if_it_cannot_be_here(name)
    with torch.inference_mode():
        expected = build_module(artifact)(torch.from_numpy(IMAGES)).numpy()
    with start_worker(name, threads=1) as worker:
        answer = worker.compile(artifact, CompileRequest(batch_size=4, threads=1))
        full, partial = worker.run(IMAGES), worker.run(IMAGES[:3])
        samples = worker.time(worker.load(IMAGES), calls=2, budget=0, most=2)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(full, expected, atol=1e-4 * scale)
    np.testing.assert_allclose(partial, expected[:3], atol=1e-4 * scale)
    assert answer["describe"]["threads"] == 1
    assert 0 <= answer["describe"]["supported_fraction"] <= 1
    assert len(samples) == 2


@pytest.mark.parametrize("name", ENGINES.names())
def test_every_engine_states_what_it_is_without_importing_its_library(name: str) -> None:
    one = engine(name)
    assert one.name == name
    assert one.reads in ("onnx", "torch")
    assert "cpu" in one.devices
    assert "fp32" in one.precisions


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no list of loaded libraries")
def test_a_process_of_native_does_not_load_pytorch(artifact: Artifact) -> None:
    """Its import takes seconds and 200 MB, in each of many processes of a run."""
    with start_worker("native", threads=1) as worker:
        for batch in (4, 17):  # lines of pixels, whole blocks
            worker.compile(artifact, CompileRequest(batch_size=batch, threads=1))
        worker.run(np.zeros((17, 3, 32, 32), np.float32))
        assert "libtorch" not in Path(f"/proc/{worker.pid}/maps").read_text()


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_a_truncated_artifact_is_a_reason_and_not_a_traceback(
    name: str, artifact: Artifact, tmp_path: Path
) -> None:
    for path in (artifact.onnx, artifact.weights):
        assert path is not None
        (tmp_path / Path(path).name).write_bytes(Path(path).read_bytes()[:2000])
    (tmp_path / "artifact.json").write_text((Path(artifact.folder) / "artifact.json").read_text())
    broken = Artifact.read(tmp_path)
    with start_worker(name, threads=1) as worker, pytest.raises(WorkerFailed) as failure:
        worker.compile(broken, CompileRequest(4, 1))
    assert failure.value.kind in ("engine", "crash")
    assert failure.value.reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_a_reason(artifact: Artifact) -> None:
    with start_worker("torch", threads=1) as worker, pytest.raises(WorkerFailed, match="no CUDA"):
        worker.compile(artifact, CompileRequest(4, 1, device="cuda"))


def test_fp32_is_not_shortened_to_tf32(artifact: Artifact) -> None:
    """cuDNN does that by default, and a convolution would have factors of 10 bits."""
    libraries: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [library.allow_tf32 for library in libraries]
    try:
        for library in libraries:
            library.allow_tf32 = True
        request = CompileRequest(batch_size=2, threads=torch.get_num_threads())
        TorchEngine().compile(artifact, request)
        assert not any(library.allow_tf32 for library in libraries)
    finally:
        for library, allowed in zip(libraries, before, strict=True):
            library.allow_tf32 = allowed


def test_onnx_runtime_on_the_cpu_is_no_gpu(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where CUDA's libraries are missing it takes the CPU and says so in a log only."""
    import onnxruntime

    have = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    made = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: have)
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, providers: made(path, options, providers=have[1:]),
    )
    with pytest.raises(EngineError, match="could not use CUDAExecutionProvider"):
        OnnxRuntimeEngine().compile(
            artifact, CompileRequest(batch_size=2, threads=1, device="cuda")
        )


def test_an_unknown_engine_offers_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'deepsparse'"):
        engine("depsparse")


def test_a_stated_interpreter_without_the_library_is_not_available() -> None:
    """`[engines.deepsparse] python = ...` may name a Python that has no DeepSparse."""
    found = probe("deepsparse", python="/usr/bin/false")
    assert not found.ok
    assert found.reason
