from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import get_weight

from sparsebench.models.architectures import build, classifiers, find_architecture
from sparsebench.models.costs import bytes_ratio, count_costs, flops_ratio, total_cost
from sparsebench.models.errors import SparsebenchError


@pytest.mark.parametrize("arch", [*classifiers(), "yolov3", "yolov5n"])
def test_multiplications_agree_with_torch_s_own_counter(arch: str) -> None:
    module = build(arch).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 3, 96, 64))
    total = total_cost(count_costs(module, (3, 96, 64)))
    assert 2 * total.macs == counter.get_total_flops()


@pytest.mark.parametrize("arch", ["resnet18", "resnet34", "resnet50", "mobilenet_v2"])
def test_totals_agree_with_what_torchvision_publishes(arch: str) -> None:
    published = find_architecture(arch).torchvision
    assert published is not None
    meta = get_weight(published.entry).meta
    total = total_cost(count_costs(build(arch)))
    assert total.macs / 1e9 == pytest.approx(meta["_ops"], abs=0.0006)
    # num_params counts batch norm and biases as well.
    assert 0.97 * meta["num_params"] < total.params < meta["num_params"]


def test_a_convolution_by_hand() -> None:
    network: Any = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False))
    network[0].weight.data.fill_(1.0)
    network[0].weight.data[:2] = 0
    (cost,) = count_costs(network, (3, 9, 8))
    # 5 x 4 places, 8 filters of 3 x 3 x 3 weights, two of them empty.
    assert (cost.kind, cost.params, cost.nonzeros) == ("conv", 216, 162)
    assert (cost.macs, cost.nonzero_macs) == (216 * 20, 162 * 20)
    assert flops_ratio([cost]) == 0.75


def test_depthwise_and_repeated_layers_by_hand() -> None:
    depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
    network = nn.Sequential(depthwise, depthwise, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.append(nn.Linear(4, 5))
    costs = {c.name: c for c in count_costs(nn.Sequential(nn.Conv2d(3, 4, 1), *network), (3, 6, 6))}
    assert costs["1"].kind == "depthwise"
    assert costs["1"].macs == 2 * 36 * 36  # the same layer runs twice
    assert (costs["5"].kind, costs["5"].macs) == ("linear", 20)


def test_counting_leaves_the_network_as_it_was() -> None:
    module: Any = build("resnet18").train()
    before = {n: t.clone() for n, t in module.state_dict().items()}
    module.layer1.eval()
    count_costs(module, (3, 64, 64))
    assert module.training and not module.layer1.training and module.layer2.training
    assert all(torch.equal(t, before[n]) for n, t in module.state_dict().items())
    assert not any(m._forward_hooks for m in module.modules())


def test_an_input_that_is_too_small_is_refused_clearly() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 7))
    with pytest.raises(SparsebenchError, match="larger input"):
        count_costs(network, (3, 4, 4))


def test_a_network_without_weights_costs_nothing() -> None:
    assert flops_ratio(count_costs(nn.Sequential(nn.ReLU()))) == 1.0


def test_bytes_of_the_compact_form_by_hand() -> None:
    network: Any = nn.Sequential(nn.Linear(32, 10, bias=False))
    network[0].weight.data.fill_(1.0)
    assert bytes_ratio(count_costs(network, (1, 1, 32))) == 1.0  # never more than dense
    network[0].weight.data[1:] = 0
    # 32 of 320 numbers of 4 bytes, and 320 bits: 128 + 40 of 1280 bytes.
    assert bytes_ratio(count_costs(network, (1, 1, 32))) == 168 / 1280
