"""Networks in INT8: against ONNX Runtime on the same file, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sparsebench.exporters.engines.base import CompileRequest, EngineError
from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.compiled.library import library
from sparsebench.exporters.kernels.compiled.steps import IMAGES
from sparsebench.exporters.kernels.generated import memory
from sparsebench.exporters.kernels.generated.memory import no_bytes
from sparsebench.exporters.kernels.inference.byte_network import GeneratedBytes
from sparsebench.exporters.kernels.inference.byte_reader import read_bytes
from sparsebench.exporters.kernels.inference.onnx_nodes import UnsupportedOnnxError
from sparsebench.exporters.kernels.inference.split import SplitNetwork
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.quantise import quantise, tensors_to_calibrate
from sparsebench.exporters.onnx.quantise_artifact import quantised_artifact
from sparsebench.exporters.onnx.quantise_ranges import Range, calibrate
from sparsebench.models.zoo.load import load_backbone

pytestmark = pytest.mark.skipif(
    find_compiler() is None or no_bytes() != "", reason="no compiler or AVX512_VNNI"
)


class Maker:
    """A float graph made node by node."""

    def __init__(self, rng: np.random.Generator, density: float) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self._rng, self._density = rng, density

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        out = f"{kind}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], name=out, **attributes))
        return out

    def array(self, values: np.ndarray) -> str:
        name = f"a{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(values, name))
        return name

    def conv(
        self, x: str, inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> str:
        shape = (outer, inner // groups, kernel, kernel)
        weight = self._rng.standard_normal(shape).astype(np.float32)
        weight *= self._rng.random(shape) < self._density
        bias = self._rng.standard_normal(outer).astype(np.float32)
        pad = [kernel // 2] * 4
        more = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pad, "group": groups}
        return self.node("Conv", x, self.array(weight), self.array(bias), **more)

    def relu6(self, x: str) -> str:
        bounds = (self.array(np.array(v, np.float32)) for v in (0, 6))
        return self.node("Clip", x, *bounds)

    def pool(self, x: str, kernel: int, stride: int) -> str:
        pads = [kernel // 2] * 4
        return self.node("MaxPool", x, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)

    def model(self, output: str, channels: int) -> onnx.ModelProto:
        """The mean of a value's planes."""
        mean = self.node("Flatten", self.node("GlobalAveragePool", output))
        kinds: Any = (("images", ["n", 3, "h", "w"]), (mean, ["n", channels]))
        inp, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in kinds)
        graph = helper.make_graph(self.nodes, "g", [inp], [out], self.stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def residual_network(make: Maker, channels: int) -> onnx.ModelProto:
    """A stem with a pool; blocks with residuals from bytes and from floats, one without ReLU."""
    relu: Callable[[str], str] = lambda x: make.node("Relu", x)  # noqa: E731
    x = make.pool(relu(make.conv("images", 3, channels, 3, 2)), 3, 2)
    y = relu(make.conv(x, channels, channels, 3))
    x = relu(make.node("Add", make.conv(y, channels, channels, 3), x))
    wide = 2 * channels + 1
    y = make.relu6(make.conv(x, channels, wide, 1))
    y = make.relu6(make.conv(y, wide, wide, 3, 2, groups=wide))
    side = make.conv(x, channels, wide, 1, 2)
    x = relu(make.node("Add", make.conv(y, wide, wide, 1), side))
    x = make.conv(x, wide, 8, 1)  # zero is another byte than 0 behind it
    y = make.relu6(make.conv(x, 8, 24, 1))
    y = make.relu6(make.conv(y, 24, 24, 3, groups=24))
    x = make.node("Add", make.conv(y, 24, 8, 1), x)
    return make.model(relu(make.conv(x, 8, 10, 3)), 10)


def in_int8(model: onnx.ModelProto, images: np.ndarray, form: str = "integer") -> onnx.ModelProto:
    return quantise(model, calibrate(model, tensors_to_calibrate(model), images), form)


def by_onnx_runtime(model: bytes | str, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {session.get_inputs()[0].name: images})[0]
    return found


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_features_are_those_of_onnx_runtime_on_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    size = data.draw(st.sampled_from([(8, 8), (32, 32), (64, 32), (20, 40), (9, 23), (56, 56)]))
    batch = data.draw(st.sampled_from([1, 3, 16, 17, 32, 33]))
    threads = data.draw(st.sampled_from([1, 2]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    density = data.draw(st.sampled_from([0.1, 0.5, 1.0]))
    model = residual_network(Maker(rng, density), data.draw(st.sampled_from([4, 6, 30])))
    images = rng.standard_normal((batch, 3, *size)).astype(np.float32) + np.float32(0.3)
    made = in_int8(model, images)
    path = tmp_path_factory.mktemp("m") / "m.onnx"
    onnx.save(made, path)
    network = read_bytes(str(path), (3, *size))
    compiled = SplitNetwork(network, batch, (3, *size), library("float32", "avx512"), threads)
    assert set(compiled.paths) == {"generated"}
    expected = by_onnx_runtime(made.SerializeToString(), images)
    for _ in range(2):  # nothing of the first call may be left over
        found = compiled.run(images)
        # A byte is rounded the other way here and there, and later layers add some of these.
        assert np.abs(found - expected).max() <= 0.02 * max(np.abs(expected).max(), 1e-3)
    assert np.median(np.abs(found - expected)) <= 0.004 * np.abs(expected).max()


def test_each_thread_takes_a_part_of_a_batch_that_fills_its_registers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = residual_network(Maker(rng, 0.5), 4)
    images = rng.standard_normal((64, 3, 8, 8)).astype(np.float32)
    onnx.save(in_int8(model, images), tmp_path / "m.onnx")
    network = read_bytes(str(tmp_path / "m.onnx"), (3, 8, 8))
    features, work = [], []
    for threads, parts in ((1, [64]), (2, [32, 32]), (3, [64]), (4, [16] * 4)):
        made = SplitNetwork(network, 64, (3, 8, 8), library("float32", "avx512"), threads)
        assert [count for count, _ in made.parts] == parts
        features.append(made.run(images))
        work.append(made.multiply_adds)
        told: set[str] = set()
        again = made.run(images, lambda name, *_: told.add(name))  # noqa: B023
        assert np.array_equal(again, features[-1]) and told >= set(made.layers)
    for found in features:
        assert np.array_equal(found, features[0])
    assert work.count(work[0]) == len(work)


@pytest.mark.parametrize(
    ("backbone", "size", "batch", "threads"),
    [
        ("resnet18/gmp_uniform_block4-90", 64, 64, 2),
        ("resnet18/gmp_uniform_block4-90", 64, 17, 1),
        ("resnet18/gmp_uniform_block4-90", 64, 1, 1),
        ("resnet18/gmp_uniform-90", 32, 3, 2),
        ("resnet18/dense", 96, 2, 1),
        ("resnet50/uniform-90@generated", 64, 16, 2),
        ("efficientnet_lite0/gmp-70", 96, 3, 1),
    ],
)
def test_whole_networks_decide_as_onnx_runtime_does(
    backbone: str, size: int, batch: int, threads: int
) -> None:
    loaded = load_backbone(backbone)
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype(np.float32)
    exported = export_backbone(loaded, size=size)
    artifact = quantised_artifact(exported, "integer", f"{size}", lambda: images[:16])
    expected = by_onnx_runtime(artifact.onnx, images)
    session = NativeEngine().compile(artifact, CompileRequest(batch, threads, "int8"))
    found = session.run(images)
    assert np.abs(found - expected).max() <= 0.03 * np.abs(expected).max()
    if loaded.card.arch != "resnet50":  # generated weights decide nothing
        logits = [loaded.classify(x, size) for x in (found, expected)]
        assert logits[0] is not None and logits[1] is not None
        assert (logits[0].argmax(1) == logits[1].argmax(1)).all()
    described = session.describe()
    assert set(described["layers"].values()) == {"generated"} and described["why"] == ""
    assert 0 < described["fours_share"] <= 1


def compiled_error(path: Path, size: int = 16, precision: str = "int8", **options: object) -> str:
    artifact = Artifact(str(path.parent), str(path), (3, size, size), 8, "features")
    request = CompileRequest(1, 1, precision, options=dict(options))
    with pytest.raises(EngineError) as caught:
        NativeEngine().compile(artifact, request)
    return str(caught.value)


def test_other_forms_and_operators_are_refused_by_name(tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    make = Maker(np.random.default_rng(1), 1.0)
    model = make.model(make.node("Relu", make.conv("images", 3, 8, 3)), 8)
    path = tmp_path / "m.onnx"
    onnx.save(in_int8(model, images, "qdq"), path)
    assert "INT8: Conv 'Conv0': only as ConvInteger of quantized values" in compiled_error(path)
    onnx.save(model, path)
    assert "INT8: Conv 'Conv0': only as ConvInteger of quantized values" in compiled_error(
        path
    )  # nothing is quantized

    make = Maker(np.random.default_rng(1), 1.0)
    x = make.node("Sigmoid", make.conv("images", 3, 8, 3))
    onnx.save(in_int8(make.model(make.conv(x, 8, 8, 1), 8), images), path)
    assert "Sigmoid 'Sigmoid1': the kernels do not know" in compiled_error(path)

    make = Maker(np.random.default_rng(1), 1.0)
    x = make.conv("images", 3, 8, 3)
    both = make.node("Add", make.node("Relu", x), make.conv(x, 8, 8, 1))
    onnx.save(in_int8(make.model(make.conv(both, 8, 8, 1), 8), images), path)
    assert "Relu 'Relu1': in INT8 only behind a convolution" in compiled_error(path)

    make = Maker(np.random.default_rng(1), 1.0)
    x = make.pool(make.node("Relu", make.conv("images", 3, 8, 3)), 3, 2)
    onnx.save(in_int8(make.model(x, 8), images), path)
    assert "MaxPool 'MaxPool2': its output must be quantized" in compiled_error(path)


def test_a_processor_without_vnni_has_no_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Maker(np.random.default_rng(1), 1.0)
    model = make.model(make.conv("images", 3, 8, 3), 8)
    images = np.random.default_rng(0).standard_normal((2, 3, 16, 16)).astype(np.float32)
    onnx.save(in_int8(model, images), tmp_path / "m.onnx")
    both = ("fp32", "bf16", "int8")
    assert tuple(NativeEngine.precisions) == NativeEngine().precisions == both
    told = compiled_error(tmp_path / "m.onnx", isa="avx2")
    assert "INT8 code is generated for AVX-512 with VNNI, which avx2 does not have" in told
    assert "It was not asked for" in compiled_error(tmp_path / "m.onnx", generate=False)
    monkeypatch.setattr(memory, "cpu_flags", lambda: {"avx512f"})
    assert tuple(NativeEngine.precisions) == ("fp32", "bf16")
    assert "which this processor does not have" in compiled_error(tmp_path / "m.onnx")


def test_borders_hold_the_byte_that_means_zero_around_every_block() -> None:
    """Whole planes of several blocks of images: a tap that is left out would count as byte 0."""
    make = Maker(np.random.default_rng(3), 1.0)
    x = make.conv(make.conv("images", 3, 8, 1), 8, 8, 3)
    model = make.model(make.conv(x, 8, 4, 3), 4)
    images = np.random.default_rng(0).standard_normal((64, 3, 5, 7)).astype(np.float32)
    made = in_int8(model, images)
    expected = by_onnx_runtime(made.SerializeToString(), images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "load", lambda _: made)
        network = read_bytes("", (3, 5, 7))
    assert all(zero > 0 for _, zero in network.bytes.values())
    compiled = GeneratedBytes(network, 64, (3, 5, 7), library("float32", "avx512"), 1)
    assert compiled._grouping.parts[-1].group == 64
    near = 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(compiled.run(images), expected, rtol=0, atol=near)


@pytest.mark.parametrize(
    ("low", "high", "zero"), [(-1.0, 0.0, 255), (-1.01, 1.0, 128), (-1.0, 1.01, 127), (0.0, 1.0, 0)]
)
def test_every_byte_can_mean_zero_in_a_border(low: float, high: float, zero: int) -> None:
    """A border's four bytes travel as the bits of a float: a NaN, a denormal one or 0."""
    make = Maker(np.random.default_rng(3), 1.0)
    model = make.model(make.conv("images", 3, 8, 3), 8)
    images = np.random.default_rng(0).uniform(low, high, (16, 3, 32, 32)).astype(np.float32)
    made = quantise(model, {"images": Range(low, high)}, "integer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx, "load", lambda _: made)
        network = read_bytes("", (3, 32, 32))
    assert network.bytes[IMAGES][1] == zero
    compiled = GeneratedBytes(network, 16, (3, 32, 32), library("float32", "avx512"), 1)
    expected = by_onnx_runtime(made.SerializeToString(), images)
    np.testing.assert_allclose(compiled.run(images), expected, rtol=0, atol=1e-5)


def test_the_reader_names_what_it_cannot_take(tmp_path: Path) -> None:
    make = Maker(np.random.default_rng(1), 1.0)
    model = make.model(make.conv("images", 5, 8, 3), 8)
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedOnnxError, match="1 inputs of 5 channels"):
        read_bytes(str(tmp_path / "m.onnx"), (5, 16, 16))
