"""What a backbone, a checkpoint or an ONNX file holds, layer by layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsebench.bench.present import escape
from sparsebench.bench.present.table import Table
from sparsebench.models.checkpoints import split_entry
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sources import FILE_SUFFIXES

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from sparsebench.models.cards import Preprocessing


@dataclass(frozen=True)
class Layer:
    """One weight tensor.

    Attributes:
        name: dotted name of the layer or node.
        shape: of the weight, ``[out, in, ...]``.
        sparsity: share of zeros, 0-1.
        dead_filters: output channels whose weights are all zero.
        macs: dense multiply-accumulates for one image, None where unknown.
        nonzero_macs: those with a non-zero weight.
    """

    name: str
    shape: tuple[int, ...]
    sparsity: float
    dead_filters: int
    macs: int | None = None
    nonzero_macs: int | None = None


@dataclass(frozen=True)
class Inspection:
    """All layers of one thing, and what else is known of it.

    Attributes:
        target: what was asked for.
        facts: what it says of itself, or its card does.
        layers: in the network's order.
        unknown: what could not be told.
        full_macs: dense multiplications of the full architecture, which a network with
            removed channels has fewer of; None where unknown.
    """

    target: str
    facts: dict[str, Any]
    layers: list[Layer]
    unknown: list[str] = field(default_factory=list)
    full_macs: int | None = None

    @property
    def sparsity(self) -> float:
        """Share of zeros over all layers, 0-1."""
        weights = sum(int(np.prod(layer.shape)) for layer in self.layers)
        zeros = sum(layer.sparsity * int(np.prod(layer.shape)) for layer in self.layers)
        return zeros / weights if weights else 0.0

    @property
    def flops_ratio(self) -> float | None:
        """Non-zero FLOPs over the full architecture's dense ones, None where unknown."""
        counted = [layer for layer in self.layers if layer.macs is not None]
        dense = self.full_macs or sum(layer.macs or 0 for layer in counted)
        return sum(layer.nonzero_macs or 0 for layer in counted) / dense if dense else None

    @property
    def dead_filters(self) -> float:
        """Share of the convolutions' filters that are all zero, 0-1."""
        convolutions = [layer for layer in self.layers if len(layer.shape) == 4]
        filters = sum(layer.shape[0] for layer in convolutions)
        return sum(layer.dead_filters for layer in convolutions) / filters if filters else 0.0

    def to_json(self) -> dict[str, Any]:
        """A dictionary of everything, with the totals."""
        totals = {
            "sparsity": self.sparsity,
            "flops_ratio": self.flops_ratio,
            "dead_filters": self.dead_filters,
        }
        return {**asdict(self), **totals}


def inspect_target(target: str, *, size: int | None = None) -> Inspection:
    """Look into a file or a backbone.

    Args:
        target: path of an ONNX file or checkpoint, or a backbone's name.
        size: side of the input for the FLOPs, pixels; a backbone's own by default.

    Raises:
        SparsebenchError: no such file or backbone, or a damaged file.
    """
    path, entry = split_entry(target)
    if path.is_file() and "@" not in target.rpartition("#")[0]:
        onnx = path.suffix.lower() == ".onnx"
        return _onnx(path, size) if onnx else _checkpoint(path, size, entry)
    if path.is_dir():
        raise SparsebenchError(f"{path} is a folder.", "Name a file in it, or a backbone.")
    if "@" not in target and path.suffix.lower() in FILE_SUFFIXES:
        raise SparsebenchError(f"There is no file {path}.", "Check the path.")
    return _backbone(target, size)


def _backbone(name: str, size: int | None) -> Inspection:
    from sparsebench.models.masks import mask_hash
    from sparsebench.models.zoo.load import load_backbone

    backbone = load_backbone(name)
    card = backbone.card
    side = size or card.preprocessing.size
    layers, full = _counted(backbone.module, card.arch, side)
    facts = {
        "backbone": card.name,
        "arch": card.arch,
        "method": f"{card.method} ({card.family})",
        "trained": card.trained,
        "input": input_line(card.preprocessing, side),
        "upstream top-1": card.upstream_accuracy,
        "measured on": card.upstream_data,
        "licence": card.licence,
        "notes": card.notes or None,
        "mask": mask_hash(backbone.mask),
        **{f"file's {key}": text for key, text in backbone.said.items()},
        "weights": backbone.sha256,
    }
    return Inspection(name, facts, layers, full_macs=full)


