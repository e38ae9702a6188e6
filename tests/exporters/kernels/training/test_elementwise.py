"""All that lies between convolutions, in every instruction set, against PyTorch in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.build import find_compiler, supported_isas
from sparsebench.exporters.kernels.compiled.layout import Blocked
from sparsebench.exporters.kernels.compiled.library import NONE, RELU, RELU6, library
from sparsebench.exporters.kernels.compiled.steps import MaxPoolStep
from sparsebench.exporters.kernels.training.functional import from_blocked, to_blocked
from sparsebench.exporters.kernels.training.module import sparsify_module
from sparsebench.exporters.kernels.training.pooling import pooled_shape

pytestmark = [
    pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler"),
    pytest.mark.parametrize("isa", supported_isas()),
]
ACTIVATIONS = {NONE: lambda x: x, RELU: torch.relu, RELU6: functional.relu6}
BATCHES = (1, 5, 16, 19)  # less than a block of any width, whole ones, and some more


def random(*shape: int, seed: int = 0) -> Tensor:
    """With values on both sides of the bounds of every activation."""
    return 4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(mine: Tensor, theirs: Tensor, tolerance: float = 1e-6) -> None:
    assert mine.shape == theirs.shape
    top = float(theirs.detach().abs().max())
    torch.testing.assert_close(mine.double(), theirs.double(), rtol=0, atol=tolerance * top)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("added", [False, True])
def test_activations_and_their_gradients(isa: str, batch: int, act: int, added: bool) -> None:
    kernels = library("float32", isa)
    images, other = random(batch, 3, 5, 4), random(batch, 3, 5, 4, seed=1)
    upstream = random(batch, 3, 5, 4, seed=2)
    wanted = images.double().requires_grad_()
    expected = ACTIVATIONS[act](wanted + other.double() if added else wanted)
    torch.autograd.backward(expected, upstream.double())
    assert wanted.grad is not None

    x, shape = to_blocked(images, kernels, 2)
    residual, _ = to_blocked(other, kernels, 2)
    y = torch.empty_like(x)
    place = residual.data_ptr() if added else None
    kernels.act(shape.reference, x.data_ptr(), place, y.data_ptr(), act, 2)
    close(from_blocked(y, shape, kernels, 2), expected)
    g, _ = to_blocked(upstream, kernels, 2)
    kernels.act_backward(shape.reference, g.data_ptr(), y.data_ptr(), act, 2)
    close(from_blocked(g, shape, kernels, 2), wanted.grad)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("window", [(3, 2, 1), (2, 2, 0), (3, 1, 1), (1, 2, 0)])
def test_maxima_and_their_gradients(isa: str, batch: int, window: tuple[int, int, int]) -> None:
    kernels = library("float32", isa)
    images = random(batch, 3, 9, 7).round()  # equal values: the first has the gradient
    wanted = images.double().requires_grad_()
    expected = functional.max_pool2d(wanted, *window)
    upstream = random(*expected.shape, seed=1)
    torch.autograd.backward(expected, upstream.double())
    assert wanted.grad is not None

    x, shape = to_blocked(images, kernels, 2)
    g, out = to_blocked(upstream, kernels, 2)
    pooled = pooled_shape(MaxPoolStep(0, 1, *window), shape)
    assert pooled.out == out
    y, gx = torch.empty_like(g), torch.empty_like(x)
    kernels.max_pool(pooled.reference, x.data_ptr(), y.data_ptr(), 2)
    close(from_blocked(y, out, kernels, 2), expected)
    places = [t.data_ptr() for t in (x, y, g, gx)]
    kernels.max_pool_backward(pooled.reference, *places, 2)
    close(from_blocked(gx, shape, kernels, 2), wanted.grad)


class Pooling(nn.Module):
    """Batch norm, ReLU6 and max-pooling behind images as they are."""

    def __init__(self, window: tuple[int, int, int]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.pool = nn.MaxPool2d(*window)
        self.conv = nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(self.pool(functional.relu6(self.norm(images))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("window", [(3, 2, 1), (2, 2, 0), (3, 1, 1), (1, 2, 0), (5, 3, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_maxima_of_batch_norm_are_one_step(
    isa: str, window: tuple[int, int, int], training: bool
) -> None:
    torch.manual_seed(0)
    dense = Pooling(window).train(training)
    nn.init.constant_(dense.norm.weight, 4.0)
    dense.norm.weight.data[1] = -4.0
    nn.init.constant_(dense.conv.weight, 0.5)
    sparse = sparsify_module(copy.deepcopy(dense), isa=isa, threads=2)
    assert [type(step).__name__ for step in sparse.program.steps] == ["NormStep", "ConvStep"]
    for batch in BATCHES:
        images = random(batch, 3, 9, 7).round() / 4  # equal values: the first has the gradient
        exact = copy.deepcopy(dense).double()
        mine, theirs = images.clone().requires_grad_(), images.double().requires_grad_()
        found, expected = sparse(mine), exact(theirs)
        upstream = random(*expected.shape, seed=1)
        sparse.zero_grad()
        torch.autograd.backward(found, upstream)
        torch.autograd.backward(expected, upstream.double())
        assert mine.grad is not None and theirs.grad is not None
        close(found.detach(), expected.detach())
        close(mine.grad, theirs.grad, 1e-5)
        for kind in ("weight", "bias"):
            grads = [n.get_parameter(f"norm.{kind}").grad for n in (sparse.network, exact)]
            assert grads[0] is not None and grads[1] is not None
            close(grads[0], grads[1], 1e-5)
        with torch.no_grad():
            close(sparse.eval()(images), exact.eval()(images.double()), 1e-5)
        sparse.train(training)
        sparse.network.get_submodule("norm").load_state_dict(dense.norm.state_dict())


@pytest.mark.parametrize("batch", BATCHES)
def test_means_and_their_gradients(isa: str, batch: int) -> None:
    kernels = library("float32", isa)
    images, upstream = random(batch, 5, 7, 3), random(batch, 5, seed=1)
    x, shape = to_blocked(images, kernels, 2)
    features, gx = torch.empty(batch, 5), torch.empty_like(x)
    kernels.mean_pool(shape.reference, x.data_ptr(), features.data_ptr(), 2)
    close(features, images.double().mean((2, 3)))
    kernels.mean_pool_backward(shape.reference, upstream.data_ptr(), gx.data_ptr(), 2)
    expected = (upstream.double() / 21)[:, :, None, None].expand(-1, -1, 7, 3)
    close(from_blocked(gx, shape, kernels, 2), expected)


def test_sums_over_channels_leave_empty_lanes_out(isa: str) -> None:
    kernels = library("float32", isa)
    images = random(32, 4, 6, 5)
    x, _ = to_blocked(images, kernels, 1)
    sums = torch.empty(4)
    used = Blocked(32 - kernels.lanes + 1, 4, 6, 5, kernels.lanes)  # one image in the last
    kernels.channel_sums(used.reference, x.data_ptr(), sums.data_ptr(), 2)
    close(sums, images[: used.images].double().sum((0, 2, 3)), 1e-5)


class Between(nn.Module):
    """Batch norm with and without an addition, every activation, both poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.one = nn.BatchNorm2d(6)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.two = nn.BatchNorm2d(6, momentum=0.3)
        self.last = nn.Conv2d(6, 4, 1, bias=False)
        self.three = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.one(self.stem(images))))
        x = functional.relu6(self.two(self.conv(x)) + x)
        return self.three(self.last(x)).mean((2, 3))  # type: ignore[no-any-return]


