"""A detector of its own as an artifact: whole, with other classes, its maps alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.engines.onnxruntime import OnnxRuntimeEngine
from sparsebench.exporters.onnx.detector import build_detector, detects, export_detector
from sparsebench.exporters.onnx.detector import export_whole as whole
from sparsebench.exporters.onnx.quantise_artifact import quantised_artifact
from sparsebench.exporters.onnx.verify import reference
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.zoo.load import load_backbone

SIZE, PLACES = 64, 8 * 8 + 4 * 4 + 2 * 2


def test_the_whole_keeps_its_classes_others_get_new_last_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    backbone = load_backbone("yolov5n/uniform-90@generated")
    assert detects(backbone) and not detects(load_backbone("resnet18/dense@generated"))
    images = np.random.default_rng(0).random((2, 3, SIZE, SIZE), np.float32)
    own = whole(backbone, size=SIZE)
    assert own.output_dim == 3 * 85 * PLACES
    with torch.inference_mode():
        expected = backbone.module(torch.from_numpy(images)).numpy()
    found = reference(backbone, own, images)
    assert np.array_equal(found.outputs, expected)
    assert found.checkpoint_mask == found.onnx_mask and not found.refilled
    other = export_detector(backbone, size=SIZE, output="detector", classes=3)
    assert other.output_dim == 3 * 8 * PLACES
    proved = reference(backbone, other, images)
    assert proved.checkpoint_mask == proved.onnx_mask != found.onnx_mask
    maps = export_detector(backbone, size=SIZE, output="maps", classes=3)
    assert maps.facts["channels"] == [64, 128, 256]
    assert maps.output_dim == 64 * 64 + 128 * 16 + 256 * 4
    assert build_detector(maps).head is None


def test_a_side_that_its_grids_do_not_divide_is_refused() -> None:
    with pytest.raises(SparsebenchError, match="multiple of 32 px, not 100"):
        whole(load_backbone("yolov5n/dense@generated"), size=100)


def test_a_detector_in_int8_is_the_same_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    backbone = load_backbone("resnet18/uniform-90@generated")
    artifact = export_detector(backbone, size=64, output="detector", classes=3)
    images = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    asked = CompileRequest(2, threads=1)
    right = OnnxRuntimeEngine().compile(artifact, asked).run(images)
    for form in ("qdq", "integer"):
        made = quantised_artifact(artifact, form, "these images", lambda: images)
        rounded = OnnxRuntimeEngine().compile(made, replace(asked, precision="int8"))
        assert np.abs(rounded.run(images) - right).max() < 0.2 * np.abs(right).max()