def _checkpoint(path: Path, size: int | None, entry: str | None = None) -> Inspection:
    from sparsebench.models.architectures import (
        ARCHITECTURES,
        class_weight,
        classes_of,
        find_architecture,
    )
    from sparsebench.models.checkpoints import FORMATS, load_checkpoint
    from sparsebench.models.checkpoints.fit import (
        build_from,
        check_statistics,
        check_values,
        matching_architectures,
        nearest_architecture,
    )
    from sparsebench.models.checkpoints.prefixes import OTHERS, naming_of
    from sparsebench.models.sources.own_file import card_beside, fixed_preprocessing

    loaded = load_checkpoint(path, entry)
    card = card_beside(path)
    claimed = card.arch if card is not None else loaded.metadata.get("arch")
    fitting = matching_architectures(loaded.state_dict, entry, claimed)
    arch = claimed if claimed in fitting else (fitting[0] if fitting else None)
    facts: dict[str, Any] = {
        "format": f"{loaded.format} ({FORMATS.load(loaded.format).description})",
        **loaded.metadata,
        "arch": arch or claimed,
    }
    unknown = []
    if arch is None:
        meant = claimed if claimed in ARCHITECTURES else nearest_architecture(loaded.state_dict)
        if meant:
            build_from(meant, loaded, path)  # says what does not fit
        check_values(loaded.state_dict, path)
        check_statistics(loaded.state_dict, path)
        layers = [
            _layer(name.removesuffix(".weight"), tensor.float().numpy())
            for name, tensor in loaded.state_dict.items()
            if name.endswith("weight") and tensor.dim() in (2, 4)
        ]
        whose = f" (it says '{claimed}')" if claimed else naming_of(loaded.state_dict)
        unknown.append(f"architecture{whose}")
        facts["to run it"] = OTHERS
        return Inspection(str(path), facts, layers, [*unknown, "preprocessing", "FLOPs"])
    if claimed is None and len(fitting) > 1:
        unknown.append(f"architecture for certain: {' or '.join(fitting)}, names alone do not tell")
    trained = card is None or card.trained
    module = build_from(arch, loaded, path, trained=trained)
    facts = {**facts, **{k: v for k, v in loaded.metadata.items() if k != "arch"}}
    fixed = fixed_preprocessing(path)
    preprocessing = fixed or (card or find_architecture(arch)).preprocessing
    side = size or preprocessing.size
    layers, full = _counted(module, arch, side)
    assumed = "" if fixed or card is not None else " (assumed: usual for the architecture)"
    facts["input"] = input_line(preprocessing, side) + assumed
    if find_architecture(arch).grids is not None:
        rows = module.get_parameter(class_weight(arch)).shape[0]
        facts["boxes"] = f"of {classes_of(arch, rows)} classes"
    facts["upstream top-1"] = card.upstream_accuracy if card else facts.get("upstream_accuracy")
    if assumed:
        unknown.append("preprocessing")
    if card is None and "method" not in loaded.metadata:
        unknown.append("pruning method")
    if facts["upstream top-1"] is None:
        unknown.append("upstream accuracy")
    return Inspection(str(path), facts, layers, unknown, full)


def _onnx(path: Path, size: int | None) -> Inspection:
    from sparsebench.models.checkpoints import SURPRISES
    from sparsebench.models.checkpoints.onnx_weights import read_onnx

    try:
        read_onnx(path)
    except SparsebenchError as error:
        return _plain_onnx(path, size, error.cause)
    except SURPRISES as error:  # shapes that no known architecture has
        return _plain_onnx(path, size, f"none of the suite's ({error})")
    return _checkpoint(path, size)


