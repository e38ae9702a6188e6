"""Training in bf16: what is rounded, what is not, and where it is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.generated import memory
from sparsebench.exporters.kernels.generated.memory import no_pairs
from sparsebench.exporters.kernels.training.module import sparsify_module
from sparsebench.models.errors import SparsebenchError

able = pytest.mark.skipif(
    find_compiler() is None or bool(no_pairs("avx512", "float32")), reason="no compiler or bf16"
)


def network() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU(),
        nn.Conv2d(48, 16, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data *= torch.rand(layer.weight.shape) < 0.3
    return module


@able
@pytest.mark.parametrize("execution", ["sparse", "dense"])
def test_gradients_are_those_in_float64_within_the_rounding_of_bf16(execution: str) -> None:
    dense = network()
    images, labels = torch.randn(40, 3, 12, 12), torch.arange(40) % 16
    sparse = sparsify_module(dense, threads=1, precision="bf16")
    for layer in sparse.convolutions().values():
        layer.execution = execution
    exact = copy.deepcopy(dense).double()
    loss = functional.cross_entropy(exact(images.double()), labels)
    torch.autograd.backward(loss)
    mine = functional.cross_entropy(sparse(images), labels)
    torch.autograd.backward(mine)
    if execution == "sparse":  # only gradients of non-zeros are rounded
        torch.testing.assert_close(mine.double(), loss, rtol=1e-5, atol=0)
        paths = {layer.backward_path() for layer in sparse.convolutions().values()}
        assert paths == {"generated (bf16)"}
    for name, parameter in exact.named_parameters():
        where, _, kind = name.partition(".")
        values = kind == "weight" and isinstance(dense.get_submodule(where), nn.Conv2d)
        found = sparse.network.get_parameter(f"{where}.{'values' if values else kind}")
        assert parameter.grad is not None and found.grad is not None
        assert found.dtype == found.grad.dtype == torch.float32
        near = parameter.grad[parameter != 0] if values else parameter.grad
        error = (found.grad.double() - near).norm() / near.norm()
        # Where activations are rounded, too, some of ReLU's decisions change.
        most = 0.1 if execution == "dense" else 1e-2 if values else 1e-5
        assert (1e-5 if most > 1e-5 else 0) < error < most, name


@able
def test_the_engine_trains_in_it_but_does_not_infer_in_it() -> None:
    assert NativeEngine.training_precisions == ("fp32", "bf16")
    assert "bf16" not in NativeEngine.precisions


def test_it_is_refused_by_name_and_never_becomes_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SparsebenchError, match="no precision 'half'"):
        sparsify_module(network(), precision="half")
    monkeypatch.setattr(memory, "cpu_flags", lambda: {"avx512f"})
    with pytest.raises(SparsebenchError, match="avx512_bf16"):
        sparsify_module(network(), precision="bf16")
    assert NativeEngine.training_precisions == ("fp32",)
