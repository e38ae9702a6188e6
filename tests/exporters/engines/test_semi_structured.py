"""2:4 on a GPU, as far as a CPU can tell: which layers, and what stands in for them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.plan.validation import check
from sparsebench.exporters.engines.base import CompileRequest, EngineError
from sparsebench.exporters.engines.semi_structured import matrix_of, use_pattern, why_not
from sparsebench.exporters.engines.torch import TorchEngine
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.patterns import two_of_four_masks


def network() -> nn.Sequential:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(64, 32, 1, stride=2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.Conv2d(64, 64, 1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 96),
        nn.Linear(96, 10),
    )
    return module.eval()


def in_pattern(module: nn.Module) -> nn.Module:
    weights = {n: p for n, p in module.named_parameters() if p.dim() > 1}
    with torch.no_grad():
        for name, mask in two_of_four_masks(weights).items():
            weights[name].mul_(mask)
    return module


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_same_numbers_whatever_form_the_matrices_have(layout: torch.memory_format) -> None:
    """The compressed form itself needs a GPU; here it is the matrix as it is."""
    given: list[Tensor] = []

    def as_it_is(matrix: Tensor) -> Tensor:
        given.append(matrix)
        return matrix.clone()

    module = in_pattern(network())
    images = torch.randn(3, 64, 7, 5).contiguous(memory_format=layout)
    with torch.inference_mode():
        expected = module(images)
        told = use_pattern(module, as_it_is)
        torch.testing.assert_close(module(images), expected)
    assert [name for name, why in told.items() if not why] == ["0", "3", "6"]
    assert "1x1" in told["2"] and "10 x 96 is no multiple" in told["7"]
    assert all(int((m.reshape(-1, 4) != 0).sum(1).max()) == 2 for m in given)


def test_a_dense_network_runs_as_it_is_and_zeros_without_the_pattern_are_refused() -> None:
    told = use_pattern(network(), lambda matrix: matrix)
    assert all(told.values())
    sparse = network()
    with torch.no_grad():
        for parameter in sparse.parameters():
            parameter.flatten()[: parameter.numel() // 2] = 0
    with pytest.raises(EngineError, match="--pattern 2:4"):
        use_pattern(sparse, lambda matrix: matrix)


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Conv2d(64, 64, 1, groups=2), "1x1"),
        (nn.Conv2d(64, 64, 1, padding=1), "1x1"),
        (nn.Linear(64, 33), "33 x 64"),
        (nn.Linear(60, 32), "32 x 60"),
        (nn.Linear(64, 32), "more than two non-zeros"),
    ],
)
def test_why_a_layer_is_not_compressed(layer: nn.Module, why: str) -> None:
    assert why in why_not(layer)
    matrix = matrix_of(layer)
    assert (matrix is None) == (why == "1x1")


def test_packing_and_unpacking_is_exact() -> None:
    """PyTorch's own packing runs on a CPU: what it makes of our masks is the same matrix."""
    pack: Any = pytest.importorskip("torch.sparse._semi_structured_conversions")
    matrix = in_pattern(nn.Linear(64, 32)).get_parameter("weight").detach().to(torch.bfloat16)
    packed, meta = pack.sparse_semi_structured_from_dense_cutlass(matrix)
    assert packed.shape == (32, 32)
    assert torch.equal(pack.sparse_semi_structured_to_dense_cutlass(packed, meta), matrix)


def test_the_cpu_is_refused_by_name_where_it_was_typed() -> None:
    plan = Plan(backbones=("resnet18/dense",), engines=("torch:2:4",), workloads=("inference",))
    with pytest.raises(SparsebenchError, match="2:4 runs on a GPU only.*on the CPU") as refused:
        check(plan)
    assert "--device cuda" in (refused.value.fix or "")
    with pytest.raises(SparsebenchError, match="does not compute in 2:4") as refused:
        check(plan.with_changes(engines=("onnxruntime:2:4",)))
    assert "--engine torch:2:4" in (refused.value.fix or "")
    with pytest.raises(SparsebenchError, match="trains the network"):
        check(plan.with_changes(workloads=("full",)))
    bare: Any = type("Bare", (), {"torch_builder": "x:y"})()
    with pytest.raises(EngineError, match="GPU only"):
        TorchEngine().compile(bare, CompileRequest(1, 1, "2:4", "cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_machine_without_a_gpu_is_refused_too() -> None:
    plan = Plan(
        backbones=("resnet18/dense",),
        engines=("torch:2:4",),
        workloads=("inference",),
        device="cuda",
    )
    with pytest.raises(SparsebenchError, match="no CUDA device here"):
        check(plan)
