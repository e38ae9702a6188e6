"""Convolutions over small planes as matrix products, against PyTorch's convolutions in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sparsebench.models.matrix_products import (
    SmallPlaneConv2d,
    has_products,
    products_pay,
    use_matrix_products,
)


def gradients(layer: nn.Module, images: Tensor) -> list[Tensor]:
    """Output, gradient of the images, then of every parameter, of a loss that weighs all alike."""
    images = images.detach().requires_grad_()
    output = layer(images)
    wave = torch.sin(torch.arange(output.numel(), dtype=output.dtype)).view_as(output)
    torch.autograd.backward((output * wave).sum())
    assert images.grad is not None
    found = [output.detach(), images.grad]
    return found + [p.grad for p in layer.parameters() if p.grad is not None]


@settings(deadline=None, max_examples=60)
@given(
    channels=st.integers(1, 9),
    outputs=st.integers(1, 9),
    kernel=st.sampled_from([1, 2, 3, 5]),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    sides=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    bias=st.booleans(),
    channels_last=st.booleans(),
)
@example(3, 4, 3, 1, 1, (2, 2), False, True)  # whole
@example(3, 4, 3, 1, 1, (8, 8), True, True)  # the gradient of the weights alone
@example(3, 4, 3, 1, 1, (9, 9), True, False)  # too large for either
@example(3, 4, 3, 2, 1, (5, 4), True, True)  # pixels at the edge that no window reaches
def test_values_and_gradients_are_those_of_a_convolution(
    channels: int,
    outputs: int,
    kernel: int,
    stride: int,
    padding: int,
    sides: tuple[int, int],
    bias: bool,
    channels_last: bool,
) -> None:
    if min(sides) + 2 * padding < kernel:
        return
    torch.manual_seed(channels * 31 + outputs)
    layer = nn.Conv2d(channels, outputs, kernel, stride, padding, bias=bias).double()
    images = torch.randn(3, channels, *sides, dtype=torch.float64)
    if channels_last:
        layer.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    product = copy.deepcopy(layer)
    assert use_matrix_products(product) == 1
    for found, expected in zip(gradients(product, images), gradients(layer, images), strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected)


def test_the_first_layer_needs_no_gradient_of_the_images() -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1)
    product = copy.deepcopy(layer)
    use_matrix_products(product)
    images = torch.randn(2, 3, 4, 4)
    for one in (layer, product):
        torch.autograd.backward(one(images).square().sum())
    torch.testing.assert_close(product.weight.grad, layer.weight.grad)


def test_under_autocast_it_computes_in_bf16_and_weights_keep_float32() -> None:
    layer = nn.Conv2d(16, 16, 3, padding=1)
    product = copy.deepcopy(layer)
    use_matrix_products(product)
    images = torch.randn(4, 16, 3, 3)
    with torch.autocast("cpu", torch.bfloat16):
        output = product(images)
        expected = layer(images)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected, atol=2e-2, rtol=2e-2)
    torch.autograd.backward(output.float().sum())
    assert product.weight.grad is not None and product.weight.grad.dtype == torch.float32


def test_torch_compile_takes_it() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1))
    product = copy.deepcopy(network)
    use_matrix_products(product)
    images = torch.randn(2, 3, 6, 6)
    fused = torch.compile(product, dynamic=False, backend="aot_eager")
    torch.autograd.backward(fused(images).square().sum())
    torch.autograd.backward(network(images).square().sum())
    for found, expected in zip(product.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, (1, 3)),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(4, 4, 3),
        nn.Linear(4, 4),
    ],
)
def test_other_layers_stay_as_they_are(layer: nn.Module) -> None:
    before = type(layer)
    assert not has_products(layer) and use_matrix_products(layer) == 0
    assert type(layer) is before


def test_names_and_tensors_stay() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    state = {name: id(one) for name, one in network.named_parameters()}
    assert has_products(network) and use_matrix_products(network) == 1
    assert isinstance(network[0], SmallPlaneConv2d)
    assert {name: id(one) for name, one in network.named_parameters()} == state
    assert not has_products(network)  # once is enough


@pytest.mark.parametrize(("unit", "bf16"), [(True, True), (True, False), (False, True)])
def test_a_training_that_is_not_tried_out_has_them_where_they_were_seen_to_pay(
    unit: bool, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: unit, raising=False)
    assert products_pay(bf16) is (unit and bf16)
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")  # an older PyTorch
    assert not products_pay(bf16)
