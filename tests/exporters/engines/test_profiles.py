"""The time of each layer: what every engine that tells it must tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sparsebench.bench.why.layers import pair_layers, read_layers
from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.filled import SHARE, filled, write_filled
from sparsebench.exporters.worker.launch import start_worker
from sparsebench.models.zoo.load import load_backbone
from tests.exporters.engines.test_engines import skip_if_it_cannot_be_here

TELLING = ("deepsparse", "native", "onnxruntime", "openvino", "torch")
IMAGES = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return export_backbone(load_backbone("resnet18/erk-90@generated"), size=32)


@pytest.mark.parametrize("name", TELLING)
def test_an_engine_tells_a_positive_time_for_every_layer(name: str, artifact: Artifact) -> None:
    skip_if_it_cannot_be_here(name)
    with start_worker(name, threads=1) as worker:
        worker.compile(artifact, CompileRequest(batch_size=4, threads=1))
        steps = worker.profile(worker.load(IMAGES), calls=2)
        assert worker.run(IMAGES).shape == (4, 512)  # and it still runs afterwards
    assert steps is not None
    layers = read_layers(Path(artifact.onnx))
    assert len(layers) == 20  # ResNet-18 without its classifier
    pairs = pair_layers(layers, steps, steps).layers
    told = {part for pair in pairs for part in pair.name.split(" + ")}
    assert told == {layer.name for layer in layers}
    assert all(pair.dense > 0 and pair.speedup == 1.0 for pair in pairs)


def test_what_does_not_tell_says_so(artifact: Artifact) -> None:
    from sparsebench.exporters.engines.torch import build_session

    request = CompileRequest(batch_size=4, threads=1, options={"layout": "contiguous"})
    session = build_session(artifact, request, lambda module: module.forward)
    assert session.profile(IMAGES, 2) is None


def test_the_filled_copy_has_no_zeros_and_computes_nearly_the_same(
    artifact: Artifact, tmp_path: Path
) -> None:
    copy = write_filled(artifact, tmp_path)
    assert all(layer.sparsity == 0 for layer in read_layers(Path(copy.onnx)))
    kept = {t.name: numpy_helper.to_array(t) for t in onnx.load(artifact.onnx).graph.initializer}
    for tensor in onnx.load(copy.onnx).graph.initializer:
        before, after = kept[tensor.name], numpy_helper.to_array(tensor)
        assert np.array_equal(before[before != 0], after[before != 0])
    outputs = []
    for one in (artifact, copy):
        with start_worker("onnxruntime", threads=1) as worker:
            worker.compile(one, CompileRequest(batch_size=4, threads=1))
            outputs.append(worker.run(IMAGES))
    assert np.abs(outputs[0] - outputs[1]).max() < 0.05 * np.abs(outputs[0]).max()


def test_filling_touches_zeros_of_float_weights_only() -> None:
    weight = np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32)
    made = filled(weight)
    assert np.array_equal(made[weight != 0], weight[weight != 0])
    assert np.allclose(np.abs(made[weight == 0]), SHARE * 1.0)  # the rest's deviation is 1
    assert made.dtype == np.float32
    counts = np.zeros((2, 2), np.int64)
    assert filled(counts) is counts
    bias = np.zeros(3, np.float32)
    assert filled(bias) is bias