@pytest.mark.parametrize("batch", [5, 16, 19])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_between_convolutions(
    isa: str, batch: int, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs, statistics and all gradients of a training step, and of a frozen network."""
    monkeypatch.setenv("SPARSEBENCH_KERNEL_ISA", isa)
    assert library("float32").isa == isa
    torch.manual_seed(0)
    dense = Between().train(training)
    for norm in (dense.one, dense.two, dense.three):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -1.0, 3.0)
    sparse = sparsify_module(copy.deepcopy(dense), threads=2)
    dense = dense.double()
    images, upstream = random(batch, 3, 12, 10), random(batch, 4, seed=1)
    mine, theirs = images.clone().requires_grad_(), images.double().requires_grad_()
    found, expected = sparse(mine), dense(theirs)
    torch.autograd.backward(found, upstream)
    torch.autograd.backward(expected, upstream.double())
    assert mine.grad is not None and theirs.grad is not None
    close(found.detach(), expected.detach(), 1e-5)
    close(mine.grad, theirs.grad, 1e-5)
    parameters = dict(sparse.network.named_parameters())
    top = max(float(p.grad.abs().max()) for p in dense.parameters() if p.grad is not None)
    for name, parameter in dense.named_parameters():
        own = parameters.get(name, parameters.get(name.replace("weight", "values")))
        assert own is not None and own.grad is not None and parameter.grad is not None
        error = (own.grad.double() - parameter.grad.reshape(own.shape)).abs().max()
        assert float(error) <= 5e-5 * top, name  # long sums in float32
    for name, buffer in dense.named_buffers():
        close(sparse.network.get_buffer(name), buffer, 1e-5)
