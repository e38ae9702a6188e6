"""The verification gate: no clock starts before an engine has proved that it computes
the same network, with the same zeros, as the checkpoint.

Checked are: the mask in the ONNX file against the checkpoint's, the engine's outputs
against PyTorch's on real images, the upstream classifier's decisions on both, and the
threads that the engine reports. A user's ONNX file, of which there is no PyTorch network, is
compared with ONNX Runtime on the whole file, every node as it stands.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sparsebench.exporters.onnx import detector
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import covered
from sparsebench.exporters.onnx.gate import TOLERANCE as FP32
from sparsebench.exporters.onnx.onnx_weights import all_weighted_nodes, onnx_mask, refilled
from sparsebench.exporters.onnx.plain_onnx import held
from sparsebench.exporters.onnx.torch_module import build_module
from sparsebench.models.masks import Mask, mask_hash
from sparsebench.models.onnx_file.backbone import OnnxBackbone, mask_of_layers
from sparsebench.models.zoo.load import Backbone

# Largest error allowed, relative to the largest reference value. fp32 engines reorder sums
# (observed 1e-6 to 1e-5); bf16 keeps 8 bits of mantissa through some fifty layers.
TOLERANCE = {"fp32": FP32, "bf16": 1e-1, "int8": 5e-1, "2:4": 1e-1}
# Share of images on which the upstream classifier must decide as before: in fp32 one
# near-tie in 64 images may fall the other way, no more.
AGREEMENT = {"fp32": 0.98, "bf16": 0.9, "int8": 0.8, "2:4": 0.9}
CHUNK = 32


@dataclass(frozen=True)
class Reference:
    """The right outputs of an artifact on real images, and the mask's proof.

    Attributes:
        outputs: ``[n, D]`` float32.
        logits: ``[n, C]`` float32 of the upstream classifier; None where there is none.
        checkpoint_mask: hash of the mask that the artifact should hold.
        onnx_mask: hash of the mask that its ONNX file holds.
        refilled: pruned weights that are not zero in the ONNX file, by layer.
        computed_by: what has computed the outputs.
    """

    outputs: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    checkpoint_mask: str
    onnx_mask: str
    refilled: dict[str, int]
    computed_by: str = "PyTorch"


@dataclass(frozen=True)
class Verdict:
    """Outcome of the gate for one engine session; ``reason`` is empty when it passed.

    ``argmax_agreement`` is None for a feature extractor, which decides nothing.
    """

    ok: bool
    reason: str
    max_abs_error: float
    max_rel_error: float
    argmax_agreement: float | None
    images: int
    against: str = "PyTorch"

    def to_json(self) -> dict[str, Any]:
        """A dictionary of the fields."""
        return asdict(self)


def reference(
    backbone: Backbone | OnnxBackbone, artifact: Artifact, images: NDArray[np.float32]
) -> Reference:
    """What every engine's session of this artifact must reproduce.

    Args:
        backbone: the loaded backbone.
        artifact: its export.
        images: real, preprocessed images ``[n, 3, H, W]``, float32.
    """
    if isinstance(backbone, OnnxBackbone):
        return _reference_of_file(backbone, artifact, images)
    if artifact.output in detector.OUTPUTS:
        whole = detector.build_detector(artifact)
        module: nn.Module = whole
        arch = backbone.card.arch
        expected = detector.own_mask(backbone.mask, whole, arch)
        found = onnx_mask(Path(artifact.onnx), module, artifact.input_shape)
        renamed = {detector.backbones_name(name, arch): kept for name, kept in found.items()}
        exported: Mask = {name: renamed[name] for name in expected}
    else:
        module = build_module(artifact)
        expected = covered(backbone.mask, backbone.card.arch, artifact.output)
        exported = onnx_mask(Path(artifact.onnx), module, artifact.input_shape)
    with torch.inference_mode():
        # In pieces: a large batch's activations may not fit where the batch itself does.
        starts = range(0, len(images), CHUNK)
        pieces = [module(torch.from_numpy(images[i : i + CHUNK])).float() for i in starts]
        outputs = torch.cat(pieces).numpy()
    return Reference(
        outputs=outputs,
        logits=_logits(backbone, artifact, outputs),
        checkpoint_mask=mask_hash(expected),
        onnx_mask=mask_hash(exported),
        refilled=refilled(expected, exported),
    )


def _reference_of_file(
    backbone: OnnxBackbone, artifact: Artifact, images: NDArray[np.float32]
) -> Reference:
    """Outputs and logits of the user's whole file, by ONNX Runtime without optimizations."""
    outputs = backbone.rows(images, artifact.output)
    # Where logits do not follow from the features (means of planes), decisions are not compared.
    decides = backbone.classify(outputs[:1], images.shape[-1]) is not None
    expected = mask_of_layers(held(backbone, artifact.output))
    exported = mask_of_layers(all_weighted_nodes(Path(artifact.onnx)))
    return Reference(
        outputs=outputs,
        logits=backbone.rows(images, "logits") if decides else None,
        checkpoint_mask=mask_hash(expected),
        onnx_mask=mask_hash(exported),
        refilled=refilled(expected, exported),
        computed_by="ONNX Runtime (the file itself)",
    )


def check_outputs(
    backbone: Backbone | OnnxBackbone,
    artifact: Artifact,
    expected: Reference,
    outputs: NDArray[np.float32],
    precision: str,
) -> Verdict:
    """Compare an engine's outputs ``[n, D]`` with the reference.

    The error is relative to the largest absolute reference value; agreement counts the
    images on which the upstream classifier's first choice is the same.
    """
    difference = float(np.abs(outputs - expected.outputs).max())
    scale = float(np.abs(expected.outputs).max())
    relative = difference / scale if scale > 0 else difference
    logits = _logits(backbone, artifact, outputs)
    agreement = None
    if logits is not None and expected.logits is not None:
        agreement = float((logits.argmax(1) == expected.logits.argmax(1)).mean())
    # A file that computes in whole numbers may round them otherwise in another engine.
    quantized = isinstance(backbone, OnnxBackbone) and backbone.quantized
    kind = "int8" if quantized else precision
    limit, share, by = TOLERANCE[kind], AGREEMENT[kind], expected.computed_by
    reason = ""
    if expected.refilled:
        layer, count = next(iter(expected.refilled.items()))
        reason = f"the ONNX file refilled pruned weights ({count} in {layer})"
    elif expected.checkpoint_mask != expected.onnx_mask:
        reason = "the ONNX file's mask is not the checkpoint's (additional zeros)"
    elif not np.isfinite(outputs).all():
        reason = "the engine returned NaN or infinity"
    elif not relative <= limit:
        reason = f"outputs differ from {by}'s by {relative:.1e} of their range (limit {limit})"
    elif agreement is not None and agreement < share:
        reason = f"decisions agree with {by}'s on {agreement:.1%} only (limit {share:.0%})"
    return Verdict(not reason, reason, difference, relative, agreement, len(outputs), by)


def _logits(
    backbone: Backbone | OnnxBackbone, artifact: Artifact, outputs: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Upstream logits ``[n, C]``: the outputs themselves, or the classifier on features.

    None where the network decides nothing: feature maps, raw predictions of boxes.
    """
    if artifact.output in detector.OUTPUTS:
        return None
    if artifact.output == "logits":
        return outputs
    return backbone.classify(outputs, artifact.input_shape[1])
