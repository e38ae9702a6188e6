"""Export of a backbone to ONNX, kept under the cache by content.

:mod:`sparsebench.exporters.onnx.exporters` says by which of torch's exporters, and why. The
verification gate (``sparsebench.exporters.onnx.verify``) checks whatever was used.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx
import torch
from torch import nn

from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.constants import fold_constants
from sparsebench.exporters.onnx.exporters import Written, export, key_of
from sparsebench.exporters.onnx.padding import fix_padding, pads_by_size
from sparsebench.exporters.onnx.plain_onnx import EXPORTER as AS_IT_IS
from sparsebench.exporters.onnx.plain_onnx import VERSION as CUT_VERSION
from sparsebench.exporters.onnx.plain_onnx import export_file, write_cut
from sparsebench.exporters.onnx.readers import ANY, Readers
from sparsebench.exporters.onnx.store import stored_artifact
from sparsebench.exporters.onnx.torch_module import BUILDER
from sparsebench.models.architectures import (
    build,
    classifier_name,
    feature_dim,
    feature_extractor,
    require_classifier,
)
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import Mask, mask_hash
from sparsebench.models.onnx_file.backbone import OnnxBackbone, load_onnx_backbone
from sparsebench.models.onnx_file.graph import open_onnx
from sparsebench.models.widths import load_with_widths
from sparsebench.models.zoo.load import Backbone


def export_backbone(
    backbone: Backbone | OnnxBackbone,
    *,
    size: int | None = None,
    output: str = "features",
    readers: Readers = ANY,
) -> Artifact:
    """The artifact of a backbone; exported once, then found by content.

    Args:
        backbone: loaded backbone (weights, mask, card), or an ONNX file to be run as it is.
        size: side of the square input, pixels; the card's by default.
        output: ``"features"`` (pooled penultimate ``[N, D]``) or ``"logits"``.
        readers: the engines that the file is for; what they need of it decides who writes it.

    Returns:
        An artifact whose ONNX file takes any batch size.

    Raises:
        SparsebenchError: the network does not work at this size, finds boxes, or the disk is full.
    """
    if output not in ("features", "logits"):
        raise SparsebenchError(f"There is no output '{output}'.", "Take features or logits.")
    if isinstance(backbone, OnnxBackbone):
        return export_file(backbone, size=size, output=output)
    require_classifier(backbone.card.arch)
    side = size or backbone.card.preprocessing.size
    classifier = backbone.module.get_submodule(classifier_name(backbone.card.arch))
    num_classes = int(classifier.out_features)  # type: ignore[arg-type]
    key = [backbone.sha256, backbone.card.arch, str(num_classes), str(side), output]
    key += [key_of(readers), torch.__version__]
    if pads_by_size(backbone.module):
        key.append("fixed padding 2")
    if backbone.onnx is not None:
        key += [hashlib.sha256(backbone.onnx.read_bytes()).hexdigest(), CUT_VERSION]
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:24]
    kept = covered(backbone.mask, backbone.card.arch, output)
    facts = {
        "backbone": backbone.card.name,
        "arch": backbone.card.arch,
        "num_classes": num_classes,
        "weights_sha256": backbone.sha256,
        "mask_sha256": mask_hash(kept),
        "exporter": AS_IT_IS,
        "opset": None,
        "torch": torch.__version__,
    }

    def make(folder: Path) -> Artifact:
        onnx_path = folder / "model.onnx"
        # A fresh copy of the network: exporting must not leave traces in the caller's.
        module = build(backbone.card.arch, num_classes)
        load_with_widths(module, backbone.module.state_dict())
        module.eval()
        if output == "features":
            module = feature_extractor(module, backbone.card.arch)
        if backbone.onnx is not None:
            own = load_onnx_backbone(backbone.card, open_onnx(backbone.onnx))
            facts["batch_size"] = write_cut(own, onnx_path, side, output)
        else:
            facts.update(write_onnx(module, onnx_path, side, readers).to_facts())
        _write_weights(backbone.module, folder / "weights.safetensors")
        return Artifact(
            folder=str(folder),
            onnx=str(onnx_path),
            input_shape=(3, side, side),
            output_dim=feature_dim(backbone.card.arch) if output == "features" else num_classes,
            output=output,
            weights=str(folder / "weights.safetensors"),
            torch_builder=BUILDER,
            facts=facts,
        )

    return stored_artifact(digest, backbone.card.name, make)


def covered(mask: Mask, arch: str, output: str) -> Mask:
    """The part of a backbone's mask that an artifact with this output contains."""
    if output == "logits":
        return mask
    skipped = f"{classifier_name(arch)}.weight"
    return {name: kept for name, kept in mask.items() if name != skipped}


def write_onnx(module: nn.Module, path: Path, size: int, readers: Readers = ANY) -> Written:
    """Write ``module`` as ONNX with a dynamic batch axis and batch norm folded.

    Args:
        module: maps float32 ``[N, 3, size, size]`` to ``[N, D]``; put into eval mode, and its
            padding is fixed for this size.
        path: file to write.
        size: side of the square input, pixels.
        readers: the engines that it is for.

    Returns:
        What has written it.

    Raises:
        SparsebenchError: the network does not accept this size, or cannot be exported.
    """
    module.eval()
    example = torch.zeros(2, 3, size, size)
    try:
        with torch.inference_mode():
            module(example)
    except RuntimeError as error:
        raise SparsebenchError(
            f"The network does not accept images of {size} px: {error}",
            "Take a larger size.",
        ) from error
    by_size = pads_by_size(module)
    if by_size:
        fix_padding(module, example)
    written = export(module, example, path, readers)
    if by_size:
        model = onnx.load(str(path))
        fold_constants(model)
        onnx.save(model, str(path))
    return written


def _write_weights(module: nn.Module, path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, path)
