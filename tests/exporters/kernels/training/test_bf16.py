"""Training in bf16: what is rounded, what is not, and where it is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from sparsebench.exporters.engines.native import NativeEngine
from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.compiled.library import RELU, library
from sparsebench.exporters.kernels.compiled.steps import (
    IMAGES,
    ActStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    NormStep,
    Step,
)
from sparsebench.exporters.kernels.generated import memory, peak
from sparsebench.exporters.kernels.generated.memory import no_pairs
from sparsebench.exporters.kernels.training import convolution
from sparsebench.exporters.kernels.training.module import sparsify_module
from sparsebench.exporters.kernels.training.tape import halved
from sparsebench.models.errors import SparsebenchError

able = pytest.mark.skipif(
    find_compiler() is None or bool(no_pairs("avx512", "float32")), reason="no compiler or bf16"
)
has_matrix = pytest.mark.skipif(
    find_compiler() is None or not library().has_matrix, reason="no matrix unit"
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
@pytest.mark.parametrize(
    ("execution", "multiplies"),
    [
        ("sparse", "pairs"),
        ("sparse", "float32"),
        pytest.param("sparse", "matrix", marks=has_matrix),
        ("dense", "pairs"),
    ],
)
def test_gradients_are_those_in_float64_within_the_rounding_of_bf16(
    execution: str, multiplies: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "pairs_pay", lambda: multiplies == "pairs")
    monkeypatch.setattr(library(), "has_matrix", multiplies == "matrix")
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
    if execution == "sparse":  # only what the backward pass reads is rounded
        torch.testing.assert_close(mine.double(), loss, rtol=1e-5, atol=0)
        paths = {layer.backward_path() for layer in sparse.convolutions().values()}
        if multiplies == "matrix":  # images have no gradient
            assert paths == {"matrix (bf16)", "generated+matrix (bf16)"}
        elif multiplies == "pairs":
            assert paths == {"generated (bf16)"}
        else:
            assert not any("bf16" in path for path in paths)
    for name, parameter in exact.named_parameters():
        where, _, kind = name.partition(".")
        values = kind == "weight" and isinstance(dense.get_submodule(where), nn.Conv2d)
        found = sparse.network.get_parameter(f"{where}.{'values' if values else kind}")
        assert parameter.grad is not None and found.grad is not None
        assert found.dtype == found.grad.dtype == torch.float32
        near = parameter.grad[parameter != 0] if values else parameter.grad
        error = (found.grad.double() - near).norm() / near.norm()
        # Where the forward pass rounds activations, some of ReLU's decisions change.
        assert (1e-5 if values else 0) < error < (0.1 if execution == "dense" else 1e-2), name


@able
def test_the_engine_trains_in_it() -> None:
    assert NativeEngine.training_precisions == ("fp32", "bf16")


def test_it_is_refused_by_name_and_never_becomes_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SparsebenchError, match="no precision 'half'"):
        sparsify_module(network(), precision="half")
    monkeypatch.setattr(memory, "cpu_flags", lambda: {"avx512f"})
    with pytest.raises(SparsebenchError, match="avx512_bf16"):
        sparsify_module(network(), precision="bf16")
    assert NativeEngine.training_precisions == ("fp32",)


class Residual(nn.Module):
    """A stem with max-pooling and blocks whose sums are read twice, as in a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.convs = nn.ModuleList(nn.Conv2d(16, 16, 3, 1, 1, bias=False) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(4))
        self.head = nn.Linear(16, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.norm(self.stem(images))))
        for i in (0, 2):
            y = torch.relu(self.norms[i](self.convs[i](x)))
            x = torch.relu(self.norms[i + 1](self.convs[i + 1](y)) + x)
        return self.head(x.mean((2, 3)))  # type: ignore[no-any-return]


@able
@pytest.mark.parametrize("batch", [5, 16, 70])
@pytest.mark.parametrize("training", [True, False])
def test_what_is_kept_for_the_backward_pass_is_bf16_and_the_forward_pass_is_not_rounded(
    batch: int, training: bool
) -> None:
    torch.manual_seed(0)
    dense = Residual().train(training)
    exact = copy.deepcopy(dense).double()
    images = torch.randn(batch, 3, 12, 12)
    plain = sparsify_module(dense, threads=1)
    rounded = sparsify_module(dense, threads=1, precision="bf16")
    plain_out, rounded_out, out = plain(images), rounded(images), exact(images.double())
    assert torch.equal(plain_out, rounded_out)
    for found in (rounded_out, out):
        torch.autograd.backward(found.square().mean())
    for name, parameter in exact.named_parameters():
        where, _, kind = name.rpartition(".")
        kind = "values" if f"{where}.values" in dict(rounded.network.named_parameters()) else kind
        found = rounded.network.get_parameter(f"{where}.{kind}").grad
        assert found is not None and parameter.grad is not None
        error = (found.flatten().double() - parameter.grad.flatten()).norm()
        assert error < 1e-2 * parameter.grad.norm(), name


@able
def test_a_tape_in_bf16_takes_about_half_the_memory() -> None:
    sizes = {}
    for precision in ("fp32", "bf16"):
        program = sparsify_module(Residual(), threads=1, precision=precision).program
        tape = program.forward(torch.randn(64, 3, 24, 24), keep=True)[1]
        kept = {**tape.tensors, **{-1 - v: t for v, t in tape.halves.items()}}
        sizes[precision] = sum(t.numel() for t in kept.values())
    assert sizes["bf16"] < 0.6 * sizes["fp32"]


def test_values_that_something_else_compares_with_are_kept_as_they_are() -> None:
    conv, norm = ConvStep(IMAGES, 1, "conv"), NormStep(1, 2, "norm", RELU)
    assert halved([conv, norm, MeanStep(2, 3)]) == {1, 2}
    assert halved([conv, norm, MaxPoolStep(2, 3, 3, 2, 1)]) == set()
    assert halved([NormStep(IMAGES, 1, "norm"), ConvStep(1, 2, "conv")]) == set()
    # A batch norm behind an activation of its own reads that in float32, so what it writes too.
    other, last = NormStep(3, 4, "other"), NormStep(4, 5, "last")
    steps: list[Step] = [conv, norm, ActStep(2, 3, RELU), other, last]
    assert halved(steps) == {1, 2}


@able
def test_an_instruction_on_pairs_pays_where_it_is_no_slower_than_twice_as_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert 0 < peak.peak_seconds(of_pairs=True) < 1e-7
    for of_pairs, pays in ((1.0, True), (4.0, False)):  # Zen 5, Sapphire Rapids
        monkeypatch.setattr(
            peak, "peak_seconds", lambda of_pairs=False, slow=of_pairs: slow if of_pairs else 1.0
        )
        assert peak.pairs_pay.__wrapped__() is pays
