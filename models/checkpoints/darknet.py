"""YOLOv3's weights as darknet stores them: ``.weights`` (pjreddie.com/darknet).

Little endian. A header of three int32 (major, minor, revision) and the number of images seen, which
is a uint64 from version 0.2 on and a uint32 before. Then float32 alone, layer by layer as the
network runs: of a convolution with batch norm its shift, scale, mean, variance ``[out]`` each and
its weight ``[out, in, k, k]``, of one without its bias and its weight. Nothing tells shapes: they
follow from the architecture, and the number of classes from the file's length.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sparsebench.models.architectures.shapes import build_shapes
from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.errors import SparsebenchError

ARCH = "yolov3"
SUFFIX = ".weights"
_VERSIONS = 1000
# What follows the last convolution of each scale, coarse first, as the network runs.
_PREDICTORS = {"maps.coarse.last": 2, "maps.middle.last": 1, "maps.fine.last": 0}


def read_darknet(path: Path, head: bytes) -> tuple[dict[str, Tensor], int]:
    """State dict of ``yolov3``, float32, and its number of classes.

    Args:
        path: of the file.
        head: its first 16 bytes.

    Raises:
        SparsebenchError: its length is that of no YOLOv3, or its header is none of darknet's.
    """
    start = _header(path, head)
    count, odd = divmod(path.stat().st_size - start, 4)
    classes = 0 if odd else _classes(count)
    if classes < 1:
        raise SparsebenchError(
            f"'{path}' has {count:,} values, which is no YOLOv3 of any number of classes.",
            "Only yolov3.cfg's network is known, whole: neither its tiny and SPP forms nor "
            "darknet53.conv.74.",
        )
    values = np.fromfile(path, "<f4", count, offset=start)
    place = 0

    def take(like: Tensor) -> Tensor:
        nonlocal place
        piece = values[place : place + like.numel()].reshape(tuple(like.shape))
        place += like.numel()
        return torch.from_numpy(piece.astype(np.float32))

    module = build_shapes(ARCH, classes)
    state: dict[str, Tensor] = {"head.anchors": _anchors()}
    for name, layer, norm_name, norm in _layers(module):
        if norm is None:
            assert layer.bias is not None
            state[f"{name}.bias"] = take(layer.bias)
        else:
            for part in ("bias", "weight", "running_mean", "running_var"):
                state[f"{norm_name}.{part}"] = take(getattr(norm, part))
        state[f"{name}.weight"] = take(layer.weight)
    assert place == count
    return state, classes


def _header(path: Path, head: bytes) -> int:
    """Bytes in front of the weights.

    Raises:
        SparsebenchError: they are none of darknet's.
    """
    major, minor, _ = (int(n) for n in np.frombuffer(head.ljust(16, b"\0"), "<i4", 3))
    if not (0 <= major < _VERSIONS and 0 <= minor < _VERSIONS):
        raise SparsebenchError(
            f"'{path}' does not begin with a version of darknet's.", "Get the file again."
        )
    return 12 + (8 if major * 10 + minor >= 2 else 4)


def _classes(count: int) -> int:
    """C of a network of this many values; 0 where none has them."""
    one, two = (_values(build_shapes(ARCH, classes)) for classes in (1, 2))
    more, odd = divmod(count - one, two - one)
    return 0 if odd else 1 + more


def _values(module: nn.Module) -> int:
    running = [t for n, t in module.named_buffers() if n.endswith(("running_mean", "running_var"))]
    return sum(t.numel() for t in (*module.parameters(), *running))


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Conv2d, str, nn.BatchNorm2d | None]]:
    """Convolutions in the order of the file, with the batch norm behind each."""
    for name, part in module.get_submodule("maps").named_modules(prefix="maps"):
        if not (isinstance(part, nn.Sequential) and isinstance(part[0], nn.Conv2d)):
            continue
        assert isinstance(part[1], nn.BatchNorm2d)
        yield f"{name}.0", part[0], f"{name}.1", part[1]
        if name in _PREDICTORS:
            last = f"head.predict.{_PREDICTORS[name]}"
            layer = module.get_submodule(last)
            assert isinstance(layer, nn.Conv2d)
            yield last, layer, "", None


def _anchors() -> Tensor:
    from sparsebench.models.architectures.yolov3 import GRIDS

    return torch.tensor(GRIDS.anchors, dtype=torch.float32)


def _recognises(opened: OpenedFile) -> bool:
    return opened.kind == "other" and opened.path.suffix == SUFFIX


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    state, classes = read_darknet(opened.path, opened.head)
    return LoadedCheckpoint(state, {"arch": ARCH, "num_classes": str(classes)}, DARKNET.name)


DARKNET = CheckpointFormat("darknet", "YOLOv3 by darknet (.weights)", _recognises, _load)
