"""Small artifacts and misbehaving engines shared by the exporter tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import write_onnx


class TinyNet(nn.Module):
    """Two convolutions with batch norm and a linear layer: [N, 3, 16, 16] -> [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.bn1(self.conv1(images)))
        hidden = torch.relu(self.bn2(self.conv2(hidden)))
        out: torch.Tensor = self.fc(hidden.mean((2, 3)))
        return out


def tiny_network(sparsity: float = 0.7) -> TinyNet:
    torch.manual_seed(0)
    network = TinyNet().eval()
    for module in (network.bn1, network.bn2):
        module.running_mean = torch.randn(8) * 0.1
        module.running_var = torch.rand(8) + 0.5
        nn.init.uniform_(module.weight, 0.5, 1.5)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.dim() > 1 and name != "conv1.weight":
                parameter[torch.rand_like(parameter) < sparsity] = 0.0
    return network


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyNet, Artifact]:
    """A small sparse network and its artifact (ONNX only)."""
    network = tiny_network()
    folder = tmp_path_factory.mktemp("tiny")
    path = Path(folder) / "model.onnx"
    write_onnx(network, path, 16)
    return network, Artifact(str(folder), str(path), (3, 16, 16), 5, "logits")
