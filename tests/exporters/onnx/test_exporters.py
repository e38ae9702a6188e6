"""Which of torch's exporters writes a network, and what is said where none can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.bench.why.layers import read_layers
from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.onnx import exporters
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import export_backbone, write_onnx
from sparsebench.exporters.onnx.exporters import EXPORTERS, Exporter, Written, key_of
from sparsebench.exporters.onnx.onnx_weights import onnx_mask, weighted_nodes
from sparsebench.exporters.worker.launch import ENGINES
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_hash, mask_of
from sparsebench.models.zoo.load import load_backbone
from tests.exporters.conftest import TinyNet, tiny_network

IMAGES = np.random.default_rng(0).standard_normal((3, 3, 16, 16), dtype=np.float32)


class Folding(nn.Module):
    """Its fold came with opset 18; otherwise a convolution, batch norm, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        patches = functional.unfold(self.norm(self.conv(images)), 4, stride=4)
        planes = functional.fold(patches.relu(), (16, 16), 4, stride=4)
        return self.fc(planes.mean((2, 3)))  # type: ignore[no-any-return]


def refusing(said: str) -> Any:
    def write(*given: object) -> None:
        raise RuntimeError(f"{said}\nand a page more")

    return write


def copying(exporter: Exporter, change: Callable[[onnx.ModelProto], None]) -> Exporter:
    """One that writes another network than it was given."""

    def write(module: nn.Module, example: Tensor, path: Path) -> None:
        exporter.write(module, example, path)
        model = onnx.load(path)
        change(model)
        onnx.save(model, path)

    return replace(exporter, write=write)


def scaled(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(values * np.float32(1.1), tensor.name))


def filled(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1:
            values = np.where(values == 0, np.float32(1e-12), values)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


NEWER, OLDER = EXPORTERS


def test_the_newer_one_writes_the_file(tmp_path: Path) -> None:
    assert write_onnx(TinyNet(), tmp_path / "a.onnx", 16) == Written(NEWER.name, 18)
    readers = readers_of(["onnxruntime", "openvino", "native", "torch"])
    assert write_onnx(TinyNet(), tmp_path / "a.onnx", 16, readers).exporter == NEWER.name


def test_one_engine_of_older_graphs_gets_them_for_all(tmp_path: Path) -> None:
    readers = readers_of(["onnxruntime", "deepsparse", "native"])
    written = write_onnx(TinyNet(), tmp_path / "a.onnx", 16, readers)
    assert written == Written(OLDER.name, 13, "deepsparse executes opset 13")
    assert onnx.load(tmp_path / "a.onnx").opset_import[0].version == 13


def test_files_for_other_needs_are_kept_apart() -> None:
    keys = {key_of(readers_of(engines)) for engines in ([], ["deepsparse"], ["native"])}
    assert len(keys) == 3
    assert key_of(readers_of(["torch", "openvino"])) == key_of(readers_of([]))


@pytest.mark.parametrize(
    ("change", "said"),
    [(scaled, "its outputs differ from PyTorch's by"), (filled, "its zeros are not the network's")],
)
def test_where_the_newer_ones_file_is_wrong_the_older_writes_it(
    change: Callable[[onnx.ModelProto], None],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = replace(copying(OLDER, change), name="newer", opset=18, checked=True)
    monkeypatch.setattr(exporters, "EXPORTERS", (wrong, OLDER))
    network = tiny_network()
    written = write_onnx(network, tmp_path / "a.onnx", 16)
    assert written.exporter == OLDER.name
    assert written.instead.startswith(f"newer: {said}")
    assert mask_hash(onnx_mask(tmp_path / "a.onnx", network, (3, 16, 16))) == mask_hash(
        mask_of(network)
    )


class Refusing:
    """An engine that cannot read a file of opset 18."""

    def refusal(self, path: str, input_shape: tuple[int, int, int]) -> str:
        assert input_shape == (3, 16, 16)
        return "no" if onnx.load(path).opset_import[0].version == 18 else ""


def test_where_an_engine_cannot_read_it_the_older_one_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ENGINES, "load", lambda name: Refusing)
    readers, path = readers_of(["picky"]), tmp_path / "a.onnx"
    written = write_onnx(TinyNet(), path, 16, readers)
    assert written == Written(OLDER.name, 13, f"{NEWER.name}: picky cannot read it: no")
    # Where the older one cannot write it, the other engines have the newer one's.
    monkeypatch.setattr(exporters, "EXPORTERS", (NEWER, replace(OLDER, write=refusing("no"))))
    assert write_onnx(TinyNet(), path, 16, readers) == Written(NEWER.name, 18)
    assert onnx.load(path).opset_import[0].version == 18
    assert [one.name for one in tmp_path.iterdir()] == ["a.onnx"]


def test_an_artifact_says_which_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    other = replace(OLDER, name="another")
    chain = (Exporter("broken", 9, refusing("no")), other)
    monkeypatch.setattr(exporters, "EXPORTERS", chain)
    facts = export_backbone(load_backbone("timm:test_convnext/uniform-90@generated")).facts
    assert (facts["exporter"], facts["opset"]) == ("another", 13)
    assert facts["exporter_instead"] == "broken cannot write the network: no"


def test_what_none_can_write_is_one_message_with_what_each_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = [Exporter("new", 18, refusing("no Spam.")), Exporter("old", 13, refusing("no Fold"))]
    monkeypatch.setattr(exporters, "EXPORTERS", tuple(chain))
    with pytest.raises(SparsebenchError) as told:
        write_onnx(TinyNet(), tmp_path / "a.onnx", 16)
    assert "new cannot write the network: no Spam;" in told.value.cause
    assert "old cannot write the network: no Fold." in told.value.cause
    assert "a page more" not in str(told.value)
    chain[0] = Exporter("new", 18, refusing(""), needs="spam_not_there")
    monkeypatch.setattr(exporters, "EXPORTERS", tuple(chain))
    with pytest.raises(SparsebenchError, match="no Fold.*[Ii]nstall.*spam_not_there"):
        write_onnx(TinyNet(), tmp_path / "a.onnx", 16)


def test_without_onnxscript_the_older_one_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporters, "EXPORTERS", (replace(NEWER, needs="spam_not_there"), OLDER))
    written = write_onnx(TinyNet(), tmp_path / "a.onnx", 16)
    assert written.exporter == OLDER.name and "is not installed" in written.instead


