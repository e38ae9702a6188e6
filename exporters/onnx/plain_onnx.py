"""Export of an ONNX file that is run as it is: cut to its features, its batch axis made free.

Every node stays as its author left it. What the cut file computes is compared with the whole
file before anything is measured with it, image by image: a graph in which an image's result
hangs on its neighbours is refused, one that is written for a single batch size keeps it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.lowering import lowered
from sparsebench.exporters.onnx.store import stored_artifact
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_hash
from sparsebench.models.onnx_file.backbone import OnnxBackbone, mask_of_layers, scale_tensors
from sparsebench.models.onnx_file.graph import OnnxFile
from sparsebench.models.onnx_file.running import part_of, run_session, session_of
from sparsebench.models.onnx_file.weights import WeightedNode, read_weights

EXPORTER = "none: the file as it is"
OUTPUT = "sparsebench_features"
# Part of the key under which artifacts are kept: to be raised when what is written changes.
VERSION = "plain-onnx-2"
# Of the largest value; runtimes reorder float32 sums, whole numbers may round the other way.
_TOLERANCE = 1e-3
_TOLERANCE_HALF = 1e-2
_TOLERANCE_QUANTIZED = 5e-2


def export_file(backbone: OnnxBackbone, *, size: int | None, output: str) -> Artifact:
    """The artifact of an ONNX file; made once, then found by content.

    Args:
        backbone: opened file.
        size: side of the square input, pixels; the card's by default.
        output: ``"features"`` or ``"logits"``.

    Returns:
        Its fact ``batch_size`` is the only one that the file can be run with, None where any is.

    Raises:
        SparsebenchError: the file takes another size, or its images do not stand alone.
    """
    side = backbone.side(size)
    key = [backbone.sha256, backbone.card.name, str(side), output, VERSION]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:24]
    return stored_artifact(
        digest, backbone.card.name, lambda folder: _write(backbone, folder, side, output)
    )


def write_cut(backbone: OnnxBackbone, target: Path, side: int, output: str) -> int | None:
    """Write the part of a file that computes features or logits, proven against the file.

    Returns:
        The batch size that it is bound to, None where it takes any.

    Raises:
        SparsebenchError: the file takes another size, or its images do not stand alone.
    """
    model, images, expected, batch = _proven(backbone, backbone.side(side), output)
    model = lowered(model, images[:batch], expected[:batch])
    onnx.save(model, str(target))
    return batch


def _write(backbone: OnnxBackbone, folder: Path, side: int, output: str) -> Artifact:
    path = folder / "model.onnx"
    batch = write_cut(backbone, path, side, output)
    model, own = onnx.load(str(path)), backbone.file.model
    return Artifact(
        folder=str(folder),
        onnx=str(path),
        input_shape=(3, side, side),
        output_dim=int(model.graph.output[0].type.tensor_type.shape.dim[1].dim_value),
        output=output,
        facts={
            "backbone": backbone.card.name,
            "arch": backbone.card.arch,
            "weights_sha256": backbone.sha256,
            "mask_sha256": mask_hash(mask_of_layers(held(backbone, output))),
            "exporter": EXPORTER,
            "cut": " + ".join(backbone.file.tensors(output)),
            "place": backbone.place,
            "classifier": backbone.file.head is not None,
            "batch_size": batch,
            "opset": {o.domain or "ai.onnx": o.version for o in model.opset_import},
            "ir_version": model.ir_version,
            "own_opset": {o.domain or "ai.onnx": o.version for o in own.opset_import},
            "own_ir_version": own.ir_version,
        },
    )


def held(backbone: OnnxBackbone, output: str) -> list[WeightedNode]:
    """The layers that an artifact with this output contains."""
    return read_weights(backbone.file.model.graph, backbone.nodes(output), str(backbone.file.path))


def cut_model(
    backbone: OnnxBackbone, side: int, output: str, batch: int | None = None
) -> onnx.ModelProto:
    """The graph from the images to flat float32 features or logits ``[batch, D]``.

    Args:
        backbone: opened file.
        side: of the input, pixels.
        output: ``"features"`` or ``"logits"``.
        batch: the only batch size; any by default.
    """
    file, parts = backbone.file, backbone.parts(side, output)
    begins = {file.images: (TensorProto.FLOAT, [batch or "batch", 3, side, side])}
    model = part_of(file, [part.name for part in parts], begins)
    flat: list[str] = []
    for part in parts:
        name, number = part.name, len(flat)

        def add(op: str, inputs: Sequence[str], *, number: int = number, **attributes: Any) -> str:
            made = f"sparsebench_{op}_{number}"
            node = helper.make_node(op, list(inputs), [made], made, **attributes)
            model.graph.node.append(node)
            return made

        if part.scale is not None:
            stored = scale_tensors(part, number)
            model.graph.initializer.extend(stored)
            name = add("DequantizeLinear", [name, *(tensor.name for tensor in stored)])
        elif part.dtype != np.float32:
            name = add("Cast", [name], to=TensorProto.FLOAT)
        if part.pooled:
            name = add("GlobalAveragePool", [name])
        if part.pooled or len(part.tail) != 1:
            name = add("Flatten", [name], axis=1)
        flat.append(name)
    if len(flat) > 1:
        model.graph.node.append(helper.make_node("Concat", flat, [OUTPUT], OUTPUT, axis=1))
        flat = [OUTPUT]
    width = sum(part.width for part in parts)
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info(flat[0], TensorProto.FLOAT, [batch or "batch", width])
    )
    return model


def _proven(
    backbone: OnnxBackbone, side: int, output: str
) -> tuple[onnx.ModelProto, NDArray[np.float32], NDArray[np.float32], int | None]:
    """The cut graph, images with what the file itself makes of each, and the only batch size.

    Raises:
        SparsebenchError: an image's result is not its own, or the cut graph computes another.
    """
    file = backbone.file
    own = file.batch or 1
    count = max(own + 1, 3) if own <= 2 else own
    images = _noise(backbone, count, side)
    expected = _alone(backbone, images, side, output)
    limit = _limit(backbone, side, output)
    model = cut_model(backbone, side, output)
    said = _difference(model, images[:own], expected[:own], file.path, limit)
    if said:
        raise SparsebenchError(
            f"'{file.path}': the part that computes its {output} does not run alone: {said}.",
            "Export it without what follows its features, and name that file.",
        )
    other = images[:count] if count != own else images[: own - 1]
    said = _difference(model, other, expected[: len(other)], file.path, limit)
    if not said:
        return model, images, expected, None
    if file.batch is None:
        raise _bound(file.path, len(other), said)
    return cut_model(backbone, side, output, own), images, expected, own


def _bound(path: Path, count: int, said: str) -> SparsebenchError:
    return SparsebenchError(
        f"'{path}' declares a free batch axis and is bound to one batch size: with {count} "
        f"image{'s' if count > 1 else ''} at once, {said}.",
        "Export it with a batch axis that is free in the whole graph, or declare the axis as the "
        "size that it is bound to.",
    )


def _alone(
    backbone: OnnxBackbone, images: NDArray[np.float32], side: int, output: str
) -> NDArray[np.float32]:
    """What the whole file makes of each image, proven not to depend on the others.

    Raises:
        SparsebenchError: it does, or it differs from call to call.
    """
    file = backbone.file
    # Alone: one image in a call, or copies of itself where the file wants several. Of a large
    # batch a few stand for all, since each takes a whole call.
    picked = list(range(len(images)))
    if file.batch in (None, 1):
        try:
            alone = backbone.rows(images, output, together=1)
        except SparsebenchError as error:
            if file.batch is not None or not _runs_together(file, images[:1]):
                raise
            raise _bound(file.path, 1, error.cause.rstrip(".")) from None
        again = backbone.rows(images[:1], output, together=1)
    else:
        picked = sorted({0, 1, len(images) // 2, len(images) - 1})
        copies = [backbone.rows(np.repeat(images[i : i + 1], file.batch, 0), output)
                  for i in picked]  # fmt: skip
        alone, again = np.concatenate([rows[:1] for rows in copies]), copies[0][1:2]
    if not np.isfinite(alone).all():
        raise SparsebenchError(
            f"'{file.path}' returns NaN or infinity for images of noise.",
            "Its training diverged, or the file is damaged.",
        )
    limit = _limit(backbone, side, output)
    scale = max(float(np.abs(alone).max()), 1e-30)
    if not float(np.abs(again - alone[:1]).max()) <= limit * scale:
        raise SparsebenchError(
            f"'{file.path}' makes something else of one image in each call.",
            "Export the network in evaluation mode (model.eval()).",
        )
    if file.batch == 1:
        return alone
    try:
        together = backbone.rows(images, output, together=len(images))
    except SparsebenchError as error:
        if file.batch is not None:
            raise
        raise _bound(file.path, len(images), error.cause.rstrip(".")) from None
    turned = np.ascontiguousarray(images[::-1])
    other = backbone.rows(turned, output, together=len(images))[::-1]
    worst = max(
        float(np.abs(together[picked] - alone).max()),
        float(np.abs(other[picked] - alone).max()),
        float(np.abs(other - together).max()),
    )
    if not worst <= limit * scale:
        told = f"by {worst:.2g} of {scale:.2g}" if alone.any() else "alone it is zero"
        raise SparsebenchError(
            f"'{file.path}': an image's result depends on the others in its batch ({told}).",
            "Was it exported in training mode? Export it after model.eval().",
        )
    return alone if len(picked) == len(images) else together


def _runs_together(file: OnnxFile, image: NDArray[np.float32]) -> bool:
    """Whether a file that does not take one image takes some more at once."""
    with suppress(SparsebenchError):
        session = session_of(file.model, file.path)
        names = [file.model.graph.output[0].name]
        for count in (1, 2, 4, 8, 16, 32):
            with suppress(SparsebenchError):
                run_session(session, names, np.repeat(image, count, 0), file.path)
                return count > 1
    return False


def _noise(backbone: OnnxBackbone, count: int, side: int) -> NDArray[np.float32]:
    """Images of noise in the range that the file takes, no two of one brightness."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((count, 3, side, side), dtype=np.float32)
    if backbone.file.own_scaling is not None:
        _, step = backbone.file.own_scaling
        noise = rng.random((count, 3, side, side), dtype=np.float32) / np.float32(step[0])
    bright = np.linspace(0.5, 1.0, count, dtype=np.float32).reshape(-1, 1, 1, 1)
    return np.ascontiguousarray(noise * bright)


def _limit(backbone: OnnxBackbone, side: int, output: str) -> float:
    if backbone.quantized:
        return _TOLERANCE_QUANTIZED
    half = any(initializer.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16)
               for initializer in backbone.file.model.graph.initializer)  # fmt: skip
    narrow = half or any(p.dtype.itemsize < 4 for p in backbone.parts(side, output))
    return _TOLERANCE_HALF if narrow else _TOLERANCE


def _difference(
    model: onnx.ModelProto,
    images: NDArray[np.float32],
    expected: NDArray[np.float32],
    path: Path,
    limit: float,
) -> str:
    """How a graph's output differs from what is expected; empty where it does not."""
    try:
        session = session_of(model, path)
        found = run_session(session, [model.graph.output[0].name], images, path)[0]
    except SparsebenchError as error:
        return error.cause.rstrip(".")
    if found.shape != expected.shape:
        return f"it gives {list(found.shape)}"
    scale = max(float(np.abs(expected).max()), 1e-30)
    same = float(np.abs(found - expected).max()) <= limit * scale
    return "" if same else "it computes something else"