def _plain_onnx(path: Path, size: int | None, why: str) -> Inspection:
    """A graph of no architecture that the suite knows, as it would be run."""
    from sparsebench.models.card_file import card_of
    from sparsebench.models.masks import mask_hash
    from sparsebench.models.onnx_file.backbone import OnnxBackbone
    from sparsebench.models.onnx_file.boxes import find_boxes, with_boxes
    from sparsebench.models.sources.onnx_file import UNKNOWN, load_onnx

    backbone: OnnxBackbone = load_onnx(str(path))
    side = backbone.side(size)
    boxes = None
    with contextlib.suppress(SparsebenchError):  # what does not run is told below
        if boxes := find_boxes(backbone, side):
            backbone = with_boxes(backbone, side, boxes.classes)
    card, file = backbone.card, backbone.file
    beside = card_of(path) is not None
    unknown = [f"architecture: {why}"]
    try:
        costs = {cost.name: cost for cost in backbone.costs(side)}
        if boxes is None:
            backbone.parts(side)  # says where it is no classifier
    except SparsebenchError as error:
        costs = {}
        unknown.append(f"FLOPs: {error.cause}")
    layers = []
    for node in backbone.layers:
        cost = costs.get(node.name)
        macs, nonzero = (cost.macs, cost.nonzero_macs) if cost else (None, None)
        layers.append(_layer(node.name, node.weight, macs, nonzero))
    facts = {
        "format": "onnx, run as it is",
        # Not "arch": that is a name by which the suite can build the network.
        "network": card.arch if beside else None,
        "method": f"{card.method} ({card.family})" if beside else None,
        "input": input_line(card.preprocessing, side) + ("" if beside else " (assumed)"),
        "batch size": f"{file.batch}, freed where the graph allows it" if file.batch else "free",
        "layout": "channels first, [N, 3, H, W]",
        "range": None if file.own_scaling is None else "the graph scales its input itself",
        "boxes": None
        if boxes is None
        else f"of {boxes.classes} classes, in {', '.join(map(repr, boxes.tensors))}"
        + (", which the graph decodes" if boxes.decoded else ", raw"),
        "features": None
        if boxes is not None
        else "tensor "
        + ", ".join(f"'{name}'" for name in file.features)
        + (" (means of its planes)" if file.head and file.head.convolution else "")
        + ("" if file.head else ", the output: there is no classifier behind it"),
        "classifier": ", ".join(file.head.products) if file.head else None,
        "weights stored as": "/".join(sorted({str(n.weight.dtype) for n in backbone.layers})),
        "upstream top-1": card.upstream_accuracy,
        "licence": None if card.licence == UNKNOWN else card.licence,
        "mask": mask_hash(backbone.mask),
        "weights": backbone.sha256,
    }
    if not beside:
        unknown += ["preprocessing", "pruning method", "upstream accuracy"]
    return Inspection(str(path), facts, layers, unknown)


def _counted(module: nn.Module, arch: str, side: int) -> tuple[list[Layer], int]:
    """Layers with their multiplications, and those of the full dense architecture."""
    from sparsebench.models.architectures import class_weight, classes_of, prunable_layers
    from sparsebench.models.costs import count_costs, dense_macs

    shape = (3, side, side)
    costs = {cost.name: cost for cost in count_costs(module, shape)}
    layers = [
        _layer(name, layer.weight.detach().numpy(), costs[name].macs, costs[name].nonzero_macs)
        for name, layer in prunable_layers(module).items()
    ]
    classes = classes_of(arch, module.get_parameter(class_weight(arch)).shape[0])
    return layers, dense_macs(arch, classes, shape)


def input_line(preprocessing: Preprocessing, side: int) -> str:
    """Preprocessing in one line."""
    mean, std = (
        "/".join(f"{value:.3f}" for value in values)
        for values in (preprocessing.mean, preprocessing.std)
    )
    return f"{side} px, {preprocessing.interpolation}, mean {mean}, std {std}"


def _layer(
    name: str, weight: NDArray[Any], macs: int | None = None, nonzero_macs: int | None = None
) -> Layer:
    zero = weight == 0
    rows = zero.reshape(zero.shape[0], -1)
    sparsity = float(zero.mean()) if zero.size else 0.0
    dead = int(rows.all(1).sum()) if zero.size else 0
    return Layer(name, tuple(weight.shape), sparsity, dead, macs, nonzero_macs)


def render(report: Inspection) -> Iterable[Table | str]:
    """Facts, a table of layers, and totals."""
    for key, value in report.facts.items():
        if value is not None:
            yield escape.visible(f"{key}: {value}")
    yield Table.of(
        "", ("layer", "shape", "sparsity", "dead filters", "MMACs", "non-zero"),
        (
            (
                layer.name,
                "×".join(map(str, layer.shape)),
                f"{layer.sparsity:.1%}",
                f"{layer.dead_filters}/{layer.shape[0]}" if layer.dead_filters else "",
                *(["", ""] if layer.macs is None or layer.nonzero_macs is None
                  else [f"{macs / 1e6:.1f}" for macs in (layer.macs, layer.nonzero_macs)]),
            )
            for layer in report.layers
        ),
    )  # fmt: skip
    ratio = report.flops_ratio
    flops = f", {ratio:.3f} of the dense FLOPs" if ratio is not None else ""
    dead = f", {report.dead_filters:.1%} of the convolutions' filters are all zero"
    yield f"in all: {report.sparsity:.2%} zeros over {len(report.layers)} layers{flops}{dead}"
    for missing in report.unknown:
        yield escape.visible(f"could not tell: {missing}")
