"""YOLOv5's own files (v6.0): a state dict, or a ``.pt`` that holds a pickled model.

Of a pickled model only tensors are read, by the names that its modules give them
(``models/checkpoints/unpickle.py``); no code of the file or of its authors is run. Its layers are
numbered as they run; convolution and batch norm are ``conv`` and ``bn``, the convolutions of a
block ``cv1`` to ``cv3``, its bottlenecks ``m``. ``anchors`` are in cells of their map.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from sparsebench.models.architectures import find_architecture
from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.state_dict import apply_stored_masks
from sparsebench.models.errors import SparsebenchError

# Number of a layer -> where it stands here.
_PLACES = {
    0: "maps.stem", 1: "maps.shrink.0", 2: "maps.stages.0", 3: "maps.shrink.1",
    4: "maps.stages.1", 5: "maps.shrink.2", 6: "maps.stages.2", 7: "maps.shrink.3",
    8: "maps.stages.3", 9: "maps.pyramid", 10: "maps.narrow_coarse", 13: "maps.down_middle",
    14: "maps.narrow_middle", 17: "maps.down_fine", 18: "maps.shrink_fine", 20: "maps.up_middle",
    21: "maps.shrink_middle", 23: "maps.up_coarse", 24: "head",
}  # fmt: skip
_PYRAMID, _HEAD = 9, 24
_PARTS = {"conv": "0", "bn": "1", "cv1": "through", "cv2": "around", "cv3": "join", "m": "blocks"}
_PYRAMIDS = {"cv1": "narrow", "cv2": "join"}
_BOTTLENECKS = {"cv1": "narrow", "cv2": "filter"}
_BY_WIDTH = {16: "yolov5n", 32: "yolov5s", 48: "yolov5m", 64: "yolov5l"}
_FIRST, _LAST, _ANCHORS = "0.conv.weight", "24.m.0.weight", "24.anchors"


def own_name(name: str) -> str | None:
    """The suite's name of a tensor, ``8.m.0.cv1.conv.weight`` and the like; None of no layer's."""
    number, *parts = name.split(".")
    place = _PLACES.get(int(number)) if number.isdigit() else None
    if place is None or not parts:
        return None
    if int(number) == _HEAD:
        return ".".join([place, "predict", *parts[1:]]) if parts[0] == "m" else None
    inside, made = False, [place]
    for part in parts:
        table = _BOTTLENECKS if inside else _PYRAMIDS if int(number) == _PYRAMID else {}
        made.append(table.get(part, _PARTS.get(part, part)))
        inside |= part == "m"
    return ".".join(made)


def _prefix(tensors: Mapping[str, Tensor]) -> str | None:
    """What stands in front of the layers' numbers: ``model.``, ``model.model.``."""
    for name in tensors:
        match = re.fullmatch(rf"((?:\w+\.)*?){re.escape(_FIRST)}", name)
        if match and f"{match[1]}{_LAST}" in tensors:
            return match[1]
    return None


def _recognises(opened: OpenedFile) -> bool:
    return _prefix(opened.tensors) is not None


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    tensors = apply_stored_masks(opened.path, opened.chosen.tensors)
    prefix = _prefix(tensors)
    assert prefix is not None
    width = int(tensors[f"{prefix}{_FIRST}"].shape[0])
    if width not in _BY_WIDTH:
        raise SparsebenchError(
            f"'{opened.path}' is a YOLOv5 whose first layer has {width} channels; n, s, m and l "
            f"have {', '.join(map(str, _BY_WIDTH))}.",
            "Export it to ONNX and name the .onnx file: it is run as it is.",
        )
    arch = _BY_WIDTH[width]
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        bare = name.removeprefix(prefix)
        # Names that are no layer's stay as they are, and are refused as unknown.
        if bare not in (_ANCHORS, "24.anchor_grid", "24.stride"):
            state[own_name(bare) or name] = tensor
    state["head.anchors"] = _anchors(tensors.get(f"{prefix}{_ANCHORS}"), arch)
    return LoadedCheckpoint(state, {"arch": arch}, YOLOV5.name)


def _anchors(cells: Tensor | None, arch: str) -> Tensor:
    """Anchors ``[maps, k, 2]`` in pixels, from those of the file, or else the usual ones."""
    grids = find_architecture(arch).grids
    assert grids is not None
    if cells is None:
        return torch.tensor(grids.anchors, dtype=torch.float32)
    return cells.float() * torch.tensor(grids.strides).reshape(-1, 1, 1)


YOLOV5 = CheckpointFormat("yolov5", "YOLOv5 v6.0 (.pt)", _recognises, _load)
