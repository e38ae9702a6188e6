"""Small networks for images as ONNX graphs, built node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

SIDE, CHANNELS, WIDTH, CLASSES = 16, 3, 12, 5
Stored = dict[str, NDArray[Any]]
BODY: tuple[NodeProto, ...] = (
    helper.make_node("Conv", ["images", "w0", "b0"], ["c0"], "first", pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["c0"], ["r0"]),
    helper.make_node("GlobalAveragePool", ["r0"], ["pooled"]),
    helper.make_node("Flatten", ["pooled"], ["features"]),
)
"""images -> planes ``r0`` of 12 channels -> ``pooled`` -> ``features`` [N, 12]."""


def weights() -> Stored:
    """Weights of the body and of a classifier of either kind, 60 % zeros in the convolution."""
    rng = np.random.default_rng(0)
    w0 = rng.standard_normal((WIDTH, CHANNELS, 3, 3)).astype(np.float32)
    w0[rng.random(w0.shape) < 0.6] = 0
    return {
        "w0": w0,
        "b0": rng.standard_normal(WIDTH).astype(np.float32),
        "w1": rng.standard_normal((WIDTH, CLASSES)).astype(np.float32),
        "b1": rng.standard_normal(CLASSES).astype(np.float32),
        "k1": rng.standard_normal((CLASSES, WIDTH, 1, 1)).astype(np.float32),
    }


def model_of(
    nodes: Sequence[NodeProto],
    outputs: Sequence[str | tuple[str, int]] = ("logits",),
    stored: Mapping[str, NDArray[Any]] | None = None,
    shape: Sequence[int | str] = ("n", CHANNELS, SIDE, SIDE),
    *,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model of some nodes, with every stored tensor that a node reads."""
    read = {name for node in nodes for name in node.input}
    given = {**weights(), **(stored or {})}
    tensors = [numpy_helper.from_array(v, n) for n, v in given.items() if n in read]
    pairs = [(one, TensorProto.FLOAT) if isinstance(one, str) else one for one in outputs]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("images", kind, list(shape))],
        [helper.make_tensor_value_info(name, k, None) for name, k in pairs],
        tensors,
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 8
    return model


def saved(model: onnx.ModelProto, path: Path) -> Path:
    """The model in a file."""
    path.write_bytes(model.SerializeToString())
    return path


def noise(count: int, side: int = SIDE) -> NDArray[np.float32]:
    """Images of noise."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((count, CHANNELS, side, side)).astype(np.float32)


def body(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the body makes of images, by torch: features ``[n, 12]``."""
    import torch

    given = weights()
    planes = torch.nn.functional.conv2d(
        torch.from_numpy(images), torch.from_numpy(given["w0"]), torch.from_numpy(given["b0"]),
        padding=1,
    )  # fmt: skip
    features: NDArray[np.float32] = planes.relu().mean((2, 3)).numpy()
    return features
