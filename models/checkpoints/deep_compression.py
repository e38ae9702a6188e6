"""SqueezeNet as Deep Compression stores it (Han et al. 2016; Iandola et al. 2016): ``.net``.

Little endian. One uint32 for each of the 26 convolutions in the network's order, its
number of stored codes; then for each convolution a codebook (256 float32), its bias
(float32 [out]), the codes (uint8, index into the codebook) and the gaps between their
places (4 bits each, low nibble first, ceil(n / 2) bytes). A code stands at
cumsum(gap + 1) - 1 of the weight in row-major order; code 0 is a zero that only bridges a
long gap.

The network reads BGR; its first layer is turned round to RGB here, so that only the
preprocessing (``CAFFE_PREPROCESSING``) tells that it comes from Caffe.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.models.architectures import prunable_layers
from sparsebench.models.architectures.shapes import build_shapes
from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile, damaged

ARCH = "squeezenet1_0"
SUFFIX = ".net"
_CODEBOOK = 256
_CLASSES = 1000


def read_deep_compression(path: Path) -> dict[str, Tensor]:
    """State dict of ``squeezenet1_0`` with 1000 classes, float32, reading RGB.

    Raises:
        SparsebenchError: the file's length or a position in it cannot be right.
    """
    shapes = _shapes()
    content = path.read_bytes()
    counts = _counts(content, shapes)
    if counts is None:
        raise damaged(path, "its length is not what its counts of weights ask for")
    state: dict[str, Tensor] = {}
    offset = 4 * len(shapes)

    def take(kind: str, number: int) -> NDArray[np.generic]:
        nonlocal offset
        array = np.frombuffer(content, kind, number, offset)
        offset += array.nbytes
        return array

    for (name, shape), count in zip(shapes.items(), counts, strict=True):
        codebook = take("<f4", _CODEBOOK)
        state[f"{name}.bias"] = torch.from_numpy(take("<f4", shape[0]).astype(np.float32))
        codes = take("u1", count)
        nibbles = take("u1", (count + 1) // 2)
        gaps = np.stack([nibbles & 15, nibbles >> 4], 1).reshape(-1)[:count]  # type: ignore[operator]
        places = np.cumsum(gaps.astype(np.int64) + 1) - 1
        flat = np.zeros(math.prod(shape), np.float32)
        if count and int(places[-1]) >= flat.size:
            raise damaged(path, f"positions of '{name}' leave its {flat.size} weights")
        kept = codes != 0
        flat[places[kept]] = codebook[codes[kept]]
        state[f"{name}.weight"] = torch.from_numpy(flat.reshape(shape))
    first = next(iter(shapes))
    state[f"{first}.weight"] = state[f"{first}.weight"].flip(1).contiguous()
    return state


def _shapes() -> dict[str, tuple[int, ...]]:
    layers = prunable_layers(build_shapes(ARCH, _CLASSES))
    return {name: tuple(layer.weight.shape) for name, layer in layers.items()}


def _counts(content: bytes, shapes: dict[str, tuple[int, ...]]) -> list[int] | None:
    """The numbers of codes, None where the file's length or a weight's size forbids them."""
    if len(content) < 4 * len(shapes):
        return None
    counts = [int(n) for n in np.frombuffer(content, "<u4", len(shapes))]
    sizes = list(shapes.values())
    fits = all(n <= math.prod(shape) for n, shape in zip(counts, sizes, strict=True))
    parts = [
        4 * _CODEBOOK + 4 * shape[0] + n + (n + 1) // 2
        for n, shape in zip(counts, sizes, strict=True)
    ]
    return counts if fits and 4 * len(shapes) + sum(parts) == len(content) else None


def _recognises(opened: OpenedFile) -> bool:
    return opened.kind == "other" and opened.path.suffix == SUFFIX


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    metadata = {"arch": ARCH, "num_classes": str(_CLASSES)}
    return LoadedCheckpoint(read_deep_compression(opened.path), metadata, DEEP_COMPRESSION.name)


DEEP_COMPRESSION = CheckpointFormat(
    "deep_compression", "SqueezeNet by Deep Compression (.net)", _recognises, _load
)
