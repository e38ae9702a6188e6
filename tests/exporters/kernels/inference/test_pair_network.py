"""Networks stored in bf16: against float64, which values are stored so, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.kernels.compiled.build import chosen_isa, find_compiler
from sparsebench.exporters.kernels.compiled.library import NONE, library
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    MaxPoolStep,
    NormStep,
)
from sparsebench.exporters.kernels.generated.memory import no_pairs_of_channels
from sparsebench.exporters.kernels.inference.pair_network import GeneratedPairs, PairNetwork
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.models.zoo.load import load_backbone
from tests.exporters.kernels.inference import test_byte_network
from tests.exporters.kernels.inference.test_byte_network import compiled_error
from tests.exporters.kernels.inference.test_folded import Maker, expected_of

pytestmark = pytest.mark.skipif(
    find_compiler() is None or no_pairs_of_channels(chosen_isa()) != "",
    reason="no compiler or AVX-512",
)
NEAR = 0.02  # of the largest feature: a few roundings of 2^-8 each


def residual_network(rng: np.random.Generator, density: float) -> PairNetwork:
    """Blocks with a residual from bf16 and from float32, strides, odd channels, a depthwise one."""
    make = Maker(rng, density)
    x = make.pool(make.layer(IMAGES, (3, 6), 7, 2))
    for channels in (6, 12):
        side = make.layer(x, (channels, 2 * channels), 1, 2)
        if channels == 6:  # negative numbers are not stored in bf16
            made = make.network.steps[-1]
            assert isinstance(made, NormStep)
            make.network.steps[-1] = replace(made, act=NONE)
        y = make.layer(x, (channels, 10), 1)
        y = make.layer(y, (10, 5), 3, 2)
        y = make.layer(y, (5, 2 * channels), 1, residual=side)
        x = make.layer(make.layer(y, (2 * channels, 8), 3), (8, 2 * channels), 1, residual=y)
    x = make.layer(make.layer(x, (24, 24), 3, groups=24), (24, 12), 1)
    out = len(make.network.steps) + 1
    make.network.steps.append(ActStep(x, out, NONE, x))
    return PairNetwork.of(make.mean(make.layer(out, (12, 7), 3, residual=None)))


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=NEAR * np.abs(expected).max())


@pytest.mark.parametrize("density", [0.3, 1.0])
@pytest.mark.parametrize(
    ("size", "batch", "threads"),
    [(64, 1, 1), (64, 13, 2), (128, 5, 2), (32, 70, 2), (96, 33, 3), (56, 1, 2), (112, 2, 1)],
)
def test_groups_of_images_give_the_features_of_each(
    size: int, batch: int, threads: int, density: float
) -> None:
    network = residual_network(np.random.default_rng(0), density)
    assert network.layers_in_pairs() == 13
    images = np.random.default_rng(1).standard_normal((batch, 3, size, size)).astype(np.float32)
    compiled = GeneratedPairs(network, batch, (3, size, size), library("float32"), threads)
    expected = expected_of(network, images)
    for _ in range(2):  # nothing of the first call may be left over
        close(compiled.run(images), expected)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_layers_are_float64s_within_bf16(data: st.DataObject) -> None:
    size = data.draw(st.sampled_from([(8, 8), (16, 24), (32, 16), (20, 40), (9, 16), (64, 8)]))
    batch = data.draw(st.sampled_from([1, 3, 8, 17]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    make = Maker(rng, data.draw(st.sampled_from([0.0, 0.15, 1.0])))
    x, channels = IMAGES, 3
    for _ in range(3):
        kernel = data.draw(st.sampled_from([1, 2, 3, 5]))
        dilation = data.draw(st.integers(1, 2))
        groups = data.draw(st.sampled_from([1, channels]))
        out = groups * data.draw(st.sampled_from([2, 5, 38] if groups == 1 else [1, 2]))
        stride = data.draw(st.sampled_from([1, 1, 2, 3]))
        x = make.layer(
            x, (channels, out), kernel, stride, None,
            padding=dilation * (kernel - 1), dilation=dilation, groups=groups,
        )  # fmt: skip
        channels = out
        if data.draw(st.booleans()):
            x = make.layer(x, (channels, channels), 3, residual=x)
    if data.draw(st.booleans()):
        x = make.pool(x, *data.draw(st.sampled_from([(3, 2, 1), (2, 1, 1), (1, 1, 0), (1, 2, 0)])))
    network = PairNetwork.of(make.mean(make.layer(x, (channels, 4), 3)))
    images = rng.standard_normal((batch, 3, *size)).astype(np.float32)
    threads = data.draw(st.sampled_from([1, 2]))
    compiled = GeneratedPairs(network, batch, (3, *size), library("float32"), threads)
    close(compiled.run(images), expected_of(network, images))


def test_what_only_convolutions_read_is_stored_in_bf16() -> None:
    network = residual_network(np.random.default_rng(0), 1.0)
    read: dict[int, set[str]] = {}
    for step in network.steps:
        for value in (step.inp, step.residual):
            if value is not None:
                copy = isinstance(step, MaxPoolStep) and step.kernel == 1
                read.setdefault(value, set()).add("copy" if copy else type(step).__name__)
    for value in network.pairs:
        assert read[value] <= {"NormStep", "copy"}
    stem, pooled = (step.out for step in network.steps[:2])
    assert not {IMAGES, stem, pooled, network.output} & network.pairs
    odd = next(s.out for s in network.steps if getattr(s, "layer", "") == "5")
    assert odd not in network.pairs  # five channels
    copies = [s for s in network.steps if isinstance(s, MaxPoolStep) and s.kernel == 1]
    assert {(s.inp in network.pairs, s.out in network.pairs) for s in copies} == {
        (False, False), (True, True),
    }  # fmt: skip


def test_a_nan_stays_in_its_image() -> None:
    network = residual_network(np.random.default_rng(0), 0.9)
    images = np.zeros((6, 3, 64, 64), np.float32)
    images[1, 0, 63, 63] = np.nan
    images[4, 2, 0, 0] = np.inf
    found = GeneratedPairs(network, 6, (3, 64, 64), library("float32"), 2).run(images)
    assert np.isfinite(found[[0, 2, 3, 5]]).all()
    assert not np.isfinite(found[1]).all() and not np.isfinite(found[4]).all()


@pytest.mark.parametrize(
    ("backbone", "size", "batch", "layers"),
    [
        ("resnet18/gmp_uniform-90", 64, 33, 19),
        ("resnet18/acdc-90", 64, 3, 19),
        ("resnet50/uniform-90@generated", 64, 16, 52),
        ("resnet50/uniform-90@generated", 224, 1, 52),
    ],
)
def test_resnets_are_those_of_onnx_runtime(
    backbone: str, size: int, batch: int, layers: int
) -> None:
    artifact = export_backbone(load_backbone(backbone), size=size)
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size)).astype(np.float32)
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: images})[0]
    compiled = NativeEngine().compile(artifact, CompileRequest(batch, 2, "bf16"))
    close(compiled.run(images), expected)
    described = compiled.describe()
    assert described["bf16_layers"] == layers and described["why"] == ""
    assert set(described["layers"].values()) == {"generated"}
    told = compiled.profile(images, 1)
    assert sum(bool(layer.sparse) for layer in told) == layers + 1  # and the stem


def test_what_cannot_run_in_bf16_is_refused_by_name(tmp_path: Path) -> None:
    make = test_byte_network.Maker(np.random.default_rng(1), 1.0)
    x = make.node("Relu", make.conv("images", 3, 8, 3))
    path = tmp_path / "m.onnx"
    onnx.save(make.model(make.conv(x, 8, 8, 3), 8), path)
    told = compiled_error(path, precision="bf16", isa="avx2")
    assert "Code that stores bf16 is generated for AVX-512, which avx2 does not have" in told
    assert "It was not asked for" in compiled_error(path, precision="bf16", generate=False)
    make.node("Relu", "images")
    onnx.save(make.model(make.conv("images", 3, 8, 3), 8), path)
    assert "no values that could be stored in bf16" in compiled_error(path, precision="bf16")
    make = test_byte_network.Maker(np.random.default_rng(1), 1.0)
    onnx.save(make.model(make.node("Sigmoid", make.conv("images", 3, 8, 3)), 8), path)
    told = compiled_error(path, precision="bf16")
    assert "in bf16: Sigmoid 'Sigmoid1': the kernels do not know" in told


def test_a_processor_without_avx512_does_not_list_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "bf16" in NativeEngine.precisions
    monkeypatch.setenv("SPARSEBENCH_KERNEL_ISA", "avx2")
    assert "bf16" not in NativeEngine.precisions
