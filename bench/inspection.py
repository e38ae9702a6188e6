"""What a backbone, a checkpoint or an ONNX file holds, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.errors import SparsebenchError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.console import RenderableType


@dataclass(frozen=True)
class Layer:
    """One weight tensor.

    Attributes:
        name: dotted name of the layer or node.
        shape: of the weight, ``[out, in, ...]``.
        sparsity: share of zeros, 0-1.
        dead_filters: output channels whose weights are all zero.
        macs: dense multiply-accumulates for one picture, None where unknown.
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
    """All layers of one thing, and what else is known of it."""

    target: str
    facts: dict[str, Any]
    layers: list[Layer]
    unknown: list[str] = field(default_factory=list)

    @property
    def sparsity(self) -> float:
        """Share of zeros over all layers, 0-1."""
        weights = sum(int(np.prod(layer.shape)) for layer in self.layers)
        zeros = sum(layer.sparsity * int(np.prod(layer.shape)) for layer in self.layers)
        return zeros / weights if weights else 0.0

    @property
    def flops_ratio(self) -> float | None:
        """Non-zero over dense FLOPs, None where they are unknown."""
        counted = [layer for layer in self.layers if layer.macs is not None]
        dense = sum(layer.macs or 0 for layer in counted)
        return sum(layer.nonzero_macs or 0 for layer in counted) / dense if dense else None

    def to_json(self) -> dict[str, Any]:
        """A dictionary of everything, with the totals."""
        return {**asdict(self), "sparsity": self.sparsity, "flops_ratio": self.flops_ratio}


def inspect_target(target: str, *, size: int | None = None) -> Inspection:
    """Look into a file or a backbone.

    Args:
        target: path of an ONNX file or checkpoint, or a backbone's name.
        size: side of the input for the FLOPs, pixels; a backbone's own by default.

    Raises:
        SparsebenchError: no such file or backbone, or a damaged file.
    """
    path = Path(target)
    if path.suffix == ".onnx":
        return _onnx(path)
    if path.is_file():
        return _checkpoint(path)
    if "@" not in target and path.suffix in (".pth", ".pt", ".safetensors", ".bin", ".net"):
        raise SparsebenchError(f"There is no file {path}.")
    return _backbone(target, size)


def _backbone(name: str, size: int | None) -> Inspection:
    from models.architectures import prunable_layers
    from models.costs import count_costs
    from models.masks import mask_hash
    from models.zoo.load import load_backbone

    backbone = load_backbone(name)
    card = backbone.card
    side = size or card.preprocessing.size
    costs = {cost.name: cost for cost in count_costs(backbone.module, (3, side, side))}
    layers = []
    for layer_name, module in prunable_layers(backbone.module).items():
        cost = costs[layer_name]
        weight = module.weight.detach().numpy()
        layers.append(_layer(layer_name, weight, cost.macs, cost.nonzero_macs))
    facts = {
        "backbone": card.name,
        "arch": card.arch,
        "method": f"{card.method} ({card.family})",
        "trained": card.trained,
        "input": f"{side} px, {card.preprocessing.interpolation}, "
        f"mean {card.preprocessing.mean}, std {card.preprocessing.std}",
        "upstream top-1": card.upstream_accuracy,
        "licence": card.licence,
        "notes": card.notes or None,
        "mask": mask_hash(backbone.mask),
        "weights": backbone.sha256,
    }
    return Inspection(name, facts, layers)


def _checkpoint(path: Path) -> Inspection:
    from models.checkpoints import load_checkpoint

    loaded = load_checkpoint(path)
    layers = [
        _layer(name.removesuffix(".weight"), tensor.float().numpy())
        for name, tensor in loaded.state_dict.items()
        if name.endswith("weight") and tensor.dim() in (2, 4)
    ]
    facts = {"format": loaded.format, **loaded.metadata}
    unknown = [] if "arch" in loaded.metadata else ["architecture"]
    unknown.append("FLOPs: `sparsebench inspect ARCH/METHOD-PERCENT@FILE` counts them")
    return Inspection(str(path), facts, layers, unknown)


def _onnx(path: Path) -> Inspection:
    from exporters.onnx_weights import weighted_nodes

    if not path.is_file():
        raise SparsebenchError(f"There is no file {path}.")
    layers = [_layer(node.name, node.weight) for node in weighted_nodes(path)]
    return Inspection(str(path), {"format": "onnx"}, layers, ["preprocessing", "FLOPs"])


def _layer(
    name: str, weight: NDArray[Any], macs: int | None = None, nonzero_macs: int | None = None
) -> Layer:
    zero = weight == 0
    rows = zero.reshape(zero.shape[0], -1)
    sparsity = float(zero.mean()) if zero.size else 0.0
    dead = int(rows.all(1).sum()) if zero.size else 0
    return Layer(name, tuple(weight.shape), sparsity, dead, macs, nonzero_macs)


def render(report: Inspection) -> Iterable[RenderableType]:
    """Facts, a table of layers, and totals, for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    for key, value in report.facts.items():
        if value is not None:
            yield f"{key}: {escape(str(value))}"
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("layer", overflow="fold")
    for title in ("shape", "sparsity", "dead filters", "MMACs", "non-zero"):
        table.add_column(title, justify="right")
    for layer in report.layers:
        known = layer.macs is not None and layer.nonzero_macs is not None
        table.add_row(
            escape(layer.name),
            "×".join(map(str, layer.shape)),
            f"{layer.sparsity:.1%}",
            f"{layer.dead_filters}/{layer.shape[0]}" if layer.dead_filters else "",
            f"{(layer.macs or 0) / 1e6:.1f}" if known else "",
            f"{(layer.nonzero_macs or 0) / 1e6:.1f}" if known else "",
        )
    yield table
    ratio = report.flops_ratio
    flops = f", {ratio:.3f} of the dense FLOPs" if ratio is not None else ""
    yield f"in all: {report.sparsity:.2%} zeros over {len(report.layers)} layers{flops}"
    for missing in report.unknown:
        yield f"could not tell: {missing}"
