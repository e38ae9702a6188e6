"""timm's MobileNet v2 (``mobilenetv2_100``): torchvision's network under timm's names.

Both list their tensors in the network's order, so names are paired in order, and every
pair must agree in kind (weight, running_mean, ...) and shape. (timm's ResNets and
``tf_efficientnet_lite0`` have the suite's own names and need no format.)
"""

from __future__ import annotations

from sparsebench.models.architectures.shapes import build_shapes
from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.state_dict import Tensors, apply_stored_masks
from sparsebench.models.errors import SparsebenchError

ARCH = "mobilenet_v2"
_SIGNS = {"conv_stem.weight", "blocks.1.0.conv_pwl.weight", "classifier.weight"}


def _recognises(opened: OpenedFile) -> bool:
    tensors = opened.tensors
    stem = tensors.get("blocks.1.0.conv_pw.weight")
    # The first expansion of v2 has 96 filters over 16 channels, as EfficientNet-Lite0's;
    # what tells them apart is the kernel of block 2.0, 3 here and 5 there.
    kernel = tensors.get("blocks.2.0.conv_dw.weight")
    known = tensors.keys() >= _SIGNS and stem is not None and kernel is not None
    return known and kernel is not None and kernel.shape[-1] == 3


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    path = opened.path
    tensors = apply_stored_masks(path, opened.chosen.tensors)
    expected = build_shapes(ARCH, int(tensors["classifier.weight"].shape[0])).state_dict()
    whole = {n: t for n, t in tensors.items() if not n.endswith("num_batches_tracked")}
    targets = {n: t for n, t in expected.items() if not n.endswith("num_batches_tracked")}
    # safetensors files are sorted by name; the network's order is restored from timm's own.
    ordered = sorted(whole, key=_place)
    paired: Tensors = {}
    for name, (target, template) in zip(ordered, targets.items(), strict=False):
        if name.rpartition(".")[2] != target.rpartition(".")[2]:
            break
        if whole[name].shape != template.shape:
            break
        paired[target] = whole[name]
    if len(paired) != len(targets) or len(whole) != len(targets):
        raise SparsebenchError(
            f"'{path}' looks like timm's mobilenetv2_100, but its tensors do not fit {ARCH}.",
            "Only width 1.0 is known; check that the file is complete.",
        )
    return LoadedCheckpoint(paired, {"arch": ARCH}, TIMM_MOBILENET.name)


_LAYERS = ("conv_pw", "conv_dw", "conv_pwl")
_NORMS = ("bn1", "bn2", "bn3")
_KINDS = ("weight", "bias", "running_mean", "running_var")


def _place(name: str) -> tuple[int, ...]:
    """Where a tensor of timm's MobileNet v2 stands in the network."""
    parts = name.split(".")
    kind = _KINDS.index(parts[-1]) if parts[-1] in _KINDS else len(_KINDS)
    if parts[0] == "blocks" and len(parts) == 5 and parts[1].isdigit() and parts[2].isdigit():
        stage, block, layer = int(parts[1]), int(parts[2]), parts[3]
        # The first stage has no expansion: depthwise, then conv_pw as its projection.
        convolutions = ("conv_dw", "conv_pw") if stage == 0 else _LAYERS
        if layer in convolutions:
            return (1, stage, block, 2 * convolutions.index(layer), kind)
        if layer in _NORMS:
            return (1, stage, block, 2 * _NORMS.index(layer) + 1, kind)
    edges = ("conv_stem", "bn1"), ("conv_head", "bn2", "classifier")
    for edge, names in zip((0, 2), edges, strict=True):
        if parts[0] in names:
            return (edge, names.index(parts[0]), 0, 0, kind)
    return (3, 0, 0, 0, kind)


TIMM_MOBILENET = CheckpointFormat("timm_mobilenet", "timm's mobilenetv2_100", _recognises, _load)
