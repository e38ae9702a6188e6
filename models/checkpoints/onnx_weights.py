"""ONNX files, SparseZoo's for instance, as weights of one of the suite's architectures.

Convolutions and matrix products are paired with the architecture's layers in order; a
batch norm that the exporter folded away comes back as one that only adds the bias. That
the file computes the same network (and not one with another stride or activation) is
checked by running both on an image of noise.

The weights serve what needs PyTorch: masks, costs, the reference outputs of the gate. ONNX
engines get the file itself (``exporters/onnx/plain_onnx.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsebench.models.architectures import build, classifiers, prunable_layers
from sparsebench.models.architectures.shapes import build_shapes
from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile, damaged
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.graph import OnnxFile, open_onnx
from sparsebench.models.onnx_file.running import run_session, session_of

SUFFIX = ".onnx"
_QUANTIZED = {"QLinearConv", "ConvInteger", "QuantizeLinear", "MatMulInteger", "QLinearMatMul"}
# Two float32 runtimes of the same network differ by about 1e-5 of the outputs' range.
_TOLERANCE = 1e-3
_DEFAULT_SIZE = 224

Weighted = tuple[NDArray[np.float32], NDArray[np.float32] | None, dict[str, Any] | None]
"""Weight in PyTorch's layout, bias, and the batch norm behind it."""


def read_onnx(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The architecture that a file holds, and its state dict.

    Raises:
        SparsebenchError: the file is damaged, quantized, or no architecture of the suite.
    """
    file = open_onnx(path)
    model = file.model
    operators = {node.op_type for node in model.graph.node}
    if operators & _QUANTIZED:
        raise SparsebenchError(
            f"'{path}' holds a quantized network ({min(operators & _QUANTIZED)}).",
            "Take the file of the pruned, unquantized network.",
        )
    layers = _weighted(path, model)
    candidates = [arch for arch in classifiers() if _fits(arch, layers)]
    if not candidates:
        raise SparsebenchError(
            f"'{path}' holds {len(layers)} layers that are those of no known architecture.",
            f"Known: {', '.join(classifiers())}.",
        )
    for arch in candidates:
        module = _filled(arch, layers)
        if _computes_the_same(file, module):
            return arch, module.state_dict()
    raise SparsebenchError(
        f"'{path}' has the layers of {' or '.join(candidates)}, but computes something else.",
        f"Strides, activations or padding differ; as {path.name} alone it is run as it is.",
    )


def _weighted(path: Path, model: Any) -> list[Weighted]:
    """Weights, biases and batch norms of Conv, Gemm and MatMul nodes, in order."""
    from onnx import numpy_helper

    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
        elif node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t

    def array(name: str) -> NDArray[np.float32]:
        try:
            found = numpy_helper.to_array(constants[name])
            if found.dtype.kind == "c":
                raise TypeError
            return np.array(found, np.float32)
        except (KeyError, ValueError, TypeError):
            raise damaged(path, f"the weight '{name}' is missing or unreadable") from None

    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found: list[Weighted] = []
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        if node.input[1] not in constants:
            continue
        weight = array(node.input[1])
        turned = any(a.name == "transB" and a.i == 1 for a in node.attribute)
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not turned):
            weight = weight.T
        bias = array(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        norm = None
        for reader in readers.get(node.output[0], []):
            if reader.op_type == "BatchNormalization":
                epsilon = next((a.f for a in reader.attribute if a.name == "epsilon"), 1e-5)
                norm = {"epsilon": epsilon, "parts": [array(n) for n in reader.input[1:5]]}
            elif reader.op_type == "Add" and bias is None and node.op_type == "MatMul":
                other = next((n for n in reader.input if n in constants), None)
                bias = array(other) if other else None
        found.append((weight, bias, norm))
    return found


def _fits(arch: str, layers: list[Weighted]) -> bool:
    if not layers or layers[-1][0].ndim != 2:
        return False
    own = prunable_layers(build_shapes(arch, layers[-1][0].shape[0]))
    shapes = [tuple(layer.weight.shape) for layer in own.values()]
    return shapes == [tuple(weight.shape) for weight, _, _ in layers]


def _filled(arch: str, layers: list[Weighted]) -> nn.Module:
    module = build(arch, layers[-1][0].shape[0]).eval()
    norms = _norms_behind(module)
    with torch.no_grad():
        own = prunable_layers(module).items()
        for (name, layer), (weight, bias, norm) in zip(own, layers, strict=True):
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight)))
            shift = torch.zeros(weight.shape[0]) if bias is None else torch.from_numpy(bias)
            if layer.bias is not None:
                layer.bias.copy_(shift)
                shift = torch.zeros_like(shift)
            behind = norms.get(name)
            if behind is not None:
                _fill_norm(behind, shift, norm)
    return module


def _fill_norm(own: nn.BatchNorm2d, shift: Tensor, given: dict[str, Any] | None) -> None:
    assert own.running_mean is not None and own.running_var is not None
    if given is None:
        own.weight.fill_(1)
        own.bias.copy_(shift)
        own.running_mean.zero_()
        own.running_var.fill_(1 - own.eps)
        return
    scale, bias, mean, variance = (torch.from_numpy(part) for part in given["parts"])
    own.weight.copy_(scale * torch.sqrt((variance + own.eps) / (variance + given["epsilon"])))
    own.bias.copy_(bias)
    own.running_mean.copy_(mean - shift)
    own.running_var.copy_(variance)


def _norms_behind(module: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Convolution's name -> the batch norm that comes next in the network's order."""
    found: dict[str, nn.BatchNorm2d] = {}
    last = ""
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            last = name
        elif isinstance(part, nn.BatchNorm2d) and last and last not in found:
            found[last] = part
    return found


def _computes_the_same(file: OnnxFile, module: nn.Module) -> bool:
    side = file.side or _DEFAULT_SIZE
    shape = (file.batch or 1, 3, side, side)
    noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    names = [output.name for output in file.model.graph.output]
    outputs = run_session(session_of(file.model, file.path), names, noise, file.path)
    with torch.no_grad():
        logits = module(torch.from_numpy(noise)).numpy()
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    for expected in (logits, shifted / shifted.sum(1, keepdims=True)):
        for output in outputs:
            if np.shape(output) == expected.shape:
                difference = float(np.abs(output - expected).max())
                if difference <= _TOLERANCE * max(float(np.abs(expected).max()), 1e-30):
                    return True
    return False


def _recognises(opened: OpenedFile) -> bool:
    return opened.kind == "other" and opened.path.suffix.lower() == SUFFIX


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    arch, state_dict = read_onnx(opened.path)
    return LoadedCheckpoint(state_dict, {"arch": arch}, ONNX.name)


ONNX = CheckpointFormat("onnx", "an ONNX file of a known architecture", _recognises, _load)
