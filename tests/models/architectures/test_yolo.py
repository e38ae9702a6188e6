"""YOLOv3 and YOLOv5 against what their authors publish."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sparsebench.models.architectures import (
    build,
    class_weight,
    classes_of,
    feature_extractor,
    find_architecture,
    prunable_layers,
)
from sparsebench.models.costs import count_costs, total_cost
from sparsebench.models.detection.head import Detector
from sparsebench.models.errors import SparsebenchError

YOLOS = ("yolov3", "yolov5n", "yolov5s", "yolov5m", "yolov5l")


def shapes_only(arch: str, classes: int = 80) -> nn.Module:
    with torch.device("meta"):
        return build(arch, classes)


# Parameters in millions and GFLOPs at 640 px (two for a multiplication and its sum, 80 classes):
# the table of YOLOv5's release v6.0.
@pytest.mark.parametrize(
    ("arch", "millions", "gflops"),
    [
        ("yolov5n", 1.9, 4.5),
        ("yolov5s", 7.2, 16.5),
        ("yolov5m", 21.2, 49.0),
        ("yolov5l", 46.5, 109.1),
    ],
)
def test_yolov5_is_as_large_as_published(arch: str, millions: float, gflops: float) -> None:
    module = shapes_only(arch)
    assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(millions, abs=0.07)
    with torch.device("meta"):
        total = total_cost(count_costs(module, (3, 640, 640)))
    # The published ones count batch norm and activations as well.
    assert 2 * total.macs / 1e9 == pytest.approx(gflops, rel=0.01)


def test_yolov3_is_as_large_as_published() -> None:
    module = shapes_only("yolov3")
    # darknet's yolov3.weights has 248,007,048 bytes: a header of 20, then float32. Of a batch
    # norm it holds the mean and the variance too.
    running = [t for n, t in module.named_buffers() if "running" in n]
    values = sum(t.numel() for t in (*module.parameters(), *running))
    assert 20 + 4 * values == 248_007_048
    # darknet prints 65.86 BFLOPs for yolov3.cfg at 416 px, pjreddie.com/darknet/yolo says so too.
    with torch.device("meta"):
        total = total_cost(count_costs(module, (3, 416, 416)))
    assert 2 * total.macs / 1e9 == pytest.approx(65.86, abs=0.01)


def test_darknet_53_has_52_convolutions_and_the_whole_network_75() -> None:
    """Table 1 counts 53 with the classifier, the layers of yolov3.cfg are 75 convolutions."""
    names = list(prunable_layers(shapes_only("yolov3")))
    assert sum(n.startswith(("maps.stem", "maps.stages")) for n in names) == 52
    assert len(names) == 75


@pytest.mark.parametrize(
    ("arch", "depth"), [("yolov5n", 1), ("yolov5s", 1), ("yolov5m", 2), ("yolov5l", 3)]
)
def test_the_number_of_convolutions_follows_from_the_blocks(arch: str, depth: int) -> None:
    """A partial block of n bottlenecks has 3 + 2 n; stages have n, 2 n, 3 n, n, the path 4 n."""
    partial = 8 * 3 + 2 * (1 + 2 + 3 + 1 + 4) * depth
    # The stem, four shrinking ones, two of the pyramid, two narrow and two shrinking ones of the
    # path, a predictor for each of three scales.
    assert len(prunable_layers(shapes_only(arch))) == partial + 1 + 4 + 2 + 4 + 3


@pytest.mark.parametrize("arch", YOLOS)
def test_predictions_lie_on_grids_of_strides_8_16_and_32(arch: str) -> None:
    module = shapes_only(arch, 7).eval()
    assert isinstance(module, Detector) and module.head is not None
    images = torch.zeros(2, 3, 64, 96, device="meta")
    raw = module.head(module.maps(images))
    assert [tuple(one.shape) for one in raw] == [
        (2, 3 * 12, 64 // s, 96 // s)
        for s in find_architecture(arch).grids.strides  # type: ignore[union-attr]
    ]
    assert module(images).shape == (2, 36 * (8 * 12 + 4 * 6 + 2 * 3))


def test_the_number_of_classes_is_read_from_the_predictors() -> None:
    module = shapes_only("yolov5n", 20)
    assert classes_of("yolov5n", module.get_parameter(class_weight("yolov5n")).shape[0]) == 20
    assert classes_of("yolov5n", 16) == 0 > classes_of("yolov3", 3)


def test_a_detector_is_no_classifier() -> None:
    with pytest.raises(SparsebenchError, match="'yolov5n' finds boxes"):
        feature_extractor(shapes_only("yolov5n"), "yolov5n")


def test_maxima_are_those_of_windows_of_5_9_and_13() -> None:
    from sparsebench.models.architectures.yolov5_module import Pyramid

    torch.manual_seed(0)
    pyramid = Pyramid(8).eval()
    planes = torch.randn(1, 8, 9, 9)
    with torch.inference_mode():
        narrow = pyramid.narrow(planes)
        maxima = [nn.functional.max_pool2d(narrow, k, 1, k // 2) for k in (5, 9, 13)]
        assert torch.equal(pyramid(planes), pyramid.join(torch.cat((narrow, *maxima), 1)))
