"""Architectures by name: building one, its feature extractor, its prunable layers.

An architecture is one :class:`ArchitectureSpec` in a file of its family and one line in
:data:`ARCHITECTURES`; code outside this repository adds its own through the entry-point
group ``sparsebench.architectures``. Specs are plain data and import no torch. Every classification
network of timm and torchvision has a name of its own besides, ``timm:NAME`` or
``torchvision:NAME``, whose spec is read from its library.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sparsebench.models.cards import IMAGENET_PREPROCESSING, Preprocessing
from sparsebench.models.detection.grids import BOX_VALUES, Grids
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.registry import Registry

if TYPE_CHECKING:
    from torch import nn

LIBRARIES = ("timm", "torchvision")


class _Architectures(Registry):
    """The names below, and ``LIBRARY:NAME``; only the former are listed."""

    def target(self, name: str) -> str:
        if library_of(name) is not None:
            return name
        if name not in self.names():
            from sparsebench.models.architectures.libraries import libraries_with

            raise UnknownNameError(self.kind, name, [*self.names(), *libraries_with(name)])
        return super().target(name)

    def load(self, name: str) -> Any:
        if library_of(name) is None:
            return super().load(name)
        from sparsebench.models.architectures.libraries import library_spec

        return library_spec(name)

    def __contains__(self, name: object) -> bool:
        library, _, entry = str(name).rpartition(":")
        if library not in LIBRARIES:
            return name in self.names()
        from sparsebench.models.architectures.libraries import libraries_with

        return name in libraries_with(entry)


def library_of(arch: str) -> str | None:
    """``timm`` of ``timm:convnext_atto``; None of an architecture of the suite."""
    library, colon, _ = arch.partition(":")
    return library if colon and library in LIBRARIES else None


ARCHITECTURES = _Architectures(
    "architecture",
    "sparsebench.architectures",
    {
        "resnet18": "sparsebench.models.architectures.resnet:RESNET18",
        "resnet34": "sparsebench.models.architectures.resnet:RESNET34",
        "resnet50": "sparsebench.models.architectures.resnet:RESNET50",
        "resnet50_rigl": "sparsebench.models.architectures.resnet:RESNET50_RIGL",
        "mobilenet_v1": "sparsebench.models.architectures.mobilenet_v1:MOBILENET_V1",
        "mobilenet_v2": "sparsebench.models.architectures.mobilenet:MOBILENET_V2",
        "efficientnet_lite0": "sparsebench.models.architectures.efficientnet:EFFICIENTNET_LITE0",
        "squeezenet1_0": "sparsebench.models.architectures.squeezenet:SQUEEZENET1_0",
        "yolov3": "sparsebench.models.architectures.yolov3:YOLOV3",
        "yolov5n": "sparsebench.models.architectures.yolov5:YOLOV5N",
        "yolov5s": "sparsebench.models.architectures.yolov5:YOLOV5S",
        "yolov5m": "sparsebench.models.architectures.yolov5:YOLOV5M",
        "yolov5l": "sparsebench.models.architectures.yolov5:YOLOV5L",
    },
)


VARIANTS = {"resnet50_rigl": "resnet50"}
"""Layout that one publication uses (padding, names) -> the architecture it is a variant of."""


def base_architecture(arch: str) -> str:
    """The architecture whose dense network is the partner: itself, or what it is a variant of."""
    return VARIANTS.get(arch, arch)


@dataclass(frozen=True)
class TorchvisionWeights:
    """ImageNet weights that torchvision publishes for an architecture.

    Args:
        entry: torchvision's name, e.g. ``ResNet18_Weights.IMAGENET1K_V1``.
        top1: ImageNet-1k validation top-1, 0..1, as torchvision states it.
    """

    entry: str
    top1: float


@dataclass(frozen=True)
class ArchitectureSpec:
    """What the suite must know of an architecture.

    Args:
        name: key in the registry.
        builder: number of classes -> network with freshly initialised weights, mapping
            float32 [N, 3, H, W] to logits [N, classes].
        classifier: dotted name of the last Linear layer.
        feature_dim: D, width of the pooled features that the classifier reads.
        preprocessing: of its usual ImageNet weights.
        torchvision: its weights at torchvision, if there are any.
        grids: of a detector, which returns rows of raw predictions; None for a classifier. Its
            `classifier` is what predicts boxes, and `feature_dim` means nothing.
        classes: C of its usual weights.
    """

    name: str
    builder: Callable[[int], nn.Module]
    classifier: str
    feature_dim: int
    preprocessing: Preprocessing = IMAGENET_PREPROCESSING
    torchvision: TorchvisionWeights | None = None
    grids: Grids | None = None
    classes: int = 1000


def find_architecture(arch: str) -> ArchitectureSpec:
    """The spec behind a name.

    Raises:
        UnknownNameError: no architecture has this name.
    """
    spec = ARCHITECTURES.load(arch)
    assert isinstance(spec, ArchitectureSpec)
    return spec


def build(arch: str, num_classes: int = 1000) -> nn.Module:
    """A whole classifier with freshly initialised weights, in training mode.

    Args:
        arch: name of an architecture.
        num_classes: C; the network maps float32 [N, 3, H, W] to logits [N, C].

    Raises:
        UnknownNameError: no architecture has this name.
    """
    return find_architecture(arch).builder(num_classes)


def feature_extractor(module: nn.Module, arch: str) -> nn.Module:
    """The network without its classifier: [N, 3, H, W] -> pooled features [N, D].

    The result shares every parameter and buffer with `module`, under the same names,
    and has its training flag; `module` itself is left as it is.

    Raises:
        SparsebenchError: the architecture finds boxes.
    """
    from torch import nn

    require_classifier(arch)
    tensors = [*module.parameters(), *module.buffers()]
    shared = copy.deepcopy(module, {id(t): t for t in tensors})
    parent, _, child = classifier_name(arch).rpartition(".")
    setattr(shared.get_submodule(parent), child, nn.Identity())
    return shared


def feature_dim(arch: str) -> int:
    """D, the number of pooled features in front of the classifier."""
    return find_architecture(arch).feature_dim


def classifier_name(arch: str) -> str:
    """Dotted name of the classifier, e.g. ``fc``; of a detector, of what predicts its boxes."""
    return find_architecture(arch).classifier


def classifiers() -> list[str]:
    """The listed architectures that are no detectors."""
    return [name for name in ARCHITECTURES if find_architecture(name).grids is None]


def require_classifier(arch: str) -> None:
    """Refuse a detector where pooled features or logits are asked for.

    Raises:
        SparsebenchError: the architecture finds boxes.
    """
    if find_architecture(arch).grids is not None:
        raise SparsebenchError(
            f"'{arch}' finds boxes: it has neither pooled features nor a classifier.",
            "Run it on a task of boxes (see docs/detection.md).",
        )


def class_weight(arch: str) -> str:
    """Name of the weight whose rows tell the number of classes."""
    spec = find_architecture(arch)
    return (
        f"{spec.classifier}.weight" if spec.grids is None else f"{spec.classifier}.predict.0.weight"
    )


def classes_of(arch: str, rows: int) -> int:
    """C of a network whose :func:`class_weight` has this many rows; below 1 where none has."""
    grids = find_architecture(arch).grids
    if grids is None:
        return rows
    boxes, odd = divmod(rows, len(grids.anchors[0]))
    return 0 if odd else boxes - BOX_VALUES


def prunable_layers(module: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """All Conv2d and Linear layers in the network's order, the classifier included.

    Their weights are what sparsity is counted over (AC/DC's and WoodFisher's
    definition); biases and batch norm are neither pruned nor counted.
    """
    from torch import nn

    return {n: m for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
