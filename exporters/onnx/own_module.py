"""A network of the caller's own process as an ONNX file, kept by what is written in it."""

from __future__ import annotations

import copy
import hashlib
import os
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.nn.utils import prune

from sparsebench.exporters.onnx.export import write_onnx
from sparsebench.exporters.onnx.readers import ANY, Readers
from sparsebench.models.architectures import prunable_layers
from sparsebench.models.cache import cache_dir
from sparsebench.models.errors import SparsebenchError


def export_module(network: nn.Module, size: int, readers: Readers = ANY) -> Path:
    """Write a network as ONNX; the network itself is left as it is.

    Masks of ``torch.nn.utils.prune`` are applied. The file is called after the network's class.

    Args:
        network: float32 ``[N, 3, size, size]`` -> logits ``[N, C]``, in any mode.
        size: of the images, pixels.
        readers: the engines that the file is for.

    Raises:
        SparsebenchError: it has no layers, or cannot be run or exported at this size.
    """
    if not prunable_layers(network):
        raise SparsebenchError(
            f"{type(network).__name__} has no convolution and no linear layer.",
            "Give the whole classifier as an nn.Module.",
        )
    own = _copied(network, size)
    scratch = cache_dir("modules") / f"{os.getpid()}.part"
    try:
        write_onnx(own, scratch, size, readers)
        # Not by the weights: the same ones under another activation are another network.
        path = cache_dir("modules", _content(scratch)) / f"{type(network).__name__}.onnx"
        scratch.replace(path)
    except OSError as error:
        raise SparsebenchError(
            f"{type(network).__name__} could not be written ({error.strerror}).",
            "Free some disk space or set SPARSEBENCH_CACHE to another folder.",
        ) from error
    finally:
        scratch.unlink(missing_ok=True)
    return path


def _content(path: Path) -> str:
    """A hash of a file's graph and weights, without where in the source each node is from."""
    model = onnx.load(str(path))
    for node in model.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()[:16]


def _copied(network: nn.Module, size: int) -> nn.Module:
    """A copy in eval mode on the CPU, masks applied for good."""
    modes = {module: module.training for module in network.modules()}
    where = next(network.parameters()).device
    try:
        network.eval()
        with torch.no_grad():  # the masked weights are then plain tensors, which can be copied
            network(torch.zeros(1, 3, size, size, device=where))
        own = copy.deepcopy(network).cpu()
    except RuntimeError as error:
        raise SparsebenchError(
            f"{type(network).__name__} does not accept images of {size} px: {error}",
            "Take another size=.",
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    for layer in own.modules():
        masks = [name.removesuffix("_mask") for name, _ in layer.named_buffers(recurse=False)]
        for name in masks:
            if hasattr(layer, f"{name}_mask") and hasattr(layer, f"{name}_orig"):
                prune.remove(layer, name)  # type: ignore[no-untyped-call]
    return own
