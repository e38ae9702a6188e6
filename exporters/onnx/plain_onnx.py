"""Export of an ONNX file that is run as it is: cut to its features, its batch axis made free.

Every node stays as its author left it. What the cut file computes is held against the whole file
before anything is measured with it: graphs that are bound to one batch size are refused.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.store import stored_artifact
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_hash
from sparsebench.models.onnx_file.backbone import OnnxBackbone, mask_of_layers
from sparsebench.models.onnx_file.running import OwnGraph, part_of, run_session, session_of
from sparsebench.models.onnx_file.weights import WeightedNode, read_weights

EXPORTER = "none: the file as it is"
# Part of the key under which artifacts are kept: to be raised when what is written changes.
_VERSION = "plain-onnx-1"
_FLAT = "sparsebench_flat_features"
# Of the largest value; runtimes reorder float32 sums, whole numbers may round the other way.
_TOLERANCE = 1e-3
_TOLERANCE_QUANTIZED = 5e-2


def export_file(backbone: OnnxBackbone, *, size: int | None, output: str) -> Artifact:
    """The artifact of an ONNX file; made once, then found by content.

    Args:
        backbone: opened file.
        size: side of the square input, pixels; the card's by default.
        output: ``"features"`` or ``"logits"``.

    Raises:
        SparsebenchError: the file takes another size, or allows no other batch size than its own.
    """
    side = backbone.side(size)
    key = [backbone.sha256, backbone.card.name, str(side), output, _VERSION]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:24]
    return stored_artifact(
        digest, backbone.card.name, lambda folder: _write(backbone, folder, side, output)
    )


def _write(backbone: OnnxBackbone, folder: Path, side: int, output: str) -> Artifact:
    model = cut_model(backbone, side, output)
    _prove_free_batch(backbone, model, side, output)
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    return Artifact(
        folder=str(folder),
        onnx=str(path),
        input_shape=(3, side, side),
        output_dim=int(classes),
        output=output,
        facts={
            "backbone": backbone.card.name,
            "arch": backbone.card.arch,
            "weights_sha256": backbone.sha256,
            "mask_sha256": mask_hash(mask_of_layers(held(backbone, output))),
            "exporter": EXPORTER,
            "cut": backbone.tensor(output),
            "classifier": backbone.file.logits is not None,
            "opset": {o.domain or "ai.onnx": o.version for o in model.opset_import},
        },
    )


def held(backbone: OnnxBackbone, output: str) -> list[WeightedNode]:
    """The layers that an artifact with this output contains."""
    return read_weights(backbone.file.model.graph, backbone.nodes(output), str(backbone.file.path))


def cut_model(backbone: OnnxBackbone, side: int, output: str) -> onnx.ModelProto:
    """The graph from the pictures to flat features or logits ``[batch, D]``, any batch size."""
    file, end = backbone.file, backbone.tensor(output)
    shape = OwnGraph(file, [end]).shapes(side)[0]
    if output == "features":
        backbone.feature_shape(side)  # refuses features that are not one row for each picture
    model = part_of(file, end, file.images, ["batch", 3, side, side])
    if len(shape) != 2:
        model.graph.node.append(helper.make_node("Flatten", [end], [_FLAT], _FLAT, axis=1))
        end = _FLAT
    flat = int(np.prod(shape[1:]))
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info(end, TensorProto.FLOAT, ["batch", flat])
    )
    return model


def _prove_free_batch(
    backbone: OnnxBackbone, model: onnx.ModelProto, side: int, output: str
) -> None:
    """Run the cut graph on a batch of another size than the file's own.

    Raises:
        SparsebenchError: it fails, or computes something else.
    """
    file = backbone.file
    count = 2 if file.batch != 2 else 3
    images = np.random.default_rng(0).standard_normal((count, 3, side, side), dtype=np.float32)
    expected = OwnGraph(file, [backbone.tensor(output)]).run(images)[0].reshape(count, -1)
    limit = _TOLERANCE_QUANTIZED if backbone.quantized else _TOLERANCE
    try:
        found = run_session(session_of(model, file.path), [model.graph.output[0].name], images,
                            file.path)[0]  # fmt: skip
        said = "" if found.shape == expected.shape else f"it gives {list(found.shape)}"
    except SparsebenchError as error:
        said = error.cause
    if not said:
        scale = max(float(np.abs(expected).max()), 1e-30)
        if not float(np.abs(found - expected).max()) <= limit * scale:
            said = "it computes something else"
    if said:
        own = f"a batch size of {file.batch}" if file.batch else "its own batch size"
        raise SparsebenchError(
            f"'{file.path}' is bound to {own}: with {count} pictures at once, {said}.",
            "Export it with a dynamic batch axis.",
        )
