"""PyTorch's engine on a pretended GPU: the copies there and back, and what it says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.engines.torch import TorchEngine
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.models.architectures import ARCHITECTURES
from sparsebench.models.zoo.load import load_backbone
from tests.pretended_gpu import pretended_gpu

ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")
IMAGES = np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_computes_there_what_it_computes_on_the_cpu(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    artifact = export_backbone(load_backbone("tiny/uniform-90@generated"), size=32)
    options = {"layout": "channels_last"}
    here, there = (CompileRequest(2, 1, precision, device, options) for device in ("cpu", "cuda"))
    expected = TorchEngine().compile(artifact, here).run(IMAGES)
    with pretended_gpu():
        session = TorchEngine().compile(artifact, there)
        assert np.array_equal(session.run(IMAGES), expected)
        assert session.describe()["gpu"] == "a pretended GPU"
        assert session.describe()["tf32"] is False
        layers = session.profile(IMAGES, 1)
        assert layers is not None and sum(layer.seconds for layer in layers) > 0
        searched = TorchEngine().compile(artifact, CompileRequest(2, 1, precision, "cuda"))
        assert np.allclose(searched.run(IMAGES), expected, atol=0.1)