def test_native_reads_a_convnext_of_the_newer_one(tmp_path: Path) -> None:
    """Its pooling of channels that lie last came as the places of all its numbers, a Gather."""
    network = load_backbone("timm:test_convnext/uniform-90@generated").module
    path = tmp_path / "a.onnx"
    assert write_onnx(network, path, 64, readers_of(["native"])).exporter == NEWER.name
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64), dtype=np.float32)
    artifact = Artifact(str(tmp_path), str(path), (3, 64, 64), 1000, "logits")
    found = NativeEngine().compile(artifact, CompileRequest(2, 1)).run(images)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert "Gather" not in {node.op_type for node in onnx.load(path).graph.node}


class Gelu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, images: Tensor) -> Tensor:
        return functional.gelu(self.conv(images)).mean((2, 3))


def test_the_newer_ones_file_has_the_forms_that_engines_are_fast_at(tmp_path: Path) -> None:
    """A ConvNeXt took 1.4 times as long on ONNX Runtime, which did not see its GELUs."""
    network, path = Gelu().eval(), tmp_path / "a.onnx"
    assert write_onnx(network, path, 16).exporter == NEWER.name
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options)
    operators = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "Gelu" in operators and "GlobalAveragePool" in operators
    with torch.inference_mode():
        expected = network(torch.from_numpy(IMAGES)).numpy()
    np.testing.assert_allclose(session.run(None, {"images": IMAGES})[0], expected, atol=1e-6)


def test_layers_are_named_after_their_modules(tmp_path: Path) -> None:
    """`inspect --why` would tell of a node_Conv_296."""
    write_onnx(TinyNet(), tmp_path / "a.onnx", 16)
    names = [layer.name for layer in read_layers(tmp_path / "a.onnx")]
    assert names == ["conv1", "conv2", "fc"]
    write_onnx(Tokens(), tmp_path / "b.onnx", 16)
    assert [layer.name for layer in read_layers(tmp_path / "b.onnx")] == ["stem", "inner.0"]


class Tokens(nn.Module):
    """Its linear layer works on tokens: the exporter stores the weight turned round."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.inner = nn.Sequential(nn.Linear(8, 8))

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(self.stem(images).flatten(2).transpose(1, 2)).mean(1)  # type: ignore[no-any-return]


def test_a_file_names_no_folder_of_the_machine_that_wrote_it(tmp_path: Path) -> None:
    write_onnx(TinyNet(), tmp_path / "a.onnx", 16)
    assert str(Path(torch.__file__).parent).encode() not in (tmp_path / "a.onnx").read_bytes()
    assert __file__.encode() not in (tmp_path / "a.onnx").read_bytes()


def test_the_newer_one_writes_what_the_older_cannot(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Folding().eval()
    with torch.no_grad():
        network.norm.weight.uniform_(0.5, 2)
        for layer in (network.conv, network.fc):
            layer.weight[torch.rand_like(layer.weight) < 0.5] = 0
    path = tmp_path / "model.onnx"
    written = write_onnx(network, path, 16, readers_of(["deepsparse"]))
    assert written.exporter == NEWER.name and "cannot write the network" in written.instead
    model = onnx.load(path)
    assert ([o.version for o in model.opset_import], model.ir_version) == ([written.opset], 8)
    assert mask_hash(onnx_mask(path, network, (3, 16, 16))) == mask_hash(mask_of(network))
    session = onnxruntime.InferenceSession(path)
    for count in (1, 3):
        with torch.inference_mode():
            expected = network(torch.from_numpy(IMAGES[:count])).numpy()
        found = session.run(None, {"images": IMAGES[:count]})[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_both_write_the_same_weights(tmp_path: Path) -> None:
    network = TinyNet().eval()
    weights = []
    for exporter in EXPORTERS:
        path = tmp_path / f"{exporter.name}.onnx"
        exporter.write(network, torch.from_numpy(IMAGES[:2]), path)
        weights.append([node.weight for node in weighted_nodes(path)])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
