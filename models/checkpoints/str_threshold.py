"""STR's own checkpoints: thresholds beside the weights, a 1x1 convolution as classifier.

``<conv>.sparseThreshold`` (shape [1, 1]) is the logit s of the layer's threshold; the
network multiplies with sign(W) * relu(|W| - sigmoid(s)) (Kusupati et al. 2020, eq. 4). The
authors' "Dense" files have the same names with the thresholds already applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.layouts import in_our_layout, our_architecture
from sparsebench.models.errors import SparsebenchError

_THRESHOLD = ".sparseThreshold"


def fold_thresholds(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Effective weights, without the thresholds.

    Args:
        path: of the file, for messages.
        tensors: ``X.weight`` of any shape, with ``X.sparseThreshold`` of one element.

    Raises:
        SparsebenchError: a threshold has no weight, or is not one number.
    """
    folded = {n: t for n, t in tensors.items() if not n.endswith(_THRESHOLD)}
    for name in [n for n in tensors if n.endswith(_THRESHOLD)]:
        weight_name = name.removesuffix(_THRESHOLD) + ".weight"
        threshold = tensors[name]
        if weight_name not in folded or threshold.numel() != 1:
            raise SparsebenchError(
                f"The threshold '{name}' in '{path}' is not one number beside a weight.",
                "Save the state dict of the whole network.",
            )
        weight = folded[weight_name].float()
        cut = torch.sigmoid(threshold.float().reshape(()))
        folded[weight_name] = weight.sign() * torch.relu(weight.abs() - cut)
    return folded


def _recognises(opened: OpenedFile) -> bool:
    if opened.kind != "torch" or not isinstance(opened.payload, Mapping):
        return False
    try:
        tensors = opened.chosen.tensors
    except SparsebenchError:
        return False
    classifier = tensors.get("fc.weight")
    convolution = classifier is not None and classifier.dim() == 4 and "fc.bias" not in tensors
    return convolution or any(name.endswith(_THRESHOLD) for name in tensors)


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    path, payload = opened.path, opened.payload
    tensors = fold_thresholds(path, opened.chosen.tensors)
    tensors, arch = in_our_layout(tensors)
    metadata = {}
    if arch or isinstance(payload.get("arch"), str):
        metadata["arch"] = arch or our_architecture(payload["arch"])
    return LoadedCheckpoint(tensors, metadata, STR.name)


STR = CheckpointFormat(
    "str", "STR's original: thresholds folded, 1x1-conv classifier made linear", _recognises, _load
)
