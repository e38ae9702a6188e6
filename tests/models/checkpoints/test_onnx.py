"""Sparse ONNX files from elsewhere: recognised, checked, and run as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from sparsebench.bench.why.inspection import inspect_target
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.verify import check_outputs, reference
from sparsebench.models.architectures import feature_extractor
from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.zoo.load import load_backbone
from tests.models.checkpoints import published as make

SIZE = 64


class LogitsAndClasses(nn.Module):
    """SparseML's networks return both."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.inner(images)
        return logits, torch.softmax(logits, 1)


def write(module: nn.Module, path: Path, *, fold: bool, dynamic: bool) -> Path:
    """Like SparseZoo's exports, whose batch norms are folded or not."""
    mode = torch.onnx.TrainingMode.EVAL if fold else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        module.eval(),
        (torch.zeros(1, 3, SIZE, SIZE),),
        str(path),
        input_names=["input"],
        output_names=["logits", "classes"],
        dynamic_axes={"input": {0: "batch"}} if dynamic else None,
        do_constant_folding=fold,
        training=mode,
        dynamo=False,
        opset_version=13,
    )
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = LogitsAndClasses(make.sparse("mobilenet_v1"))
    return write(module, tmp_path_factory.mktemp("zoo") / "model.onnx", fold=True, dynamic=False)


@pytest.mark.parametrize("fold", [True, False])
def test_weights_come_back_with_their_zeros(tmp_path: Path, fold: bool) -> None:
    module = make.sparse("mobilenet_v1")
    path = write(LogitsAndClasses(module), tmp_path / "a.onnx", fold=fold, dynamic=True)
    backbone = load_backbone(f"mobilenet_v1/gmp-80@{path}")
    assert load_checkpoint(path).format == "onnx"
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = module(images)
        assert torch.allclose(backbone.module(images), expected, rtol=1e-3, atol=1e-4)
    for name, parameter in module.named_parameters():
        if name.endswith("weight") and parameter.dim() == 4:
            assert torch.equal(backbone.mask[name], parameter != 0)


def test_the_file_itself_is_run_and_passes_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    backbone = load_backbone(f"mobilenet_v1/gmp-80@{file}")
    artifact = export_backbone(backbone, size=SIZE)
    ours, theirs = onnx.load(artifact.onnx), onnx.load(str(file))
    cut = [node.SerializeToString() for node in ours.graph.node]
    assert cut == [node.SerializeToString() for node in theirs.graph.node][: len(cut)]
    weights = {t.name: t.SerializeToString() for t in theirs.graph.initializer}
    assert all(weights[t.name] == t.SerializeToString() for t in ours.graph.initializer)
    images = np.random.default_rng(0).standard_normal((5, 3, SIZE, SIZE)).astype(np.float32)
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {session.get_inputs()[0].name: images})
    with torch.no_grad():
        expected = feature_extractor(make.sparse("mobilenet_v1"), "mobilenet_v1")(
            torch.from_numpy(images)
        )
    assert np.allclose(features, expected.numpy(), rtol=1e-3, atol=1e-4)
    verdict = check_outputs(
        backbone, artifact, reference(backbone, artifact, images), features, "fp32"
    )
    assert verdict.ok, verdict.reason
    with pytest.raises(SparsebenchError, match="takes images of 64 px, not of 224 px"):
        export_backbone(backbone, size=224)


def test_a_network_that_computes_something_else_is_refused(tmp_path: Path, file: Path) -> None:
    model = onnx.load(str(file))
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Sigmoid"
    onnx.save(model, str(tmp_path / "other.onnx"))
    with pytest.raises(
        SparsebenchError, match="layers of mobilenet_v1, but computes something else"
    ):
        load_checkpoint(tmp_path / "other.onnx")


def test_quantized_damaged_and_unknown_files_are_refused(tmp_path: Path, file: Path) -> None:
    model = onnx.load(str(file))
    convolution = next(node for node in model.graph.node if node.op_type == "Conv")
    convolution.op_type = "ConvInteger"
    onnx.save(model, str(tmp_path / "int8.onnx"))
    (tmp_path / "part.onnx").write_bytes(file.read_bytes()[:5000])
    tiny = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    write(LogitsAndClasses(tiny), tmp_path / "tiny.onnx", fold=True, dynamic=True)
    for name, complaint in (
        ("int8", "quantized network"),
        ("part", r"part\.onnx' cannot be read as ONNX"),
        ("tiny", "no known architecture"),
    ):
        with pytest.raises(SparsebenchError, match=complaint):
            load_checkpoint(tmp_path / f"{name}.onnx")


def test_inspect_counts_an_onnx_file_of_a_known_network(file: Path) -> None:
    report = inspect_target(str(file), size=SIZE)
    assert report.facts["arch"] == "mobilenet_v1"
    assert report.sparsity == pytest.approx(0.8, abs=1e-3)
    assert report.flops_ratio is not None and 0 < report.flops_ratio < 0.5
    assert "preprocessing" in report.unknown
