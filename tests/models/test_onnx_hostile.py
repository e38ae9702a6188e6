"""ONNX files that are wrong, or made to fill the memory: one clear refusal, at once."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from sparsebench.bench.why.inspection import inspect_target
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file import running
from sparsebench.models.onnx_file.structure import load_model
from sparsebench.models.sources.onnx_file import load_onnx
from tests.models.onnx_graphs import BODY, model_of, saved

node = helper.make_node
GEMM = node("Gemm", ["features", "w1", "b1"], ["logits"], "classifier")
WHOLE = [*BODY, GEMM]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))


def _changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    model = model_of(WHOLE)
    change(model)
    return model


def _calls(*pairs: tuple[str, list[str]]) -> onnx.ModelProto:
    """Functions of one input that call others in turn."""
    model = model_of([*BODY, node(pairs[0][0], ["features"], ["x"], domain="own"),
                      node("Gemm", ["x", "w1", "b1"], ["logits"])])  # fmt: skip
    for name, inner in pairs:
        names = [f"v{i}" for i in range(len(inner))]
        body = [node(op, [a], [b], domain="own" if op != "Relu" else "")
                for op, a, b in zip(inner, ["a", *names], names, strict=False)]  # fmt: skip
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        made = helper.make_function("own", name, ["a"], [names[-1]], body, imports)
        model.functions.append(made)
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def _claiming_function() -> onnx.ModelProto:
    model = _calls(("F", ["Relu"]))
    value = onnx.TensorProto(dims=[2**40], data_type=1, name="huge")
    model.functions[0].node.append(node("Constant", [], ["k"], value=value))
    return model


def _cycle() -> onnx.ModelProto:
    nodes: list[NodeProto] = [
        BODY[0],
        node("Add", ["c0", "back"], ["r0"], "loop"),
        node("Relu", ["r0"], ["back"]),
        *BODY[2:],
        GEMM,
    ]
    return model_of(nodes)


def _twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(node("Relu", ["c0"], ["features"]))


def _stored_twice(model: onnx.ModelProto) -> None:
    """The second one all zeros: a sparsity of 100 % for a network that runs with the first."""
    first = model.graph.initializer[0]
    zeros = np.zeros(list(first.dims), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(zeros, first.name))


def _kept_in(location: str, **more: str) -> Callable[[], onnx.ModelProto]:
    """The first weight in another file."""

    def change(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=value)

    return lambda: _changed(change)


def _looped() -> onnx.ModelProto:
    """Images pass through a loop without end."""
    value = helper.make_tensor_value_info
    images = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, [])]
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Identity", ["x"], ["y"])],
        "body",
        [*images, value("x", TensorProto.FLOAT, None)],
        [value("on", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, None)],
    )
    stored = {"most": np.array(2**62), "true": np.array(True)}
    first = node("Conv", ["looped", "w0", "b0"], ["c0"], pads=[1, 1, 1, 1])
    loop = node("Loop", ["most", "true", "images"], ["looped"], body=body)
    return model_of([loop, first, *BODY[1:], GEMM], stored=stored)


def _claims(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [10**6, 10**6]


def _negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -12


def _outside(model: onnx.ModelProto) -> None:
    """A hundred tensors that are all of one part of another file."""
    for number in range(100):
        tensor = TensorProto(name=f"t{number}", data_type=1, dims=[10])
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "part.bin"), ("offset", "0"), ("length", "40")):
            tensor.external_data.add(key=key, value=value)
        model.graph.initializer.append(tensor)


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "a type that nobody knows": (
        lambda: _changed(lambda m: setattr(m.graph.initializer[0], "data_type", 33)),
        "nobody knows its type, 33",
    ),
    "a cycle": (_cycle, r"holds a cycle: (Add 'loop'|Relu)"),
    "a node that reads its own output": (
        lambda: _changed(lambda m: m.graph.node[1].input.__setitem__(0, "r0")),
        "holds a cycle: Relu 'r0'",
    ),
    "a missing input": (
        lambda: _changed(lambda m: m.graph.node[1].input.__setitem__(0, "none")),
        "Relu 'r0' reads 'none', which nothing in the file produces",
    ),
    "a missing output": (
        lambda: _changed(lambda m: m.graph.node.pop()),
        "nothing in the file produces its output 'logits'",
    ),
    "a node without outputs": (
        lambda: _changed(lambda m: m.graph.node[2].output.pop()),
        "node 2 .* has no output",
    ),
    "a node without inputs": (
        lambda: _changed(lambda m: m.graph.node[0].ClearField("input")),
        "my.onnx",
    ),
    "a tensor produced twice": (lambda: _changed(_twice), "'features' is produced more than once"),
    "a weight stored twice": (lambda: _changed(_stored_twice), "stores two tensors as 'w0'"),
    "no nodes": (lambda: _changed(lambda m: m.graph.ClearField("node")), "holds no network"),
    "a loop without end": (_looped, "operator Loop"),
    "weights in a file that is not there": (_kept_in("none.bin"), "cannot be read as ONNX"),
    "weights above its folder": (_kept_in("../../../etc/passwd"), "cannot be read as ONNX"),
    "weights of an absolute path": (_kept_in("/etc/passwd"), "cannot be read as ONNX"),
    "weights in a folder": (_kept_in("."), "cannot be read as ONNX"),
    "weights in a pipe": (_kept_in("pipe"), "cannot be read as ONNX"),
    "weights behind a link": (_kept_in("link"), "cannot be read as ONNX"),
    "weights in a file that is too short": (_kept_in("part.bin"), "'w0' cannot be read"),
    "weights beyond the end": (_kept_in("part.bin", offset=str(2**62)), "my.onnx"),
    "weights in front of the beginning": (_kept_in("part.bin", offset="-8"), "cannot be read"),
    "an offset that is no number": (_kept_in("part.bin", offset="x"), "cannot be read as ONNX"),
    "an input of 2^40 rows": (
        lambda: _changed(
            lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 2**40)
        ),
        "Only square images",
    ),
    "a weight that claims more than the file": (lambda: _changed(_claims), "the file holds less"),
    "a negative shape": (lambda: _changed(_negative), "my.onnx"),
    "one part of a file many times": (lambda: _changed(_outside), "cannot be read as ONNX"),
    "a function that calls itself": (lambda: _calls(("F", ["F"])), "calls itself"),
    "functions that call each other": (lambda: _calls(("F", ["G"]), ("G", ["F"])), "calls itself"),
    "functions that unfold to a billion nodes": (
        lambda: _calls(*[(f"F{i}", [f"F{i + 1}"] * 10) for i in range(9)], ("F9", ["Relu"] * 10)),
        r"unfolds to 1e\+10 nodes",
    ),
    "a convolution of two axes": (
        lambda: _changed(lambda m: m.graph.initializer[0].dims.__setitem__(slice(None), [12, 27])),
        "my.onnx",
    ),
    "an unknown type": (
        lambda: _changed(lambda m: setattr(m.graph.initializer[0], "data_type", 99)),
        "my.onnx",
    ),
    "an input without a type": (
        lambda: _changed(lambda m: m.graph.input[0].ClearField("type")),
        "my.onnx",
    ),
    "complex weights": (
        lambda: model_of(WHOLE, stored={"w0": np.ones((12, 3, 3, 3), np.complex64)}),
        "holds complex64",
    ),
    "nothing but zeros": (
        lambda: model_of(
            WHOLE,
            stored={"w0": np.zeros((12, 3, 3, 3), np.float32), "w1": np.zeros((12, 5), np.float32)},
        ),
        "weights that are all zero",
    ),
    "a claim inside a function": (lambda: _claiming_function(), "claims shape"),
    "no operator": (lambda: _changed(lambda m: m.graph.node[1].ClearField("op_type")), "my.onnx"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_graph_gets_one_refusal(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    (tmp_path / "part.bin").write_bytes(bytes(40))
    (tmp_path / "link").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    path = saved(make(), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match=message):
        inspect_target(str(path))
        export_backbone(load_onnx(str(path)))


def _padded() -> onnx.ModelProto:
    pads = np.array([0, 0, 10**5, 10**5, 0, 0, 10**5, 10**5], np.int64)
    nodes = [node("Pad", ["c0", "pads"], ["p"], "wide"), node("Relu", ["p"], ["r0"])]
    return model_of([BODY[0], *nodes, *BODY[2:], GEMM], stored={"pads": pads})


def _rows() -> onnx.ModelProto:
    """A million rows, made from a shape in the file and added to the features."""
    shape = np.array([1_000_000, 4096], np.int64)
    nodes = [
        node("ConstantOfShape", ["shape"], ["rows"], "rows"),
        node("ReduceSum", ["rows"], ["sum"], keepdims=0),
        node("Add", ["features", "sum"], ["f"]),
        node("Gemm", ["f", "w1", "b1"], ["logits"]),
    ]
    return model_of([*BODY, *nodes], stored={"shape": shape})


@pytest.mark.parametrize("make", [_padded, _rows])
def test_what_expands_is_refused_within_bounds(
    tmp_path: Path, make: Callable[[], onnx.ModelProto]
) -> None:
    path = str(saved(make(), tmp_path / "my.onnx"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert any("needs more than 4 GiB" in one for one in inspect_target(path).unknown)
    with pytest.raises(SparsebenchError, match=r"needs more than 4 GiB.*(wide|rows)"):
        export_backbone(load_onnx(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # 1 GiB


def test_a_run_that_takes_too_long_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = [node("Relu", [f"r{i}"], [f"r{i + 1}"]) for i in range(3000)]
    nodes = [*BODY[:2], *deep, node("GlobalAveragePool", ["r3000"], ["pooled"]), BODY[3], GEMM]
    path = saved(model_of(nodes, shape=("n", 3, "h", "w")), tmp_path / "deep.onnx")
    monkeypatch.setattr(running, "MOST_SECONDS", 0.05)
    with pytest.raises(SparsebenchError, match="has not run .* within 0 s"):
        export_backbone(load_onnx(str(path)), size=512)


def test_a_long_chain_and_shared_weights_are_bounded(tmp_path: Path) -> None:
    turns = [node("Transpose", [f"t{i}"], [f"t{i + 1}"], perm=[1, 0]) for i in range(2000)]
    nodes = [*turns, *BODY, node("Gemm", ["features", "t2000"], ["logits"])]
    stored = {"t0": np.ones((12, 5), np.float32)}
    path = saved(model_of(nodes, stored=stored), tmp_path / "chain.onnx")
    with pytest.raises(SparsebenchError, match="is computed by Transpose"):
        load_onnx(str(path))
    square = {"s": np.eye(12, dtype=np.float32)}
    many = [node("MatMul", [f"m{i}", "s"], [f"m{i + 1}"]) for i in range(300)]
    nodes = [*BODY, node("Identity", ["features"], ["m0"]), *many,
             node("Gemm", ["m300", "w1", "b1"], ["logits"])]  # fmt: skip
    path = saved(model_of(nodes, stored=square), tmp_path / "shared.onnx")
    with pytest.raises(SparsebenchError, match="read the stored weights more than 64 times"):
        load_onnx(str(path))
    deep = [node("Relu", [f"r{i}"], [f"r{i + 1}"]) for i in range(5_000)]
    nodes = [*BODY[:2], *deep, node("GlobalAveragePool", ["r5000"], ["pooled"]), BODY[3], GEMM]
    path = saved(model_of(nodes), tmp_path / "deep.onnx")
    assert load_onnx(str(path)).file.head is not None


def test_sparse_constants_are_refused(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "v")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    tensor = helper.make_sparse_tensor(values, places, [10**6, 10**6])
    nodes = [*WHOLE, node("Constant", [], ["big"], sparse_value=tensor)]
    path = saved(model_of(nodes), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match="sparse initializers"):
        load_onnx(str(path))


def _of_parts(count: int) -> bytes:
    """A model whose graph holds so many empty nodes: two bytes each, a hundred in memory."""
    graph = b"\x0a\x00" * count
    length, size = len(graph), b""
    while length > 127:
        size, length = size + bytes([length & 127 | 128]), length >> 7
    return b"\x3a" + size + bytes([length]) + graph


def test_more_parts_than_any_network_has_are_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "parts.onnx"
    path.write_bytes(_of_parts(2_100_000))
    monkeypatch.setattr(onnx, "load", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(SparsebenchError, match="more than 2,000,000 parts"):
        load_model(path)


def test_the_parts_of_a_large_file_are_counted_by_their_bytes_alone(tmp_path: Path) -> None:
    """Three megabytes of weights are one part; a file cut inside a part is said to be."""
    big = numpy_helper.from_array(np.zeros((800, 1000), np.float32), "big")
    model = model_of(WHOLE)
    model.graph.initializer.append(big)
    path = saved(model, tmp_path / "big.onnx")
    assert len(load_model(path).graph.initializer) == len(model.graph.initializer)
    path.write_bytes(path.read_bytes()[:-200_000])
    with pytest.raises(SparsebenchError, match="ends inside"):
        load_model(path)
