"""Which of torch's exporters writes a network, and what is said where none can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.exporters.onnx import exporters
from sparsebench.exporters.onnx.export import export_backbone, write_onnx
from sparsebench.exporters.onnx.exporters import EXPORTERS, KEY, Exporter
from sparsebench.exporters.onnx.onnx_weights import onnx_mask, weighted_nodes
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_hash, mask_of
from sparsebench.models.zoo.load import load_backbone
from tests.exporters.conftest import TinyNet

IMAGES = np.random.default_rng(0).standard_normal((3, 3, 16, 16), dtype=np.float32)


class Folding(nn.Module):
    """Its fold came with opset 18; otherwise a convolution, batch norm, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        patches = functional.unfold(self.norm(self.conv(images)), 4, stride=4)
        planes = functional.fold(patches.relu(), (16, 16), 4, stride=4)
        return self.fc(planes.mean((2, 3)))  # type: ignore[no-any-return]


def refusing(said: str) -> Any:
    def write(*given: object) -> None:
        raise RuntimeError(f"{said}\nand a page more")

    return write


def test_the_first_that_can_writes_the_file(tmp_path: Path) -> None:
    network = TinyNet()
    assert write_onnx(network, tmp_path / "a.onnx", 16) is EXPORTERS[0]
    assert [exporter.name in KEY for exporter in EXPORTERS] == [True, True]


def test_an_artifact_says_which_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    other = Exporter("another", 13, EXPORTERS[0].write)
    chain = (Exporter("broken", 9, refusing("no")), other)
    monkeypatch.setattr(exporters, "EXPORTERS", chain)
    artifact = export_backbone(load_backbone("timm:test_convnext/uniform-90@generated"))
    assert (artifact.facts["exporter"], artifact.facts["opset"]) == ("another", 13)


def test_what_none_can_write_is_one_message_with_what_each_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = [Exporter("old", 13, refusing("no Fold.")), Exporter("new", 18, refusing("no Spam"))]
    monkeypatch.setattr(exporters, "EXPORTERS", tuple(chain))
    with pytest.raises(SparsebenchError) as told:
        write_onnx(TinyNet(), tmp_path / "a.onnx", 16)
    assert "old cannot write the network: no Fold;" in told.value.cause
    assert "new cannot write the network: no Spam." in told.value.cause
    assert "a page more" not in str(told.value)
    chain[1] = Exporter("new", 18, refusing(""), needs="spam_not_there")
    monkeypatch.setattr(exporters, "EXPORTERS", tuple(chain))
    with pytest.raises(SparsebenchError, match="no Fold; .*install .*export"):
        write_onnx(TinyNet(), tmp_path / "a.onnx", 16)


def test_the_newer_one_writes_what_the_older_cannot(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")  # an extra; the development environment has it
    torch.manual_seed(0)
    network = Folding().eval()
    with torch.no_grad():
        network.norm.weight.uniform_(0.5, 2)
        for layer in (network.conv, network.fc):
            layer.weight[torch.rand_like(layer.weight) < 0.5] = 0
    path = tmp_path / "model.onnx"
    written = write_onnx(network, path, 16)
    assert written is EXPORTERS[1]
    model = onnx.load(path)
    assert ([o.version for o in model.opset_import], model.ir_version) == ([written.opset], 8)
    assert mask_hash(onnx_mask(path, network, (3, 16, 16))) == mask_hash(mask_of(network))
    session = onnxruntime.InferenceSession(path)
    for count in (1, 3):
        with torch.inference_mode():
            expected = network(torch.from_numpy(IMAGES[:count])).numpy()
        found = session.run(None, {"images": IMAGES[:count]})[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_both_write_the_same_weights(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    network = TinyNet().eval()
    weights = []
    for exporter in EXPORTERS:
        path = tmp_path / f"{exporter.name}.onnx"
        exporter.write(network, torch.from_numpy(IMAGES[:2]), path)
        weights.append([node.weight for node in weighted_nodes(path)])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
