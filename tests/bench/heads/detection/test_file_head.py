"""ONNX files that find boxes: the same ones from raw and from decoded outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsebench.bench.heads.detection.decode import Found
from sparsebench.bench.heads.detection.file_head import FileHead
from sparsebench.bench.why.inspection import inspect_target
from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.engines.onnxruntime import OnnxRuntimeEngine
from sparsebench.exporters.onnx.detector import export_detector
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.boxes import with_boxes
from sparsebench.models.sources.onnx_file import load_onnx

SIZE, CLASSES = 64, 2
OWN = ((20, 31, 25, 18, 44, 40), (60, 50, 21, 70, 80, 90), (100, 60, 70, 120, 140, 110))
ANCHORS = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))


class Exported(nn.Module):
    """Three convolutions for a network, written out as YOLOv5's exports are."""

    def __init__(self, layout: str, anchors: tuple[tuple[int, ...], ...] = ANCHORS) -> None:
        super().__init__()
        self.layout, self.anchors = layout, anchors
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layers = nn.ModuleList(nn.Conv2d(3, 3 * (5 + CLASSES), s, s) for s in (8, 16, 32))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        raw = [3 * layer(images) for layer in self.layers]
        if self.layout == "planes":
            return tuple(reversed(raw))  # the order says nothing
        count = 1 if self.layout == "one image" else -1
        values = [
            one.view(count, 3, 5 + CLASSES, *one.shape[2:]).permute(0, 1, 3, 4, 2) for one in raw
        ]
        if self.layout == "values":
            return tuple(values)
        decoded = []
        for one, stride, sizes in zip(values, (8, 16, 32), self.anchors, strict=True):
            side = SIZE // stride
            y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
            s = one.sigmoid()
            xy = (s[..., :2] * 2 - 0.5 + torch.stack((x, y), 2)) * stride
            wh = (s[..., 2:4] * 2) ** 2 * torch.tensor(sizes).reshape(1, 3, 1, 1, 2)
            if self.layout == "another formula":
                wh = one[..., 2:4].exp() * torch.tensor(sizes).reshape(1, 3, 1, 1, 2)
            whole = torch.cat((xy, wh, s[..., 4:]), 4)
            decoded.append(whole.reshape(count, 3 * side * side, 5 + CLASSES))
        joined = torch.cat(decoded, 1)
        return (joined, *values) if self.layout in ("both", "another formula") else joined


def exported(layout: str, folder: Path, anchors: tuple[tuple[int, ...], ...] = ANCHORS) -> Path:
    path = folder / f"{layout.replace(' ', '-')}.onnx"
    one = layout == "one image"
    torch.onnx.export(
        Exported(layout, anchors).eval(), (torch.zeros(1 if one else 2, 3, SIZE, SIZE),), str(path),
        input_names=["images"], dynamo=False, opset_version=13,
        dynamic_axes=None if one else {"images": {0: "batch"}},
    )  # fmt: skip
    return path


@pytest.mark.parametrize("layout", ["planes", "values", "decoded", "both", "one image"])
def test_every_layout_gives_the_same_boxes_on_every_engine(layout: str, tmp_path: Path) -> None:
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)).numpy()
    reference = _found("decoded", tmp_path, images)
    for one, other in zip(_found(layout, tmp_path, images), reference, strict=True):
        torch.testing.assert_close(one.boxes, other.boxes, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-3, atol=1e-4)
        assert torch.equal(one.labels, other.labels)
        assert len(one.boxes) > 5


def _found(layout: str, folder: Path, images: NDArray[np.float32]) -> list[Found]:
    backbone = with_boxes(load_onnx(str(exported(layout, folder))), SIZE, CLASSES)
    boxes = backbone.file.boxes
    assert boxes is not None and boxes.classes == CLASSES
    assert boxes.decoded == (layout in ("decoded", "one image"))
    assert backbone.card.preprocessing.std == (1, 1, 1)
    artifact = export_detector(backbone, size=SIZE, output="detector", classes=CLASSES)
    only = artifact.facts["batch_size"]
    assert only == (1 if layout == "one image" else None)
    batches = images.reshape(-1, only or 2, 3, SIZE, SIZE)
    found: list[list[Found]] = []
    engines: tuple[OnnxRuntimeEngine | NativeEngine, ...] = (OnnxRuntimeEngine(), NativeEngine())
    for engine in engines:
        session = engine.compile(artifact, CompileRequest(batch_size=only or 2, threads=1))
        head = FileHead(boxes)
        found.append([one for batch in batches for one in head.find(session.run(batch), (), SIZE)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.boxes, other.boxes, rtol=1e-4, atol=1e-2)
    return found[0]


def test_a_files_own_anchors_are_those_of_its_decoding(tmp_path: Path) -> None:
    """Raw outputs alone tell none; YOLOv5's in their place gave boxes of wrong sizes."""
    file = with_boxes(load_onnx(str(exported("both", tmp_path, OWN))), SIZE, CLASSES).file
    assert file.boxes is not None and not file.boxes.decoded
    told = np.array(file.boxes.grids.anchors).reshape(3, 6)
    np.testing.assert_allclose(told, OWN, rtol=1e-3)


def test_boxes_of_another_formula_are_taken_as_the_file_decodes_them(tmp_path: Path) -> None:
    file = with_boxes(load_onnx(str(exported("another formula", tmp_path))), SIZE, CLASSES).file
    assert file.boxes is not None and file.boxes.decoded


def test_inspect_tells_a_files_boxes_and_the_scale_of_its_images(tmp_path: Path) -> None:
    facts = inspect_target(str(exported("decoded", tmp_path)), size=SIZE).facts
    assert facts["boxes"].startswith("of 2 classes, in '")
    assert facts["boxes"].endswith("', which the graph decodes")
    assert "mean 0.000/0.000/0.000, std 1.000/1.000/1.000 (assumed)" in facts["input"]
    assert facts.get("features") is None
    raw = inspect_target(str(exported("planes", tmp_path)), size=SIZE).facts
    assert raw["boxes"].startswith("of 2 classes") and raw["boxes"].endswith(", raw")


def test_other_outputs_and_other_classes_are_refused(tmp_path: Path) -> None:
    file = load_onnx(str(exported("planes", tmp_path)))
    with pytest.raises(SparsebenchError, match="finds boxes of 2 classes, the task has 3"):
        with_boxes(file, SIZE, 3)
    path = tmp_path / "other.onnx"
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    torch.onnx.export(network.eval(), (torch.zeros(1, 3, SIZE, SIZE),), str(path), dynamo=False)
    with pytest.raises(SparsebenchError, match="no outputs that are known as boxes"):
        with_boxes(load_onnx(str(path)), SIZE, CLASSES)
