"""darknet's file of YOLOv3, written and run here from the list of layers in its yolov3.cfg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sparsebench.models.architectures import build
from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.checkpoints.fit import build_from
from sparsebench.models.detection.head import Detector
from sparsebench.models.errors import SparsebenchError

CLASSES = 2
Layer = tuple[Any, ...]


def conv(filters: int, size: int, stride: int = 1, *, last: bool = False) -> Layer:
    return ("conv", filters, size, stride, last)


def yolov3_cfg() -> list[Layer]:
    """The 107 layers in order; shortcuts read the one three above, routes as they say."""
    layers: list[Layer] = [conv(32, 3)]
    for filters, blocks in ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)):
        layers.append(conv(filters, 3, 2))
        for _ in range(blocks):
            layers += [conv(filters // 2, 1), conv(filters, 3), ("shortcut", -3)]
    for filters, finer in ((512, 61), (256, 36), (128, None)):
        layers += [conv(filters, 1), conv(2 * filters, 3)] * 3
        layers += [conv(3 * (5 + CLASSES), 1, last=True), ("yolo",)]
        if finer is not None:
            layers += [("route", -4), conv(filters // 2, 1), ("upsample",), ("route", -1, finer)]
    return layers


def write(path: Path, layers: list[Layer]) -> dict[int, list[NDArray[np.float32]]]:
    """The file; and of each convolution its values, in the file's order."""
    rng = np.random.default_rng(0)
    channels: list[int] = []
    values: dict[int, list[NDArray[np.float32]]] = {}
    before = 3
    for number, (kind, *rest) in enumerate(layers):
        if kind == "conv":
            filters, size, _, last = rest
            shape = (filters, before, size, size)
            spread = np.float32((2 / (before * size**2)) ** 0.5)
            weight: NDArray[np.float32] = rng.standard_normal(shape, np.float32) * spread
            small = np.asarray(rng.uniform(-0.1, 0.1, (3, filters)), np.float32)
            variance = np.asarray(rng.uniform(0.5, 1.5, filters), np.float32)
            parts = [small[0]] if last else [small[0], 1 + small[1], small[2], variance]
            values[number] = [*parts, weight]
            before = filters
        elif kind == "route":
            before = sum(channels[number + r if r < 0 else r] for r in rest)
        channels.append(before)
    header = np.array([0, 2, 0], "<i4").tobytes() + np.array([32_013_312], "<u8").tobytes()
    with path.open("wb") as file:
        file.write(header)
        for parts in values.values():
            for part in parts:
                file.write(part.astype("<f4").tobytes())
    return values


def run(layers: list[Layer], values: dict[int, list[NDArray[np.float32]]], x: Tensor) -> Any:
    """What the layers compute: raw predictions, coarse to fine."""
    outputs: list[Tensor] = []
    found = []
    for number, (kind, *rest) in enumerate(layers):
        if kind == "conv":
            _, size, stride, last = rest
            *parts, weight = (torch.from_numpy(part) for part in values[number])
            bias = parts[0] if last else None
            x = functional.conv2d(x, weight, bias, stride, size // 2)
            if not last:
                shift, scale, mean, variance = (p.reshape(1, -1, 1, 1) for p in parts)
                x = scale * (x - mean) / torch.sqrt(variance + 1e-5) + shift
                x = torch.where(x > 0, x, 0.1 * x)
        elif kind == "shortcut":
            x = x + outputs[number + rest[0]]
        elif kind == "upsample":
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        elif kind == "route":
            x = torch.cat([outputs[number + r if r < 0 else r] for r in rest], 1)
        else:
            found.append(x)
        outputs.append(x)
    return found


def test_a_file_becomes_the_network_that_its_layers_describe(tmp_path: Path) -> None:
    layers, path = yolov3_cfg(), tmp_path / "yolov3.weights"
    assert len(layers) == 107  # as darknet counts them
    values = write(path, layers)
    loaded = load_checkpoint(path)
    assert (loaded.format, loaded.metadata["num_classes"]) == ("darknet", str(CLASSES))
    module = build_from("yolov3", loaded, path)
    assert isinstance(module, Detector) and module.head is not None
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        ours = module.head(module.maps(images))
        theirs = run(layers, values, images)[::-1]
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.array([0, 2, 0, 0, 0, 7, 8], "<i4").tobytes(), "no YOLOv3"),
        (np.array([0, 2, 0, 0, 0, 7, 8], "<i4").tobytes() + b"x", "no YOLOv3"),
        (b"\xff" * 64, "does not begin with a version"),
        (b"\0", "no YOLOv3"),
    ],
)
def test_other_files_are_refused_by_their_length(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.weights").write_bytes(content)
    with pytest.raises(SparsebenchError, match=said):
        load_checkpoint(tmp_path / "a.weights")


def test_nothing_is_read_of_a_file_whose_length_is_wrong(tmp_path: Path) -> None:
    """A sparse file of a terabyte takes neither memory nor time."""
    path = tmp_path / "large.weights"
    path.write_bytes(np.array([0, 2, 0, 0, 0], "<i4").tobytes())
    with path.open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(SparsebenchError, match="no YOLOv3 of any number of classes"):
        load_checkpoint(path)


def test_darknets_own_length_is_that_of_80_classes() -> None:
    from sparsebench.models.checkpoints.darknet import _classes

    assert _classes((248_007_048 - 20) // 4) == 80
    with torch.device("meta"):
        assert build("yolov3", 80) is not None
