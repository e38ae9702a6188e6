"""Networks of the caller's own process as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from sparsebench.exporters.onnx.onnx_weights import weighted_nodes
from sparsebench.exporters.onnx.own_module import export_module
from sparsebench.models.errors import SparsebenchError
from tests.exporters.conftest import TinyNet


@pytest.fixture
def pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    torch.manual_seed(0)
    network = TinyNet().train()
    for layer in (network.conv2, network.fc):
        prune.l1_unstructured(layer, "weight", amount=0.75)  # type: ignore[no-untyped-call]
    return network


def test_the_file_holds_the_masked_network(pruned: TinyNet) -> None:
    path = export_module(pruned, 16)
    assert path.name == "TinyNet.onnx" and export_module(pruned, 16) == path
    zeros = {tuple(n.weight.shape): (n.weight == 0).mean() for n in weighted_nodes(path)}
    assert zeros[8, 8, 3, 3] == zeros[5, 8] == 0.75 and zeros[8, 3, 3, 3] == 0
    images = np.random.default_rng(0).standard_normal((3, 3, 16, 16), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(path))
    found = session.run(None, {session.get_inputs()[0].name: images})[0]
    with torch.no_grad():
        expected = pruned.eval()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_callers_network_is_left_as_it_is(pruned: TinyNet) -> None:
    export_module(pruned, 16)
    assert pruned.training and prune.is_pruned(pruned)
    pruned(torch.zeros(2, 3, 16, 16)).sum().backward()
    assert pruned.conv2.weight_orig.grad is not None


def test_what_is_no_classifier_is_refused(pruned: TinyNet) -> None:
    with pytest.raises(SparsebenchError, match="has no convolution and no linear layer"):
        export_module(nn.Sequential(nn.ReLU()), 16)
    with pytest.raises(SparsebenchError, match="does not accept images of 3 px"):
        export_module(nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten(), nn.Linear(4, 2)), 3)


def test_equal_weights_in_another_form_are_another_network(pruned: TinyNet) -> None:
    """The file of the first one was taken: kept by its weights and its class's name alone."""

    def network(activation: nn.Module, stride: int = 1) -> nn.Sequential:
        convolution = nn.Conv2d(3, 4, 3, stride=stride)
        return nn.Sequential(
            convolution, activation, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
        )

    first = network(nn.ReLU())
    others = [network(nn.Tanh()), network(nn.ReLU(), stride=2)]
    for other in others:
        other.load_state_dict(first.state_dict())
    paths = [export_module(one, 16) for one in (first, *others)]
    assert len(set(paths)) == 3
    assert export_module(first, 16) == paths[0]
