"""What is asked about, as an artifact that engines can run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from sparsebench.bench.why.inspection import Inspection, inspect_target
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.cards import IMAGENET_PREPROCESSING, Preprocessing, at_size
from sparsebench.models.checkpoints import split_entry
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.names import format_percent
from sparsebench.models.onnx_file.running import run_session, session_of
from sparsebench.models.onnx_file.structure import load_model
from sparsebench.models.zoo.load import load_backbone

_DENSE_BELOW = 0.10


@dataclass(frozen=True)
class Target:
    """A network that can be run.

    Attributes:
        name: as it was asked for.
        artifact: what engines read.
        preprocessing: of its images.
        sparsity: share of zeros over all weights, 0-1.
        dead_filters: share of the convolutions' filters that are all zero, 0-1.
    """

    name: str
    artifact: Artifact
    preprocessing: Preprocessing
    sparsity: float
    dead_filters: float


def open_target(name: str, size: int | None = None, engine: str = "") -> Target:
    """Load and export a backbone, a checkpoint or an ONNX file.

    Args:
        name: backbone's name or path of a file.
        size: side of the input, pixels; its own by default.
        engine: that is to run it.

    Raises:
        SparsebenchError: it cannot be read, or nobody knows how to build it.
    """

    report = inspect_target(name, size=size)
    path, _ = split_entry(name)
    if path.is_file() and "arch" not in report.facts and path.suffix.lower() == ".onnx":
        artifact = bare_artifact(path, size)
        preprocessing = at_size(IMAGENET_PREPROCESSING, artifact.input_shape[1])
    else:
        backbone = load_backbone(_name_of(name, report) if path.is_file() else name)
        artifact = export_backbone(
            backbone, size=size, readers=readers_of([engine] if engine else [])
        )
        preprocessing = at_size(backbone.card.preprocessing, artifact.input_shape[1])
    return Target(name, artifact, preprocessing, report.sparsity, report.dead_filters)


def _name_of(path: str, report: Inspection) -> str:
    """A backbone's name for a file whose architecture is known."""
    arch = report.facts.get("arch")
    if arch is None or "architecture" in " ".join(report.unknown).split(" for ")[0].split(":")[0]:
        raise SparsebenchError(
            f"{path}: the architecture is not known, so it cannot be run.",
            "Export it to ONNX and ask about that file.",
        )
    if report.sparsity < _DENSE_BELOW:
        return f"{arch}/dense@{path}"
    return f"{arch}/file-{format_percent(round(report.sparsity, 3))}@{path}"


def bare_artifact(path: Path, size: int | None) -> Artifact:
    """An artifact around an ONNX file of an unknown architecture.

    Raises:
        SparsebenchError: it does not take images and return one row for each.
    """
    graph = onnx.load(str(path)).graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [one for one in graph.input if one.name not in constants]
    dims = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim] if inputs else []
    if len(inputs) != 1 or len(dims) != 4 or dims[1] not in (0, 3):
        raise SparsebenchError(
            f"{path} does not take one batch of images [N, 3, H, W].",
            "Only vision networks can be timed.",
        )
    side = dims[2] or size or IMAGENET_PREPROCESSING.size
    if size is not None and dims[2] and size != dims[2]:
        raise SparsebenchError(f"{path} takes images of {dims[2]} px.", f"--size {dims[2]}")
    fixed = dims[0] or 1
    columns = _columns(path, np.zeros((fixed, 3, side, side), np.float32))
    return Artifact(str(path.parent), str(path), (3, side, side), columns, "logits")


def _columns(path: Path, images: np.ndarray) -> int:
    """D of the output [N, D], by running the file once."""
    session = session_of(load_model(path), path)
    output = run_session(session, [session.get_outputs()[0].name], images, path)[0]
    if output.ndim != 2:
        raise SparsebenchError(
            f"{path} returns an array {output.shape}, not one row for each image.",
            "Only classifiers and feature extractors can be timed.",
        )
    return int(output.shape[1])
