"""A pruned YOLOv5 on the native engine computes what ONNX Runtime does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.engines.onnxruntime import OnnxRuntimeEngine
from sparsebench.exporters.onnx.detector import export_detector
from sparsebench.models.zoo.load import load_backbone


@pytest.mark.parametrize(("classes", "count"), [(80, 3), (3, 9)])
def test_a_pruned_detector_is_onnx_runtimes(
    classes: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    backbone = load_backbone("yolov5n/uniform-90@generated")
    artifact = export_detector(backbone, size=64, output="detector", classes=classes)
    assert artifact.output_dim == 3 * (5 + classes) * (8 * 8 + 4 * 4 + 2 * 2)
    images = np.random.default_rng(0).random((count, 3, 64, 64), np.float32)
    request = CompileRequest(batch_size=count, threads=1)
    ours, theirs = (
        engine.compile(artifact, request).run(images)
        for engine in (NativeEngine(), OnnxRuntimeEngine())
    )
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()
