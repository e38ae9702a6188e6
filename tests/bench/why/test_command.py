"""`sparsebench inspect --why` on a real engine, in words and as JSON."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sparsebench.exporters.kernels.compiled.build import supported_isas
from sparsebench.exporters.kernels.generated.memory import refusal
from tests.bench.conftest import Result
from tests.exporters.engines.test_engines import skip_if_it_cannot_be_here

Cli = Callable[..., Result]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("sparsebench.bench.why.measure")
    monkeypatch.setattr(module, "TURNS", 2)
    monkeypatch.setattr(module, "PROFILES", 1)
    monkeypatch.setattr(module, "BUDGET", 4.0)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A tiny network of no known architecture: a sparse convolution and a global mean."""
    import numpy as np

    rng = np.random.default_rng(0)
    weight = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.8] = 0
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="/conv/Conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "bare",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "bare.onnx"))
    return tmp_path / "bare.onnx"


def test_a_bare_onnx_file_is_explained_layer_by_layer(cli: Cli, bare: Path) -> None:
    result = cli("inspect", bare, "--why", "--engine", "onnxruntime", "--batch-size", 2,
                 "--threads", 1, "--json")  # fmt: skip
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    (layer,) = facts["layers"]
    assert layer["name"] == "conv" and 0.7 < layer["sparsity"] < 0.9
    assert layer["dense"] > 0 and layer["sparse"] > 0
    assert facts["whole"]["batch_size"] == 2 and len(facts["whole"]["ratios"]) == 2
    assert facts["findings"]


def test_native_names_the_path_and_the_share_of_the_peak_of_each_layer(
    cli: Cli, bare: Path
) -> None:
    skip_if_it_cannot_be_here("native")
    result = cli("inspect", bare, "--why", "--engine", "native", "--batch-size", 17,
                 "--threads", 1, "--json")  # fmt: skip
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    (layer,) = facts["layers"]
    generates = "avx512" in supported_isas() and not refusal()
    assert layer["kind"] == ("generated" if generates else "compiled+pixels")
    assert bool(facts["no_code"]) is not generates
    if generates:
        assert 0 < layer["peak"] < 1.1


def test_the_words_fit_80_columns(cli: Cli, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = cli("inspect", bare, "--why", "--engine", "onnxruntime", "--threads", 1)
    assert result.code == 0, result.err
    assert "with its" in result.out and "zeros filled" in result.out and "Fix:" in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_wrong_usage_is_named_with_its_fix(cli: Cli, bare: Path, tmp_path: Path) -> None:
    unknown = cli("inspect", bare, "--why", "--engine", "onnxruntim")
    assert unknown.code == 2 and "'onnxruntime'" in unknown.err
    assert "--engine is missing" in cli("inspect", bare, "--why").err
    assert "--why is missing" in cli("inspect", bare, "--engine", "torch").err
    assert cli("inspect", bare, bare, "--why", "--engine", "torch").code == 2
    refused = cli("inspect", bare, "--why", "--engine", "torch")
    assert refused.code == 3 and "torch does not run it" in refused.out
