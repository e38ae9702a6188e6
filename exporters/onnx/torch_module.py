"""An artifact's PyTorch module, rebuilt inside a worker from its weights file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsebench.exporters.onnx.artifact import Artifact

if TYPE_CHECKING:
    from torch import nn

BUILDER = "sparsebench.exporters.onnx.torch_module:build_module"


def build_module(artifact: Artifact) -> nn.Module:
    """The module in eval mode: images ``[N, 3, H, W]`` to features or logits ``[N, D]``.

    Raises:
        ValueError: the artifact has no weights file.
    """
    from safetensors.torch import load_file

    from sparsebench.models.architectures import build, feature_extractor
    from sparsebench.models.widths import load_with_widths

    if artifact.weights is None:
        raise ValueError(f"{artifact.folder} has no PyTorch weights")
    arch = str(artifact.facts["arch"])
    module = build(arch, int(artifact.facts["num_classes"]))
    load_with_widths(module, load_file(artifact.weights))
    module.eval()
    return feature_extractor(module, arch) if artifact.output == "features" else module
