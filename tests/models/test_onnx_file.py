"""ONNX files run as they are: what they hold, where they are cut, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from torch import nn

from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.verify import check_outputs, reference
from sparsebench.models.costs import count_costs
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sources.onnx_file import load_onnx
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import load_backbone, load_to_run

SIDE = 16


class Net(nn.Module):
    """A grouped, a depthwise and a pointwise convolution, one or two outputs."""

    def __init__(self, head: nn.Module | None = None, *, view: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 1, groups=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = head
        self.view = view
        with torch.no_grad():
            for part in self.modules():
                if isinstance(part, nn.Conv2d | nn.Linear):
                    part.weight[torch.rand_like(part.weight) < 0.6] = 0.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.body(images)
        if self.view:
            pooled = pooled.reshape(int(pooled.shape[0]), -1)
        elif self.head is not None:
            pooled = torch.flatten(pooled, 1)
        return pooled if self.head is None else self.head(pooled)


def write(module: nn.Module, path: Path, *, batch: int = 1, dynamic: bool = True) -> Path:
    axes = {"pictures": {0: "batch"}} if dynamic else None
    torch.onnx.export(
        module.eval(),
        (torch.zeros(batch, 3, SIDE, SIDE),),
        str(path),
        input_names=["pictures"],
        dynamic_axes=axes,
        dynamo=False,
        opset_version=13,
    )
    return path


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, 3, SIDE, SIDE), dtype=np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))


class MatMulAdd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 5))
        self.bias = nn.Parameter(torch.randn(5))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.softmax(features @ self.weight + self.bias, 1)


@pytest.mark.parametrize("head", [nn.Linear(12, 5), MatMulAdd(), None])
@pytest.mark.parametrize("batch", [None, 1, 4])
def test_features_are_what_the_classifier_reads_at_any_batch_size(
    tmp_path: Path, head: nn.Module | None, batch: int | None
) -> None:
    network = Net(head)
    path = write(network, tmp_path / "my.onnx", batch=batch or 1, dynamic=batch is None)
    backbone = load_to_run(str(path))
    artifact = export_backbone(backbone)
    assert artifact.input_shape == (3, SIDE, SIDE) and artifact.output_dim == 12
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    images = noise(6)
    (features,) = session.run(None, {"pictures": images})
    with torch.no_grad():
        expected = network.body(torch.from_numpy(images)).flatten(1).numpy()
    assert np.allclose(features, expected, rtol=1e-4, atol=1e-5)
    proof = reference(backbone, artifact, images)
    verdict = check_outputs(backbone, artifact, proof, features, "fp32")
    assert verdict.ok, verdict.reason
    assert verdict.against == "ONNX Runtime (the file itself)"
    assert verdict.argmax_agreement == (None if head is None else 1.0)
    assert not check_outputs(backbone, artifact, proof, features + 1, "fp32").ok


def test_zeros_and_costs_are_those_of_the_network_it_came_from(tmp_path: Path) -> None:
    network = Net(nn.Linear(12, 5))
    backbone = load_onnx(str(write(network, tmp_path / "my.onnx", batch=2, dynamic=False)))
    ours, theirs = backbone.costs(SIDE), count_costs(network, (3, SIDE, SIDE))
    fields = ("kind", "params", "nonzeros", "macs", "nonzero_macs")
    for mine, other in zip(ours, theirs, strict=True):
        assert [getattr(mine, f) for f in fields] == [getattr(other, f) for f in fields]


def test_a_generated_backbone_is_the_same_by_name_and_as_a_file(tmp_path: Path) -> None:
    named = load_backbone("resnet18/uniform-90@generated")
    path = tmp_path / "my.onnx"
    torch.onnx.export(
        named.module,
        (torch.zeros(1, 3, 32, 32),),
        str(path),
        dynamic_axes={"input": {0: "n", 2: "h", 3: "w"}},
        input_names=["input"],
        dynamo=False,
        opset_version=13,
    )
    file = load_onnx(str(path))
    assert file.file.side is None
    assert file.measured_sparsity == named.measured_sparsity
    shares = [
        [1 - c.nonzeros / c.params for c in costs]
        for costs in (file.costs(64), count_costs(named.module, (3, 64, 64)))
    ]
    # Execution order differs from the module's only in the shortcuts, whose shapes are unique.
    assert sorted(shares[0]) == sorted(shares[1])
    features = np.random.default_rng(0).random((4, 512), dtype=np.float32)
    mine = file.classify(features, 64)
    assert mine is not None and np.allclose(mine, named.classify(features, 64), atol=1e-4)


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        self.left = [{"pictures": noise(1)[0:1] * scale} for scale in (1, 2)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


@pytest.mark.parametrize("form", [QuantFormat.QOperator, QuantFormat.QDQ])
@pytest.mark.parametrize("per_channel", [False, True])
def test_zeros_of_a_quantized_file_are_counted(
    tmp_path: Path, form: QuantFormat, per_channel: bool
) -> None:
    network = Net(nn.Linear(12, 5))
    plain = write(network, tmp_path / "float.onnx")
    path = tmp_path / "int8.onnx"
    quantize_static(str(plain), str(path), Calibration(), form, per_channel=per_channel)
    backbone = load_onnx(str(path))
    assert backbone.quantized and {n.weight.dtype.kind for n in backbone.layers} <= set("if")
    kept = load_onnx(str(plain)).layers
    assert [n.weight.shape for n in backbone.layers] == [n.weight.shape for n in kept]
    for whole, real in zip(backbone.layers, kept, strict=True):
        # A float zero stays one; beside it, what rounds to zero is one as well.
        assert not whole.weight[real.weight == 0].any()
        assert (whole.weight == 0).mean() < 0.95
    artifact = export_backbone(backbone)
    proof = reference(backbone, artifact, noise(3))
    assert proof.checkpoint_mask == proof.onnx_mask and not proof.refilled


def test_a_card_beside_it_tells_what_the_graph_cannot(tmp_path: Path) -> None:
    path = write(Net(nn.Linear(12, 5)), tmp_path / "my.onnx")
    bare = find_card(str(path))
    assert (bare.arch, bare.method, bare.dense_partner) == ("onnx", "unknown", "")
    assert bare.preprocessing.size == SIDE and "assumed" in bare.notes
    content = {
        "schema": "sparsebench.card/1",
        "name": "mynet/gmp-60",
        "family": "progressive",
        "preprocessing": {"size": SIDE, "resize": 20, "mean": [0, 0, 0], "std": [1, 1, 1]},
        "dense_partner": "mynet/dense",
    }
    path.with_suffix(".json").write_text(json.dumps(content))
    card = find_card(str(path))
    assert (card.name, card.arch, card.method) == (str(path), "mynet", "gmp")
    assert card.preprocessing.resize == 20
    content["preprocessing"] = {"size": 32, "resize": 32}
    path.with_suffix(".json").write_text(json.dumps(content))
    with pytest.raises(SparsebenchError, match="says 32 px, the file takes 16 px"):
        load_onnx(str(path))
    assert "says 32 px" in find_card(str(path)).refused
    content["preprocessing"] = {"size": SIDE, "resize": SIDE}
    for label, said in (("gmp-95", "it says 95.0% sparse"), ("dense", "it says dense")):
        path.with_suffix(".json").write_text(json.dumps({**content, "name": f"mynet/{label}"}))
        with pytest.raises(SparsebenchError, match=said):
            load_onnx(str(path))


@pytest.mark.parametrize("batch", [1, 4])
def test_a_graph_bound_to_its_batch_size_keeps_it(tmp_path: Path, batch: int) -> None:
    # Traced with a fixed batch, `reshape(1, -1)` is a constant of the graph.
    network = Net(nn.Linear(12, 5), view=True)
    path = write(network, tmp_path / "my.onnx", batch=batch, dynamic=False)
    backbone = load_onnx(str(path))
    artifact = export_backbone(backbone)
    assert artifact.facts["batch_size"] == batch
    session = onnxruntime.InferenceSession(artifact.onnx, providers=["CPUExecutionProvider"])
    (features,) = session.run(None, {"pictures": noise(batch)})
    with torch.no_grad():
        expected = network.body(torch.from_numpy(noise(batch))).flatten(1).numpy()
    assert np.allclose(features, expected, rtol=1e-4, atol=1e-5)
    proof = reference(backbone, artifact, noise(batch))
    assert check_outputs(backbone, artifact, proof, features, "fp32").argmax_agreement == 1.0


def test_what_needs_a_pytorch_network_is_refused(tmp_path: Path) -> None:
    path = write(Net(nn.Linear(12, 5)), tmp_path / "my.onnx")
    with pytest.raises(SparsebenchError, match="no PyTorch network to train"):
        load_backbone(str(path))
    with pytest.raises(SparsebenchError, match="takes images of 16 px, not of 32 px"):
        export_backbone(load_onnx(str(path)), size=32)


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("this is no network")


def _changed(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        model = onnx.load(str(path))
        change(model)
        onnx.save(model, str(path))

    return apply


def _last_dims(model: onnx.ModelProto) -> None:
    for axis, size in enumerate((1, SIDE, SIDE, 3)):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size


def _half(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def _second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))


def _lying_size(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 10**6


def _foreign(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "my.ops"


def _computed_weights(model: onnx.ModelProto) -> None:
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    extra = helper.make_node("Exp", [conv.input[1]], ["made"])
    conv.input[1] = "made"
    model.graph.node.insert(0, extra)


def _no_nodes(model: onnx.ModelProto) -> None:
    del model.graph.node[:]


def _outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/hostname"


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_truncated, "cannot be read as ONNX|holds no network|cannot be read"),
        (_empty, "holds no network"),
        (_text, "text that starts with"),
        (_changed(_last_dims), r"takes \[1, 16, 16, 3\], channels last"),
        (_changed(_half), "takes float16, not float32 images"),
        (_changed(_second_input), "has 2 inputs"),
        (_changed(_lying_size), "cannot be read"),
        (_changed(_foreign), "operator my.ops.Conv cannot be read"),
        (_changed(_computed_weights), "is computed by Exp"),
        (_changed(_no_nodes), "holds no network"),
    ],
)
def test_a_hostile_or_broken_file_gets_one_clear_refusal(
    tmp_path: Path, damage: Callable[[Path], None], complaint: str
) -> None:
    path = write(Net(nn.Linear(12, 5)), tmp_path / "my.onnx")
    damage(path)
    with pytest.raises(SparsebenchError, match=complaint):
        load_onnx(str(path))


def test_weights_outside_its_folder_are_not_read(tmp_path: Path) -> None:
    path = write(Net(nn.Linear(12, 5)), tmp_path / "my.onnx")
    model = onnx.load(str(path))
    _outside(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(SparsebenchError, match="cannot be read as ONNX"):
        load_onnx(str(path))


def test_a_weight_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    path = write(Net(nn.Linear(12, 5)), tmp_path / "my.onnx")
    model = onnx.load(str(path))
    tensor = model.graph.initializer[0]
    array = numpy_helper.to_array(tensor) * np.float32("nan")
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, str(path))
    with pytest.raises(SparsebenchError, match="NaN or infinity"):
        load_onnx(str(path))
