"""Layouts: the names and shapes under which the literature stores the same networks.

Each function takes tensors as a file names them and returns them as the suite's
architecture does. :func:`in_our_layout` finds out which is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
# What files call architectures -> what the suite does.
_ARCHITECTURES = {
    "resnet50_torch": "resnet50",
    "resnet50_str": "resnet50",
    "mobilenet": "mobilenet_v1",
    "mobilenet_str": "mobilenet_v1",
    "mobilenet_amc": "mobilenet_v1",
    "mobilenetv1": "mobilenet_v1",
    "mobilenet_v1_dropout": "mobilenet_v1",
}
_RIGL = (
    (r"initial_conv\.conv\.(.*)", r"conv1.\1"),
    (r"initial_conv\.bn\.(.*)", r"bn1.\1"),
    (r"layer(\d)\.block\.(\d+)\.conv(\d)\.conv\.(.*)", r"layer\1.\2.conv\3.\4"),
    (r"layer(\d)\.block\.(\d+)\.conv(\d)\.bn\.(.*)", r"layer\1.\2.bn\3.\4"),
    (r"layer(\d)\.block\.(\d+)\.shortcut\.conv\.(.*)", r"layer\1.\2.downsample.0.\3"),
    (r"layer(\d)\.block\.(\d+)\.shortcut\.bn\.(.*)", r"layer\1.\2.downsample.1.\3"),
)


def our_architecture(name: str) -> str:
    """The suite's name of an architecture that a file names in its own way."""
    lowered = name.lower().replace("-", "_")
    return _ARCHITECTURES.get(lowered, lowered)


def in_our_layout(tensors: Mapping[str, Tensor]) -> tuple[Tensors, str | None]:
    """Tensors under the suite's names, and the architecture where the names tell it.

    Unknown names are left as they are; whether they fit is checked later.
    """
    if "initial_conv.conv.weight" in tensors:
        return renamed(tensors, _RIGL), "resnet50_rigl"
    if is_amc(tensors):
        return from_amc(tensors), "mobilenet_v1"
    flat = with_linear_classifier(tensors)
    mobilenet = "model.0.0.weight" in flat and "model.13.3.weight" in flat
    return flat, "mobilenet_v1" if mobilenet else None


def renamed(tensors: Mapping[str, Tensor], rules: tuple[tuple[str, str], ...]) -> Tensors:
    """Names rewritten by the first rule (pattern, replacement) that fits them whole."""

    def rename(name: str) -> str:
        for pattern, replacement in rules:
            if re.fullmatch(pattern, name):
                return re.sub(pattern, replacement, name)
        return name

    return {rename(name): tensor for name, tensor in tensors.items()}


def is_amc(tensors: Mapping[str, Tensor]) -> bool:
    """Whether this is MobileNet v1 in the layout of AMC's compressed models."""
    return {"conv1.0.weight", "features.12.3.weight", "classifier.0.weight"} <= tensors.keys()


def from_amc(tensors: Mapping[str, Tensor]) -> Tensors:
    """AMC's MobileNet v1: ``conv1``, ``features.0..12``, ``classifier.0``."""

    def rename(name: str) -> str:
        if name.startswith("conv1."):
            return "model.0." + name.removeprefix("conv1.")
        if name.startswith("classifier.0."):
            return "fc." + name.removeprefix("classifier.0.")
        match = re.fullmatch(r"features\.(\d+)\.(.*)", name)
        return f"model.{int(match[1]) + 1}.{match[2]}" if match else name

    return {rename(name): tensor for name, tensor in tensors.items()}


def with_linear_classifier(tensors: Mapping[str, Tensor], name: str = "fc") -> Tensors:
    """A classifier that is a 1x1 convolution ``[C, D, 1, 1]`` as a matrix, bias zero if none."""
    flat = dict(tensors)
    weight = flat.get(f"{name}.weight")
    if weight is not None and weight.dim() == 4 and tuple(weight.shape[2:]) == (1, 1):
        flat[f"{name}.weight"] = weight.flatten(1)
        flat.setdefault(f"{name}.bias", torch.zeros(weight.shape[0], dtype=weight.dtype))
    return flat


def with_one_head(tensors: Mapping[str, Tensor], head: str) -> Mapping[str, Tensor]:
    """Two classifiers whose logits are averaged, as the one that this is: EfficientFormer's."""
    twin = f"{head}_dist."
    if f"{twin}weight" not in tensors or "dist_token" in tensors:
        return tensors
    merged = {n: t for n, t in tensors.items() if not n.startswith(twin)}
    for part in ("weight", "bias"):
        merged[f"{head}.{part}"] = (tensors[f"{head}.{part}"] + tensors[f"{twin}{part}"]) / 2
    return merged
