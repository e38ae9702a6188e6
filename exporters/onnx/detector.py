"""A backbone's feature maps, or a whole detector on it, as an artifact.

``maps`` is what heads are trained on, ``detector`` is the backbone and a head in one graph; both
return a row for each image (:mod:`sparsebench.models.detection.head`), and decoding stays outside.
The detector's head has its initial weights: which ones changes no dense kernel's time, and every
trained head would be another graph to compile.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.padding import fix_padding, pads_by_size
from sparsebench.exporters.onnx.plain_onnx import export_file
from sparsebench.exporters.onnx.readers import ANY, Readers
from sparsebench.exporters.onnx.store import stored_artifact
from sparsebench.models.architectures import (
    build,
    class_weight,
    classes_of,
    find_architecture,
)
from sparsebench.models.architectures.heads import new_head
from sparsebench.models.detection.head import WIDTH, DetectionHead, Detector
from sparsebench.models.detection.maps import feature_maps, map_channels, require_side
from sparsebench.models.detection.predictors import Predictors
from sparsebench.models.masks import Mask, mask_hash
from sparsebench.models.onnx_file.backbone import OnnxBackbone
from sparsebench.models.widths import load_with_widths
from sparsebench.models.zoo.load import Backbone

OUTPUTS = ("maps", "detector")
BUILDER = f"{__name__}:build_detector"
VERSION = "detector 3"
HEAD = "head."
"""Of a detector: what its head's tensors are named behind."""
BODY = "maps."
"""And its backbone's, unless that is a detector itself."""


def export_detector(
    backbone: Backbone | OnnxBackbone,
    *,
    size: int,
    output: str,
    classes: int,
    readers: Readers = ANY,
) -> Artifact:
    """The artifact of a backbone's maps or of a detector on it; found again by content.

    Args:
        backbone: loaded backbone; an ONNX file (:mod:`sparsebench.models.onnx_file.boxes`) is run
            as it is, whatever the output.
        size: side of the square input, pixels, a multiple of 32.
        output: ``"maps"`` or ``"detector"``.
        classes: C of the head.
        readers: the engines that the file is for.

    Raises:
        SparsebenchError: the network has no maps of strides 8, 16 and 32.
    """
    from sparsebench.exporters.onnx.export import write_onnx
    from sparsebench.exporters.onnx.exporters import key_of

    if isinstance(backbone, OnnxBackbone):
        return export_file(backbone, size=size, output=output)
    arch = backbone.card.arch
    rows = backbone.module.get_parameter(class_weight(arch)).shape[0]
    facts = {
        "backbone": backbone.card.name,
        "arch": arch,
        "num_classes": classes_of(arch, rows),
        "weights_sha256": backbone.sha256,
        "exporter": key_of(readers),
        "torch": torch.__version__,
        "head_classes": classes if output == "detector" else None,
    }
    key = [*map(str, facts.values()), str(size), output, VERSION]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:24]

    def make(folder: Path) -> Artifact:
        from safetensors.torch import save_file

        whole = _classifier(facts, backbone.module.state_dict(), size)
        detector = _detector(whole, facts, size)
        onnx_path, weights = folder / "model.onnx", folder / "weights.safetensors"
        facts.update(write_onnx(detector, onnx_path, size, readers).to_facts())
        save_file({n: v.contiguous() for n, v in backbone.module.state_dict().items()}, weights)
        with torch.inference_mode():
            width = int(detector(torch.zeros(1, 3, size, size)).shape[1])
        channels = map_channels(detector.maps, size)
        kept = own_mask(backbone.mask, detector, arch)
        return Artifact(
            folder=str(folder),
            onnx=str(onnx_path),
            input_shape=(3, size, size),
            output_dim=width,
            output=output,
            weights=str(weights),
            torch_builder=BUILDER,
            facts={**facts, "channels": list(channels), "mask_sha256": mask_hash(kept)},
        )

    return stored_artifact(digest, backbone.card.name, make)


def detects(backbone: Backbone | OnnxBackbone) -> bool:
    """Whether a backbone is a detector of its own."""
    known = not isinstance(backbone, OnnxBackbone)
    return known and find_architecture(backbone.card.arch).grids is not None


