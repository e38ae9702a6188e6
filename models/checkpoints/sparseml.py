"""SparseML's ``.pth``: ``state_dict`` with ``arch_key``, ``recipe`` or ``epoch`` beside it.

Its own ResNets and MobileNet name tensors ``input.conv``, ``sections.S.B.conv1``,
``identity.bn``, ``classifier.fc``; networks from torchvision keep torchvision's names.
Quantization-aware checkpoints hold observers and are refused: their weights stand for
8-bit values that no float network reproduces.
"""

from __future__ import annotations

from collections.abc import Mapping

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.layouts import in_our_layout, our_architecture, renamed
from sparsebench.models.checkpoints.state_dict import Tensors, apply_stored_masks
from sparsebench.models.errors import SparsebenchError

_RESNET = (
    (r"input\.(conv|bn)\.(.*)", r"\g<1>1.\2"),
    (r"sections\.(\d)\.(\d+)\.identity\.conv\.(.*)", r"SECTION\1.\2.downsample.0.\3"),
    (r"sections\.(\d)\.(\d+)\.identity\.bn\.(.*)", r"SECTION\1.\2.downsample.1.\3"),
    (r"sections\.(\d)\.(\d+)\.((?:conv|bn)\d\..*)", r"SECTION\1.\2.\3"),
    (r"classifier\.fc\.(weight|bias)", r"fc.\1"),
)
# Blocks of MobileNet's sections; its blocks count on from 1.
_MOBILENET_STARTS = (1, 2, 4, 6, 12)
_PARTS = {"depth.conv": "0", "depth.bn": "1", "point.conv": "3", "point.bn": "4"}
_OBSERVERS = ("activation_post_process", "weight_fake_quant", "fake_quant_enabled", "zero_point")


def from_sparseml(tensors: Mapping[str, object]) -> bool:
    """Whether the names are those of SparseML's own networks."""
    own = {"sections.0.0.bn1.weight", "sections.0.0.depth.conv.weight"}
    return "input.conv.weight" in tensors and not own.isdisjoint(tensors)


def in_torchvision_names(tensors: Tensors) -> tuple[Tensors, str | None]:
    """SparseML's own names as the suite's; the architecture where they tell it."""
    if "sections.0.0.depth.conv.weight" in tensors:
        return {_mobilenet_name(n): t for n, t in tensors.items()}, "mobilenet_v1"
    new = renamed(tensors, _RESNET)
    for section in range(4):
        new = {n.replace(f"SECTION{section}.", f"layer{section + 1}."): t for n, t in new.items()}
    return new, None


def _mobilenet_name(name: str) -> str:
    if name.startswith("input.conv."):
        return "model.0.0." + name.removeprefix("input.conv.")
    if name.startswith("input.bn."):
        return "model.0.1." + name.removeprefix("input.bn.")
    if name.startswith("classifier.fc."):
        return "fc." + name.removeprefix("classifier.fc.").removeprefix("1.")
    parts = name.split(".")
    if len(parts) == 6 and parts[0] == "sections" and ".".join(parts[3:5]) in _PARTS:
        block = _MOBILENET_STARTS[int(parts[1])] + int(parts[2])
        return f"model.{block}.{_PARTS['.'.join(parts[3:5])]}.{parts[5]}"
    return name


def _recognises(opened: OpenedFile) -> bool:
    payload = opened.payload if opened.kind == "torch" else None
    if not isinstance(payload, Mapping):
        return False
    if isinstance(payload.get("state_dict"), Mapping) and {"arch_key", "recipe"} & payload.keys():
        return True
    try:
        return from_sparseml(opened.chosen.tensors)
    except SparsebenchError:
        return False


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    path, payload = opened.path, opened.payload
    tensors = opened.chosen.tensors
    if any(part in name for name in tensors for part in _OBSERVERS):
        raise SparsebenchError(
            f"'{path}' holds a network in the middle of quantization (observers).",
            "Take the checkpoint from before quantization, or the ONNX file.",
        )
    tensors, arch = apply_stored_masks(path, tensors), None
    if from_sparseml(tensors):
        tensors, arch = in_torchvision_names(tensors)
    else:
        tensors, arch = in_our_layout(tensors)
    metadata = {}
    if arch or isinstance(payload.get("arch_key"), str):
        metadata["arch"] = arch or our_architecture(payload["arch_key"])
    if isinstance(payload.get("recipe"), str):
        metadata["recipe"] = payload["recipe"]
    return LoadedCheckpoint(tensors, metadata, SPARSEML.name)


SPARSEML = CheckpointFormat("sparseml", "SparseML's .pth", _recognises, _load)
