"""Before any clock: a backbone loaded, exported, counted, and its reference outputs."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import psutil
from numpy.typing import NDArray

from sparsebench.bench.images.decode import decoded_batches
from sparsebench.bench.tasks.base import Task
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.detector import HEAD, OUTPUTS, build_detector, export_detector
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.quantise_artifact import CALIBRATION_IMAGES, quantised_artifact
from sparsebench.exporters.onnx.sizes import model_bytes
from sparsebench.exporters.onnx.verify import Reference, reference
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.architectures import class_weight, classes_of, find_architecture
from sparsebench.models.cards import Preprocessing, at_size
from sparsebench.models.costs import (
    LayerCost,
    bytes_ratio,
    count_costs,
    dense_costs,
    flops_ratio,
    total_cost,
)
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.backbone import OnnxBackbone
from sparsebench.models.onnx_file.boxes import with_boxes
from sparsebench.models.zoo.load import Backbone, load_to_run

# A batch lies in two shared slots, in the parent, in decoding buffers, in the engine.
COPIES = 8


@dataclass(frozen=True)
class Prepared:
    """All that the cells of one backbone and task share.

    Attributes:
        backbone: card, mask, and the network as a module or an ONNX graph.
        artifact: the exported feature extractor.
        preprocessing: what the images go through, at the cell's size.
        images: one full batch of real test images ``[B, 3, H, W]``, float32.
        reference: the right outputs for ``images`` and the mask's proof.
        measured_sparsity: share of zeros (0-1) over Conv2d and Linear weights.
        flops_ratio: non-zero FLOPs over those of the full dense architecture (0-1) at this
            size.
        bytes_ratio: bytes of the non-zero weights and of the bits that say where they are,
            over those of all weights (0-1).
        model_bytes: its size on disk: dense, sparse, compressed
            (:func:`sparsebench.exporters.onnx.sizes.model_bytes`).
        export_seconds: what loading, exporting and checking took; a one-off cost.
        task: whose training images calibrate INT8.
        engines: names of all that its file is for.
    """

    backbone: Backbone | OnnxBackbone
    artifact: Artifact
    preprocessing: Preprocessing
    images: NDArray[np.float32]
    reference: Reference
    measured_sparsity: float
    flops_ratio: float
    bytes_ratio: float
    model_bytes: dict[str, int]
    export_seconds: float
    task: Task
    engines: tuple[str, ...] = ()

    def artifact_for(self, precision: str, form: str) -> Artifact:
        """What an engine gets: the export itself, or its INT8 form, made once and then kept.

        A user's file that computes in INT8 already is run as it is.

        Args:
            precision: ``fp32``, ``bf16`` or ``int8``.
            form: of INT8 graphs that the engine executes, see ``exporters/onnx/quantise.py``.

        Raises:
            SparsebenchError: the network cannot be quantized.
        """
        if precision != "int8" or self.backbone.card.precision == "int8":
            return self.artifact
        count = min(CALIBRATION_IMAGES, len(self.task.train))
        identity = json.dumps([self.task.sha256, asdict(self.preprocessing), count])
        return quantised_artifact(
            self.artifact, form, identity, lambda: self._calibration_images(count)
        )

    def _calibration_images(self, count: int) -> NDArray[np.float32]:
        """Training images ``[count, 3, H, W]`` at equal distances, so that every class has its."""
        train = self.task.train
        chosen = np.linspace(0, len(train) - 1, count).round().astype(np.int64)
        task = replace(self.task, train=train.part(chosen))
        batches = decoded_batches(task, "train", self.preprocessing, min(count, 64), workers=2)
        return np.concatenate([images for _, images in batches])


def prepare(
    name: str,
    task: Task,
    *,
    size: int,
    batch_size: int,
    output: str = "features",
    engines: Collection[str] = (),
) -> Prepared:
    """Load, export and verify one backbone for one task.

    Args:
        name: backbone name.
        task: whose test images serve for verification and timing.
        size: side of the input, pixels.
        batch_size: images in ``Prepared.images``.
        output: what of the network is run (:class:`Artifact`'s ``output``).
        engines: names of all that are compared, and so get one file.

    Raises:
        SparsebenchError: the backbone cannot be had, or not at this size.
    """
    start = time.perf_counter()
    backbone = load_to_run(name)
    if output in OUTPUTS and isinstance(backbone, OnnxBackbone):
        backbone = with_boxes(backbone, size, len(task.classes))
    preprocessing = task.input_of(at_size(backbone.card.preprocessing, size))
    classes, readers = len(task.classes), readers_of(engines)
    artifact = (
        export_detector(backbone, size=size, output=output, classes=classes, readers=readers)
        if output in OUTPUTS
        else export_backbone(backbone, size=size, output=output, readers=readers)
    )
    bound = artifact.facts.get("batch_size")
    if bound not in (None, batch_size):
        raise SparsebenchError(
            f"'{name}' is written for a batch size of {bound}, not of {batch_size}.",
            f"Run it with --batch-size {bound}, or export it with a dynamic batch axis.",
        )
    images = first_images(task, preprocessing, batch_size)
    costs = _costs(backbone, artifact)
    return Prepared(
        backbone=backbone,
        artifact=artifact,
        preprocessing=preprocessing,
        images=images,
        reference=reference(backbone, artifact, images),
        measured_sparsity=backbone.measured_sparsity,
        flops_ratio=_flops_ratio(backbone, costs, size),
        bytes_ratio=bytes_ratio(costs),
        model_bytes=model_bytes(artifact, costs),
        export_seconds=time.perf_counter() - start,
        task=task,
        engines=tuple(engines),
    )


def _costs(backbone: Backbone | OnnxBackbone, artifact: Artifact) -> list[LayerCost]:
    if isinstance(backbone, OnnxBackbone):
        return list(backbone.costs(artifact.input_shape[1]))
    whole = build_detector(artifact) if artifact.output in OUTPUTS else backbone.module
    return count_costs(whole, artifact.input_shape)


def _flops_ratio(backbone: Backbone | OnnxBackbone, costs: Sequence[LayerCost], size: int) -> float:
    """Non-zero multiply-accumulates over those of the full dense architecture."""
    if isinstance(backbone, OnnxBackbone):  # the only architecture it has is its own
        return flops_ratio(costs)
    arch = backbone.card.arch
    classes = classes_of(arch, backbone.module.get_parameter(class_weight(arch)).shape[0])
    dense: Sequence[LayerCost] = dense_costs(arch, classes, (3, size, size))
    if find_architecture(arch).grids is not None:  # its own head may have been replaced
        dense = [cost for cost in dense if not cost.name.startswith(HEAD)]
    # What a head adds is dense in both.
    whole = total_cost(dense).macs + sum(c.macs for c in costs if c.name.startswith(HEAD))
    return total_cost(costs).nonzero_macs / whole


def first_images(task: Task, preprocessing: Preprocessing, count: int) -> NDArray[np.float32]:
    """The first ``count`` test images, preprocessed; repeated when there are fewer.

    Raises:
        SparsebenchError: there is not enough memory for batches of this size.
    """
    side = preprocessing.size
    needed, free = COPIES * count * 3 * side * side * 4, psutil.virtual_memory().available
    if needed > free:
        # Asked beforehand: the kernel grants what it does not have, and kills later.
        raise SparsebenchError(
            f"Batches of {count} images of {side} px need about {needed / 1e9:.1f} GB; "
            f"{free / 1e9:.1f} GB are free.",
            "Take a smaller --batch-size.",
        )
    batches = []
    found = 0
    for _, images in decoded_batches(task, "test", preprocessing, min(count, 64), workers=2):
        batches.append(images)
        found += len(images)
        if found >= count:
            break
    first = np.concatenate(batches)
    times = -(-count // len(first))
    return np.ascontiguousarray(np.concatenate([first] * times)[:count])