def export_whole(
    backbone: Backbone | OnnxBackbone, *, size: int, readers: Readers = ANY
) -> Artifact:
    """The artifact of a detector as it is, with the classes that it has.

    Args:
        backbone: for which :func:`detects` is true.
        size: side of the square input, pixels, a multiple of 32.
        readers: the engines that the file is for.

    Raises:
        SparsebenchError: the side is none.
    """
    assert not isinstance(backbone, OnnxBackbone)
    arch = backbone.card.arch
    rows = backbone.module.get_parameter(class_weight(arch)).shape[0]
    classes = classes_of(arch, rows)
    return export_detector(backbone, size=size, output="detector", classes=classes, readers=readers)


def build_detector(artifact: Artifact) -> Detector:
    """The module in eval mode: images ``[N, 3, H, W]`` to rows ``[N, D]``.

    Raises:
        ValueError: the artifact has no weights file.
    """
    from safetensors.torch import load_file

    if artifact.weights is None:
        raise ValueError(f"{artifact.folder} has no PyTorch weights")
    size = artifact.input_shape[1]
    whole = _classifier(artifact.facts, load_file(artifact.weights), size)
    return _detector(whole, artifact.facts, size)


def own_mask(mask: Mask, detector: Detector, arch: str) -> Mask:
    """The part of a backbone's mask whose layers stand in a detector.

    Args:
        mask: of the backbone.
        detector: made from it.
        arch: the backbone's architecture.
    """
    shapes = {backbones_name(name, arch): p.shape for name, p in detector.named_parameters()}
    return {name: kept for name, kept in mask.items() if shapes.get(name) == kept.shape}


def backbones_name(name: str, arch: str) -> str:
    """The backbone's own name of a detector's tensor; a detector's from the start is the same."""
    return name if find_architecture(arch).grids else name.removeprefix(BODY)


def _classifier(facts: dict[str, object], weights: dict[str, torch.Tensor], size: int) -> nn.Module:
    """A copy of the network, its padding fixed for the size: tracing takes no formula of it."""
    module = build(str(facts["arch"]), int(str(facts["num_classes"])))
    load_with_widths(module, weights)
    module.eval()
    if pads_by_size(module):
        fix_padding(module, torch.zeros(1, 3, size, size))
    return module


def _detector(whole: nn.Module, facts: dict[str, object], size: int) -> Detector:
    classes = None if facts["head_classes"] is None else int(str(facts["head_classes"]))
    if isinstance(whole, Detector):
        return _of_a_detector(whole, classes, size)
    maps, head = feature_maps(whole, size, str(facts["backbone"])), None
    if classes is not None:
        head = DetectionHead(map_channels(maps, size), classes)
    return Detector(maps, head).eval()


def _of_a_detector(whole: Detector, classes: int | None, size: int) -> Detector:
    """A network that finds boxes as it is, its maps alone, or with predictors of other classes."""
    require_side(size)
    own = whole.head
    assert isinstance(own, Predictors)
    if classes == own.classes:
        return whole
    head = None if classes is None else Predictors(own.channels, own.grids, classes, seed=0)
    return Detector(whole.maps, head).eval()


def trainable_detector(
    backbone: Backbone, *, size: int, classes: int, seed: int
) -> tuple[Detector, Mask]:
    """A detector on a backbone to be trained as a whole, and the backbone's mask inside it.

    A detector that tells as many classes apart keeps its own last layers.

    Args:
        backbone: loaded; its tensors become the detector's.
        size: side of the square input, pixels, a multiple of 32.
        classes: C of the head.
        seed: of a new head's initial weights.

    Returns:
        The detector, and the mask by its names.

    Raises:
        SparsebenchError: the network has no maps of strides 8, 16 and 32.
    """
    arch, module = backbone.card.arch, backbone.module.eval()
    if pads_by_size(module):
        fix_padding(module, torch.zeros(1, 3, size, size))
    facts: dict[str, object] = {"backbone": backbone.card.name, "head_classes": classes}
    detector = _detector(module, facts, size)
    own = module.head if isinstance(module, Detector) else None
    if detector.head is not own:
        known = own.channels if isinstance(own, Predictors) else None
        channels = known or map_channels(detector.maps, size)
        detector.head = new_head(arch, channels, classes, width=WIDTH, seed=seed)
    body = body_of(arch)
    return detector, {f"{body}{n}": k for n, k in own_mask(backbone.mask, detector, arch).items()}


def body_of(arch: str) -> str:
    """What a backbone's tensors are named behind in a detector on it."""
    return "" if find_architecture(arch).grids else BODY
