"""What the kernels refuse, in words, because it would be lost or read wrongly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.exporters.kernels.compiled.build import find_compiler
from sparsebench.exporters.kernels.training.module import sparsify_module
from sparsebench.models.errors import SparsebenchError
from tests.exporters.kernels.training.test_users_modules import Net, pruned, some_images

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (some_images()[:, :1].contiguous(), "takes 3 channels and got 1"),
        (torch.zeros(2, 4, 8, 8).double(), "takes 3 channels and got 4"),
        (some_images().float(), "torch.float32 on cpu; this network computes in torch.float64"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "torch.uint8"),
        (some_images()[0], r"shape \(3, 12, 12\)"),
        (some_images()[:0], r"\[N, C, H, W\], N > 0"),
    ],
)
def test_images_that_do_not_fit_are_refused(images: Tensor, words: str) -> None:
    """The kernels see addresses: a wrong shape would be read beyond its end."""
    with pytest.raises(SparsebenchError, match=words):
        sparsify_module(pruned(Net()))(images)


def test_parameters_that_were_converted_are_refused() -> None:
    with pytest.raises(SparsebenchError, match="moved from torch.float64"):
        sparsify_module(pruned(Net())).float()(some_images())


def test_an_addition_that_broadcasts_is_refused() -> None:
    def broadcasting(net: Any, x: Tensor) -> Tensor:
        out: Tensor = net.fc(functional.relu(net.a(x) + net.one(x)).mean((2, 3)))
        return out

    with pytest.raises(SparsebenchError, match="8×12×12 and 1×12×12 are added"):
        sparsify_module(pruned(Net(broadcasting)))(some_images())


def test_one_value_a_channel_has_no_variance() -> None:
    def shrunk(net: Any, x: Tensor) -> Tensor:
        out: Tensor = net.fc(net.norm(functional.max_pool2d(net.a(x), 12)).mean((2, 3)))
        return out

    dense = pruned(Net(shrunk)).train()
    for network in (dense, sparsify_module(dense)):
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            network(some_images()[:1])
        assert network.eval()(some_images()[:1]).isfinite().all()


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(x, weight, self.bias, self.stride, self.padding)


class Halved(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 0.5


def with_layer(name: str, layer: nn.Module) -> nn.Module:
    net = Net()
    setattr(net, name, layer)
    return pruned(net)


def tied() -> nn.Module:
    net = Net()
    net.c = nn.Conv2d(8, 8, 3, padding=1)
    net.c.weight = net.b.weight
    return pruned(net)


def hooked() -> nn.Module:
    net = pruned(Net())
    net.get_submodule("b").register_forward_hook(lambda layer, inputs, out: out * 2)
    return net


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (with_layer("b", Standardised(8, 8, 3, padding=1)), "'b' is a Standardised"),
        (with_layer("norm", Halved(8)), "cannot reach the masked layer 'b'"),
        (with_layer("b", nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3))), "parametr"),
        (with_layer("b", nn.utils.spectral_norm(nn.Conv2d(8, 8, 3))), "'b' has a hook"),
        (tied(), "'b.weight' and 'c.weight' are one tensor"),
        (hooked(), "'b' has a hook"),
        (nn.Conv2d(3, 4, 1), "alone is no network"),
        (nn.Sequential(nn.Conv1d(3, 4, 1)), "nothing that the kernels could make sparse"),
    ],
)
def test_what_would_be_lost_is_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(SparsebenchError, match=words):
        sparsify_module(module)


def pooled_between(net: Any, x: Tensor) -> Any:
    return net.fc(net.b(net.pool(net.a(x))).mean((2, 3)))


@pytest.mark.parametrize(
    ("forward", "pool", "words"),
    [
        (pooled_between, nn.AvgPool2d(3, 1, 1), r"'pool' \(AvgPool2d\(kernel_size=3, stride=1"),
        (
            pooled_between,
            nn.MaxPool2d(3, 1, 1, ceil_mode=True),
            r"'pool' \(MaxPool2d.*ceil_mode=True",
        ),
        (pooled_between, nn.SyncBatchNorm(8), r"'pool' \(SyncBatchNorm\(8"),
    ],
)
def test_a_refusal_names_the_type_and_the_options(
    forward: Any, pool: nn.Module, words: str
) -> None:
    network = Net(forward)
    network.add_module("pool", pool)
    with pytest.raises(SparsebenchError, match=words) as caught:
        sparsify_module(pruned(network))
    assert "return one tensor" not in caught.value.fix


def test_layers_of_another_kind_may_stand_behind_the_masked_ones() -> None:
    """Without zeros of their own they stay PyTorch's."""

    def behind(net: Any, x: Tensor) -> Tensor:
        out: Tensor = net.fc(torch.sigmoid(net.b(torch.sigmoid(net.a(x)))).mean((2, 3)))
        return out

    dense = Net(behind)
    with torch.no_grad():
        dense.a.weight[:, 0] = 0
    dense.b = Standardised(8, 8, 3, padding=1)
    dense.double()
    sparse = sparsify_module(dense)
    assert list(sparse.convolutions()) == ["a"]
    torch.testing.assert_close(sparse(some_images()), dense(some_images()))


def test_a_hook_of_a_weight_is_told() -> None:
    net = pruned(Net())
    net.get_parameter("b.weight").register_hook(lambda grad: grad)  # type: ignore[no-untyped-call]
    with pytest.warns(UserWarning, match=r"hook of the weight 'b\.weight'"):
        sparsify_module(net)
