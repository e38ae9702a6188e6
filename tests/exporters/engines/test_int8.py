"""Contract of every engine that lists INT8: the quantized network, by kernels of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch

from sparsebench.exporters.engines.base import CompileRequest, EngineError
from sparsebench.exporters.engines.openvino import OpenVinoEngine
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.quantise_artifact import quantised_artifact
from sparsebench.exporters.onnx.torch_module import build_module
from sparsebench.exporters.worker.launch import ENGINES, engine, start_worker
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.zoo.load import load_backbone
from tests.exporters.engines.test_engines import skip_if_it_cannot_be_here

IMAGES = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)
REQUEST = CompileRequest(batch_size=4, threads=1, precision="int8")
ABLE = [name for name in ENGINES if "int8" in engine(name).precisions]


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """The file that a run on an engine alone would have."""
    cache = tmp_path_factory.mktemp("cache")
    backbone = load_backbone("resnet18/magnitude_uniform_block4-90")

    def export(name: str) -> Artifact:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SPARSEBENCH_CACHE", str(cache))
            return export_backbone(backbone, size=32, readers=readers_of([name]))

    return export


@pytest.fixture(scope="module")
def exported(own_file: Callable[[str], Artifact]) -> Artifact:
    return own_file("deepsparse")


def in_int8(artifact: Artifact, form: str) -> Artifact:
    return quantised_artifact(artifact, form, "test", lambda: IMAGES)


def test_three_engines_compute_in_int8() -> None:
    assert {"deepsparse", "onnxruntime", "openvino"} <= set(ABLE)


@pytest.mark.parametrize("name", ABLE)
def test_int8_is_the_same_network_by_the_engine_s_own_kernels(
    name: str, own_file: Callable[[str], Artifact]
) -> None:
    skip_if_it_cannot_be_here(name)
    exported = own_file(name)
    artifact = in_int8(exported, getattr(ENGINES.load(name), "int8_form", "qdq"))
    with torch.inference_mode():
        expected = build_module(exported)(torch.from_numpy(IMAGES)).numpy()
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    graph = session.run(None, {session.get_inputs()[0].name: IMAGES})[0]
    with start_worker(name, threads=1) as worker:
        answer = worker.compile(artifact, REQUEST)
        found = worker.run(IMAGES)
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() <= 0.06 * scale
    # The same graph in another runtime: bytes may round the other way here and there.
    assert np.abs(found - graph).max() <= 0.03 * scale
    assert answer["describe"]["supported_fraction"] == 1.0


def test_deepsparse_says_of_the_other_form_that_it_executes_nothing(exported: Artifact) -> None:
    skip_if_it_cannot_be_here("deepsparse")
    with start_worker("deepsparse", threads=1) as worker:
        answer = worker.compile(in_int8(exported, "qdq"), REQUEST)
    assert answer["describe"]["supported_fraction"] == 0.0


@pytest.mark.parametrize(
    ("precision", "told"), [("fp32", "float32"), ("int8", "float32"), ("bf16", "bfloat16")]
)
def test_openvino_s_precision_is_set_and_read_back(
    exported: Artifact, precision: str, told: str
) -> None:
    """Left alone, it computes fp32 graphs in bf16 where the processor has that."""
    skip_if_it_cannot_be_here("openvino")
    artifact = in_int8(exported, "qdq") if precision == "int8" else exported
    request = CompileRequest(batch_size=4, threads=1, precision=precision)
    try:
        session = OpenVinoEngine().compile(artifact, request)
    except EngineError as error:
        assert precision == "bf16"  # no other may be refused
        assert "bf16" in str(error)
        return
    assert told in session.describe()["precision_read_back"]
