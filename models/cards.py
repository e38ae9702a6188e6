"""Cards: what is known of a backbone before its weights are read.

Nothing here imports torch, so that listing and checking names stays quick.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

Interpolation = Literal["bilinear", "bicubic"]
Family = Literal[
    "dense",
    "progressive",
    "regularization",
    "lottery ticket",
    "structured",
    "one-shot",
    "generated",
    "unknown",
]
FAMILIES: tuple[str, ...] = get_args(Family)
INTERPOLATIONS: tuple[str, ...] = get_args(Interpolation)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input.

    The short side is resized to `resize` pixels, the middle `size` x `size` pixels are
    cut out, values are scaled to 0..1 and become ``(x - mean) / std`` per RGB channel.

    Args:
        size: side of the square input, pixels.
        resize: length of the short side before the crop, pixels; at least `size`.
        interpolation: filter of the resize.
        mean: per-channel mean (R, G, B) on the 0..1 scale.
        std: per-channel standard deviation (R, G, B) on the 0..1 scale.
    """

    size: int = 224
    resize: int = 256
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Letterbox(Preprocessing):
    """The whole image: its long side becomes `size` pixels, the rest is filled with the mean.

    Args:
        fit: says so in keys and records.
    """

    fit: str = "letterbox"

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> Letterbox:
        """The same size, filter and normalisation."""
        one = preprocessing
        return cls(one.size, one.size, one.interpolation, one.mean, one.std)

    def place(self, width: int, height: int) -> tuple[float, int, int, int, int]:
        """Where an image lies in the input.

        Args:
            width: of the image, pixels.
            height: of the image, pixels.

        Returns:
            The factor of both sides, then left, top, width and height in the input, pixels.
        """
        factor = self.size / max(width, height)
        wide, high = (max(1, round(side * factor)) for side in (width, height))
        return factor, (self.size - wide) // 2, (self.size - high) // 2, wide, high


def at_size(preprocessing: Preprocessing, size: int) -> Preprocessing:
    """The same preprocessing at another input size; the crop keeps its proportion."""
    if size == preprocessing.size:
        return preprocessing
    resize = round(preprocessing.resize * size / preprocessing.size)
    return replace(preprocessing, size=size, resize=resize)


@dataclass(frozen=True)
class Budget:
    """All the training behind some weights, from the first random ones on.

    Two networks are compared fairly where these are equal: more training is worth accuracy.

    Args:
        epochs: of all stages together.
        images: training images seen in them, each as often as it was seen.
    """

    epochs: int
    images: int


IMAGENET_PREPROCESSING = Preprocessing()
"""The usual ImageNet evaluation: 256 -> centre 224, bilinear, ImageNet mean and std."""


@dataclass(frozen=True)
class Card:
    """Facts about one backbone.

    Args:
        name: full name, e.g. ``resnet18/acdc-90`` or ``resnet50/erk-90@generated``.
        arch: architecture name, a key of ``sparsebench.models.architectures.ARCHITECTURES``.
        method: pruning method, ``dense`` for none.
        family: kind of method (the paper's taxonomy plus one-shot, generated, dense).
        sparsity: nominal sparsity, 0..1, over all Conv2d and Linear weights of the
            classifier network (batch norm and biases do not count). What the weights
            really hold is ``sparsebench.models.masks.sparsity`` of the loaded backbone.
        preprocessing: what the weights were trained with.
        source: where the weights come from: ``zoo``, ``torchvision``, ``generated``,
            a Python package's name, or the path of a file.
        sha256: of the file that holds the weights; None where there is no such file yet.
        licence: SPDX identifier, or a sentence where none fits.
        upstream_accuracy: top-1, 0..1, on `upstream_data`; None where unknown.
        upstream_data: what `upstream_accuracy` was measured on.
        trained: False for random weights and all that is made from them; then only the
            speed means anything.
        dense_partner: name of the backbone that this one is compared with.
        notes: one or two sentences for a reader.
        num_classes: outputs of the upstream classifier.
        refused: why the file behind it cannot be used; empty for all that can.
        precision: what its file computes in: ``fp32``, or ``int8`` for a quantized ONNX file.
        budget: of the training behind it; None where that is not known.
    """

    name: str
    arch: str
    method: str
    family: Family
    sparsity: float
    preprocessing: Preprocessing
    source: str
    sha256: str | None
    licence: str
    upstream_accuracy: float | None
    upstream_data: str | None
    trained: bool
    dense_partner: str
    notes: str = ""
    num_classes: int = 1000
    refused: str = ""
    precision: str = "fp32"
    budget: Budget | None = None
