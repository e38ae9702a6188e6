"""PyTorch as an expert calls it: batch norm is part of the convolutions; nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.engines.torch import TorchEngine, folded
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.torch_module import build_module
from sparsebench.models.zoo.load import load_backbone

SHAPE = (3, 16, 16)


class Shared(nn.Module):
    """One convolution before two batch norms: folding either would change the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.one, self.two = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.two.weight.data *= 3

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.two(self.conv(self.one(self.conv(images))))
        return found


class Untraceable(nn.Module):
    """Its way hangs on its values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(self.conv(images))
        return found if found.sum() > 0 else -found


@pytest.mark.parametrize("kind", [Shared, Untraceable])
def test_what_cannot_be_folded_stays_as_it_is(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    before = copy.deepcopy(module.state_dict())
    same = folded(module, SHAPE)
    assert same is module
    assert all(torch.equal(value, before[name]) for name, value in same.state_dict().items())


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Artifact]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARSEBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield export_backbone(load_backbone("resnet18/dense"), size=32)


@pytest.mark.parametrize(
    ("precision", "layout", "error"),
    [("fp32", "contiguous", 1e-4), ("fp32", "channels_last", 1e-4), ("bf16", "auto", 0.05)],
)
def test_the_engine_calls_a_network_without_batch_norm(
    precision: str, layout: str, error: float, artifact: Artifact
) -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).numpy()
    request = CompileRequest(2, 1, precision, options={"layout": layout})
    session = TorchEngine().compile(artifact, request)
    session.prepare()
    found = session.run(images)
    with torch.inference_mode():
        expected = build_module(artifact)(torch.from_numpy(images)).numpy()
    assert session.describe()["batch_norm"] == "folded"
    assert abs(found - expected).max() <= error * abs(expected).max()
    names = {step.values[0] for step in session.profile(images, 1) or []}
    assert "layer4.1.conv2" in names and "bn1" not in names


def test_folded_weights_are_ordinary_tensors(artifact: Artifact) -> None:
    """Made in inference mode, they failed at batch size 1 and channels-last, and nowhere else."""
    module = folded(build_module(artifact), (3, 32, 32))
    assert not any(weight.is_inference() for weight in module.parameters())
    session = TorchEngine().compile(artifact, CompileRequest(1, 1))
    assert session.run(torch.zeros(1, 3, 32, 32).numpy()).shape == (1, 512)
