"""Good files with a few things in them changed that a format lets one change.

Bytes that are changed at random rarely leave a file that can be parsed; these files can be, and
what they say is wrong: a name, a shape, a type, an attribute, an entry.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from typing import Any

NUMBERS = (0, 1, -1, 2, 3, 7, 64, 255, 65_536, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63))
NAMES = ("", "images", "c0", "r0", "pooled", "features", "logits", "w0", "b0", "w1", "none", "é\n")
OPERATORS = (
    "Add", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Conv", "ConvInteger", "DequantizeLinear", "Dropout", "Einsum",
    "DynamicQuantizeLinear",
    "Expand", "Flatten", "Gather", "Gemm", "GlobalAveragePool", "Identity", "If", "Loop",
    "LSTM", "MatMul", "MatMulInteger", "Mul", "NonZero", "Pad", "QLinearConv", "QLinearMatMul",
    "QuantizeLinear", "RandomNormalLike", "Range", "ReduceMean", "Relu", "Reshape", "Resize",
    "Shape", "Slice", "Softmax", "Split", "Squeeze", "Sub", "Tile", "TopK", "Transpose", "Unknown",
    "Unsqueeze", "Where", "",
)  # fmt: skip


def graph(rng: random.Random) -> bytes:
    """An ONNX file."""
    from onnx import helper

    from tests.models.onnx_graphs import BODY, model_of

    last = rng.choice(
        [
            [helper.make_node("Gemm", ["features", "w1", "b1"], ["logits"], "classifier")],
            [
                helper.make_node("MatMul", ["features", "w1"], ["m"]),
                helper.make_node("Softmax", ["m"], ["logits"]),
            ],
        ]
    )
    model = model_of([*BODY, *last], opset=rng.choice([11, 13, 17]))
    for _ in range(rng.randint(1, 4)):
        rng.choice(EDITS)(rng, model)
    return bytes(model.SerializeToString())


def _node(rng: random.Random, model: Any) -> None:
    if not model.graph.node:
        return
    place = rng.randrange(len(model.graph.node))
    node = model.graph.node[place]
    what = rng.randrange(8)
    if what == 0:
        del model.graph.node[place]
    elif what == 1:
        model.graph.node.append(node)
    elif what == 2:
        node.op_type = rng.choice(OPERATORS)
    elif what == 3 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(NAMES)
    elif what == 4 and node.input:
        del node.input[rng.randrange(len(node.input)) :]
    elif what == 5 and node.output:
        node.output[rng.randrange(len(node.output))] = rng.choice(NAMES)
    elif what == 6:
        node.input.extend(rng.choices(NAMES, k=rng.randint(1, 12)))
    else:
        node.domain = rng.choice(["ai.onnx", "com.microsoft", "my.own"])


def _attribute(rng: random.Random, model: Any) -> None:
    from onnx import helper

    if not model.graph.node:
        return
    node = rng.choice(list(model.graph.node))
    name = rng.choice(["pads", "strides", "group", "kernel_shape", "axis", "alpha", "transB", "to",
                       "training_mode", "value", "axes", "auto_pad", "then_branch"])  # fmt: skip
    value = rng.choice(
        [rng.choice(NUMBERS), 0.5, float("nan"), float("inf"), "SAME_UPPER", b"\xff",
         [rng.choice(NUMBERS) for _ in range(rng.randint(1, 5))], [0.5, 1.5], ["a"]]
    )  # fmt: skip
    if rng.random() < 0.2:
        value = helper.make_graph(list(model.graph.node)[:2], "inner", [], [])
    del node.attribute[:]
    node.attribute.append(helper.make_attribute(name, value))


def _tensor(rng: random.Random, model: Any) -> None:
    if not model.graph.initializer:
        return
    place = rng.randrange(len(model.graph.initializer))
    tensor = model.graph.initializer[place]
    what = rng.randrange(8)
    if what == 0:
        del model.graph.initializer[place]
    elif what == 1:
        model.graph.initializer.append(tensor)
    elif what == 2:
        tensor.data_type = rng.randrange(30)
    elif what == 3:
        tensor.raw_data = tensor.raw_data[: rng.randint(0, len(tensor.raw_data))]
    elif what == 4 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif what == 5:
        tensor.dims.extend(rng.choices(NUMBERS, k=rng.randint(1, 70)))
    elif what == 6:
        tensor.data_location = 1
        for key, value in (("location", rng.choice(["/etc/passwd", "../w", "/dev/zero", ".", ""])),
                           ("offset", str(rng.choice(NUMBERS))),
                           ("length", str(rng.choice(NUMBERS)))):  # fmt: skip
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
    else:
        tensor.name = rng.choice(NAMES)


def _ends(rng: random.Random, model: Any) -> None:
    ends = rng.choice([model.graph.input, model.graph.output])
    what = rng.randrange(6)
    if what == 0 and ends:
        del ends[rng.randrange(len(ends))]
    elif what == 1 and ends:
        ends.append(ends[0])
    elif ends:
        end = rng.choice(list(ends))
        if what == 2:
            end.name = rng.choice(NAMES)
        elif what == 3:
            end.type.tensor_type.elem_type = rng.randrange(25)
        elif what == 4:
            end.type.sequence_type.elem_type.tensor_type.elem_type = 1
        else:
            dims = end.type.tensor_type.shape.dim
            if dims and rng.random() < 0.7:
                dims[rng.randrange(len(dims))].dim_value = rng.choice(NUMBERS)
            else:
                dims.add().dim_value = rng.choice(NUMBERS)


def _model(rng: random.Random, model: Any) -> None:
    what = rng.randrange(5)
    if what == 0 and model.opset_import:
        model.opset_import[0].version = rng.choice(NUMBERS)
    elif what == 1:
        model.ir_version = rng.choice(NUMBERS)
    elif what == 2:
        del model.opset_import[:]
    elif what == 3:
        entry = model.metadata_props.add()
        entry.key, entry.value = rng.choice(NAMES), rng.choice(NAMES)
    elif model.graph.node:
        function = model.functions.add()
        function.name, function.domain = rng.choice(OPERATORS), ""
        function.node.extend(list(model.graph.node)[:2])
        function.input.extend(["images"])
        function.output.extend([rng.choice(NAMES)])


EDITS: tuple[Callable[[random.Random, Any], None], ...] = (
    _node, _node, _attribute, _tensor, _tensor, _ends, _model,
)  # fmt: skip


def weights(rng: random.Random) -> bytes:
    """A checkpoint of a network of four layers in one of many wrappings, as `torch.save` writes."""
    import torch

    state: dict[Any, Any] = {
        "conv1.weight": torch.randn(4, 3, 3, 3),
        "bn1.weight": torch.ones(4),
        "bn1.bias": torch.zeros(4),
        "bn1.running_mean": torch.zeros(4),
        "bn1.running_var": torch.ones(4),
        "bn1.num_batches_tracked": torch.tensor(3),
        "layer1.0.conv1.weight": torch.randn(4, 4, 3, 3),
        "fc.weight": torch.randn(5, 4),
        "fc.bias": torch.zeros(5),
    }
    odd: tuple[Callable[[], Any], ...] = (
        lambda: torch.tensor(float("nan")), lambda: torch.zeros(0), lambda: torch.zeros(1, 1, 1, 1),
        lambda: torch.randn(3, 3).to_sparse(), lambda: torch.zeros(2, dtype=torch.complex64),
        lambda: torch.zeros(4, dtype=torch.bool), lambda: torch.zeros(4, dtype=torch.float16),
        lambda: torch.zeros(4, dtype=torch.bfloat16), lambda: torch.ones(1).expand(2**20),
        lambda: torch.zeros(4, device="meta"), lambda: torch.zeros(4).requires_grad_(),
        lambda: None, lambda: 3, lambda: "x", lambda: [1, 2], lambda: {}, lambda: {"a": {"b": {}}},
        lambda: float("inf"), lambda: torch.nn.Parameter(torch.ones(2)), lambda: b"\x00",
        lambda: [torch.zeros(2)], lambda: (torch.zeros(1), None), lambda: 10**400,
    )  # fmt: skip
    keys = (
        "", "weight", "fc.weight", "conv1.weight_orig", "conv1.weight_mask", "conv1.weight_g", 3,
        None, ("a", 1), "module.fc.weight", "model_ema", "mask", "mask_dict", "thresholds", "epoch",
        "arch", "num_classes", "optimizer", "state_dict", "model", "classifier.1.weight",
        "a" * 5000, "é\n", "conv1.parametrizations.weight.original", "sparseml.recipe", "metadata",
    )  # fmt: skip
    for _ in range(rng.randint(0, 4)):
        what = rng.randrange(4)
        if what == 0 and state:
            del state[rng.choice(list(state))]
        elif what == 1 and state:
            state[rng.choice(list(state))] = rng.choice(odd)()
        elif what == 2:
            state[rng.choice(keys)] = rng.choice(odd)()
        else:
            prefix = rng.choice(["module.", "_orig_mod.", "model.", "backbone.", "0.", "a.b.c."])
            state = {f"{prefix}{key}": value for key, value in state.items()}
    payload: Any = state
    for _ in range(rng.randint(0, 2)):
        payload = rng.choice(
            (
                {"state_dict": payload, "epoch": 3},
                {"model": payload, "optimizer": {"state": {0: {"step": 3}}, "param_groups": []}},
                {"state_dict": payload, rng.choice(keys): rng.choice(odd)()},
                {"state_dict_ema": payload, "state_dict": state},
                {"net": payload, "mask": dict(state)},
                [payload], (payload, 3), {"a": payload, "b": payload}, {3: payload},
            )
        )  # fmt: skip
    file = io.BytesIO()
    torch.save(payload, file, _use_new_zipfile_serialization=rng.random() < 0.8)
    return file.getvalue()


def safetensors(rng: random.Random) -> bytes:
    """A safetensors file whose header says something else than its body holds."""
    names = ("fc.weight", "conv1.weight", "__metadata__", "", "é\n", "a" * 300)
    header: dict[str, Any] = {}
    for name in rng.sample(names, rng.randint(0, 5)):
        header[name] = {
            "dtype": rng.choice(["F32", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "X", "", 3, None]),
            "shape": rng.choice([[2, 3], [], [0], [2**62, 4], [-1], ["2"], None, 6, [1] * 80]),
            "data_offsets": rng.choice(
                [[0, 24], [8, 32], [24, 0], [0, 2**63], [-8, 24], [0], None]
            ),
        }
        if rng.random() < 0.2:
            header[name] = rng.choice([{"arch": "resnet18"}, {"format": 3}, [], None, "x"])
    text = json.dumps(header).encode()
    if rng.random() < 0.2:
        text = rng.choice([b"[" * 100_000, b"{}" * 9, b"null", b"", b"\xff{}", text[:-1], b'{"a":'])
    length = rng.choice([len(text), len(text), len(text), 0, 2**63, len(text) + 8, 2**24])
    return length.to_bytes(8, "little") + text + rng.randbytes(rng.choice([0, 24, 64]))


KINDS: dict[str, tuple[str, Callable[[random.Random], bytes]]] = {
    "graph": (".onnx", graph),
    "weights": (".pth", weights),
    "safetensors": (".safetensors", safetensors),
}
