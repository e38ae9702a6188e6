"""Networks of timm and torchvision through export, the gate and the engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.verify import check_outputs, reference
from sparsebench.exporters.worker.launch import ENGINES
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.zoo.load import load_backbone

# A transformer, channels last with layer norm, squeeze-and-excite, plain and grouped blocks.
NETWORKS = (
    "timm:test_vit",
    "timm:test_convnext",
    "timm:test_efficientnet",
    "timm:test_byobnet",
    "torchvision:shufflenet_v2_x0_5",
)


@pytest.fixture(scope="module", params=NETWORKS)
def made(request: Any) -> Any:
    backbone = load_backbone(f"{request.param}/uniform-90@generated")
    artifact = export_backbone(backbone)
    images = np.random.default_rng(0).standard_normal((3, *artifact.input_shape), dtype=np.float32)
    return backbone, artifact, images, reference(backbone, artifact, images)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch", "native"])
def test_every_engine_passes_the_gate(made: Any, engine: str) -> None:
    backbone, artifact, images, expected = made
    request = CompileRequest(device="cpu", precision="fp32", threads=1, batch_size=len(images))
    session = ENGINES.load(engine)().compile(artifact, request)
    outputs = session.run(images)
    verdict = check_outputs(backbone, artifact, expected, outputs, "fp32")
    assert verdict.ok, verdict.reason
    assert expected.checkpoint_mask == expected.onnx_mask


def test_old_readers_can_take_the_graph(made: Any) -> None:
    model = onnx.load(export_backbone(made[0], readers=readers_of(["deepsparse"])).onnx)
    assert {o.domain: o.version for o in model.opset_import} == {"": 13}
