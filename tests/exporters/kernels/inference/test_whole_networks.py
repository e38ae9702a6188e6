"""ResNets with generated and with real masks: native against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.models.zoo.load import load_backbone

pytestmark = pytest.mark.skipif(
    find_compiler() is None or "avx512" not in supported_isas(), reason="no compiler or AVX-512"
)


@pytest.mark.parametrize(
    ("backbone", "size", "batch", "threads"),
    [
        ("resnet18/gmp_uniform-90", 64, 64, 2),
        ("resnet18/rigl-90", 64, 33, 1),
        ("resnet18/acdc-90", 64, 15, 2),
        ("resnet18/uniform-90@generated", 96, 16, 1),
        ("resnet50/uniform-90@generated", 64, 32, 2),
        ("resnet18/uniform-90@generated", 64, 1, 1),
        ("resnet50/uniform-90@generated", 224, 1, 2),
        ("resnet50/uniform-90@generated", 224, 9, 2),
    ],
)
def test_features_are_those_of_onnx_runtime(
    backbone: str, size: int, batch: int, threads: int
) -> None:
    artifact = export_backbone(load_backbone(backbone), size=size)
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype(np.float32)
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: images})[0]
    compiled = NativeEngine().compile(artifact, CompileRequest(batch, threads))
    described = compiled.describe()
    assert described["why"] == "" and described["code_bytes"] > 0
    assert set(described["layers"].values()) == {"generated"}
    near = 1e-5 * float(np.abs(expected).max())
    np.testing.assert_allclose(compiled.run(images), expected, rtol=0, atol=near)
