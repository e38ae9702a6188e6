"""Export keeps outputs, zeros and names; the gate notices when it does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import export_backbone, write_onnx
from sparsebench.exporters.onnx.onnx_weights import onnx_mask, refilled, weighted_nodes
from sparsebench.exporters.onnx.verify import check_outputs, reference
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_hash, mask_of
from sparsebench.models.zoo.load import Backbone, load_backbone
from tests.exporters.conftest import TinyNet


@pytest.fixture(scope="module")
def sparse() -> Backbone:
    return load_backbone("resnet18/uniform-90@generated")


@pytest.fixture(scope="module")
def exported(sparse: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return export_backbone(sparse, size=32)


def some_images(count: int, size: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, 3, size, size), dtype=np.float32)


def test_zeros_survive_batch_norm_folding_under_their_own_names(
    tiny: tuple[TinyNet, Artifact],
) -> None:
    network, artifact = tiny
    found = onnx_mask(Path(artifact.onnx), network, (3, 16, 16))
    assert mask_hash(found) == mask_hash(mask_of(network))
    ops = {node.op_type for node in onnx.load(artifact.onnx).graph.node}
    assert "BatchNormalization" not in ops  # it was folded, or the check above proves little


def test_any_batch_size_gives_pytorchs_outputs(tiny: tuple[TinyNet, Artifact]) -> None:
    network, artifact = tiny
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    for count in (1, 2, 7):
        images = some_images(count, 16)
        with torch.inference_mode():
            expected = network(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=1e-5)


def test_features_are_what_the_classifier_reads(sparse: Backbone, exported: Artifact) -> None:
    images = some_images(3, 32)
    session = onnxruntime.InferenceSession(exported.onnx, providers=["CPUExecutionProvider"])
    features = session.run(None, {"images": images})[0]
    with torch.inference_mode():
        logits = sparse.module(torch.from_numpy(images)).numpy()
        head = sparse.module.fc(torch.from_numpy(features)).numpy()  # type: ignore[operator]
    assert features.shape == (3, 512) == (3, exported.output_dim)
    scale = np.abs(logits).max()
    np.testing.assert_allclose(head, logits, atol=1e-4 * scale)


def test_the_whole_classifier_can_be_exported(
    tiny: object, sparse: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    artifact = export_backbone(sparse, size=32, output="logits")
    assert artifact.output_dim == 1000
    proof = reference(sparse, artifact, some_images(2, 32))
    assert proof.checkpoint_mask == proof.onnx_mask == mask_hash(sparse.mask)


def test_an_export_is_found_again_by_content(
    sparse: Backbone, exported: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(Path(exported.folder).parents[1]))
    before = Path(exported.onnx).stat().st_mtime_ns
    assert export_backbone(sparse, size=32) == exported
    assert Path(exported.onnx).stat().st_mtime_ns == before
    assert export_backbone(sparse, size=64).folder != exported.folder


def test_the_gate_passes_right_outputs_and_names_what_is_wrong(
    sparse: Backbone, exported: Artifact
) -> None:
    images = some_images(8, 32)
    expected = reference(sparse, exported, images)
    right = expected.outputs
    assert check_outputs(sparse, exported, expected, right, "fp32").ok

    wrong = right[::-1].copy()
    assert "differ from PyTorch" in check_outputs(sparse, exported, expected, wrong, "fp32").reason
    nan = right.copy()
    nan[0, 0] = np.nan
    assert "NaN" in check_outputs(sparse, exported, expected, nan, "fp32").reason


def test_a_refilled_mask_fails_the_gate(
    sparse: Backbone, exported: Artifact, tmp_path: Path
) -> None:
    folder = tmp_path / "refilled"
    shutil.copytree(exported.folder, folder)
    artifact = Artifact.read(folder)
    model = onnx.load(artifact.onnx)
    for tensor in model.graph.initializer:
        weight = numpy_helper.to_array(tensor)
        if weight.ndim == 4 and (weight == 0).mean() > 0.5:
            # As an optimizer that forgets the mask would leave it: tiny, but not zero.
            weight = np.where(weight == 0, np.float32(1e-12), weight)
            tensor.CopyFrom(numpy_helper.from_array(weight, tensor.name))
            break
    onnx.save(model, artifact.onnx)
    proof = reference(sparse, artifact, some_images(4, 32))
    assert sum(proof.refilled.values()) > 0
    verdict = check_outputs(sparse, artifact, proof, proof.outputs, "fp32")
    assert not verdict.ok
    assert "refilled" in verdict.reason


def test_refilled_counts_only_weights_that_were_pruned() -> None:
    checkpoint = {"a.weight": torch.tensor([True, False, False])}
    exported = {"a.weight": torch.tensor([False, True, False])}
    assert refilled(checkpoint, exported) == {"a.weight": 1}


class LikeBeit(nn.Module):
    """Its attention hands a layer's weight to `linear`, and multiplies with what is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.qkv = nn.Linear(8, 8, bias=False)
        self.bias = nn.Parameter(torch.randn(8))
        self.places = nn.Parameter(torch.randn(8, 5))
        self.last = nn.Linear(5, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        made = functional.linear(tokens, self.qkv.weight, self.bias) @ self.places
        return self.last(made).mean(1)  # type: ignore[no-any-return]


def test_weights_that_a_network_uses_without_their_layer_are_found(tmp_path: Path) -> None:
    network = LikeBeit().eval()
    with torch.no_grad():
        for layer in (network.stem, network.qkv, network.last):
            layer.weight[torch.rand_like(layer.weight) < 0.5] = 0
    write_onnx(network, tmp_path / "model.onnx", 16)
    found = onnx_mask(tmp_path / "model.onnx", network, (3, 16, 16))
    assert mask_hash(found) == mask_hash(mask_of(network))


def test_a_file_of_another_network_lacks_a_layer(
    tiny: tuple[TinyNet, Artifact], tmp_path: Path
) -> None:
    with pytest.raises(SparsebenchError, match="lacks a weight of shape .*layer stem"):
        onnx_mask(Path(tiny[1].onnx), LikeBeit(), (3, 16, 16))


def test_a_truncated_onnx_file_is_one_sentence(exported: Artifact, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(Path(exported.onnx).read_bytes()[:1000])
    with pytest.raises(SparsebenchError, match="truncated"):
        weighted_nodes(broken)


def test_an_unknown_output_is_one_sentence(sparse: Backbone) -> None:
    with pytest.raises(SparsebenchError, match="Take features or logits"):
        export_backbone(sparse, size=32, output="embeddings")


def test_a_image_size_the_network_cannot_take_is_one_sentence(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 7), nn.Flatten())
    with pytest.raises(SparsebenchError, match="images of 4 px.*larger"):
        write_onnx(network, tmp_path / "model.onnx", 4)


def test_a_cache_that_cannot_be_written_names_the_variable(
    sparse: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(blocked / "below"))
    with pytest.raises(SparsebenchError, match="SPARSEBENCH_CACHE"):
        export_backbone(sparse, size=32)
