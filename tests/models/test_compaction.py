"""Removing dead channels changes nothing that a network computes, only its shape."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import pytest
import torch
from torch import nn

from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.torch_module import build_module
from sparsebench.models.architectures import (
    ARCHITECTURES,
    classifier_name,
    classifiers,
    feature_extractor,
    prunable_layers,
)
from sparsebench.models.channels import padded
from sparsebench.models.compaction import compact, compact_network
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.generated import generate
from sparsebench.models.masks import mask_of
from sparsebench.models.names import BackboneName
from sparsebench.models.weights_hash import weights_hash
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import load_backbone

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3)) * 4 - 2
IMAGES *= torch.tensor([0.2, 1.0, 4.0]).reshape(3, 1, 1, 1)


@functools.cache
def _fresh(arch: str) -> nn.Module:
    return generate(arch, "dense", 0.0, 10)


def lively(arch: str, share: float, seed: int = 0) -> nn.Module:
    """A random network whose batch norms shift, with a share of its filters all zero.

    Random layers in a row forget the image (their outputs tend to a constant), so batch
    norms weigh more than in a fresh network.
    """
    module = copy.deepcopy(_fresh(arch))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.bias.copy_(torch.randn(norm.bias.shape, generator=draw) * 0.2)
                norm.weight.fill_(1.5)
                norm.running_mean = torch.randn(norm.bias.shape, generator=draw) * 0.1
        for name, layer in prunable_layers(module).items():
            if name != classifier_name(arch):
                layer.weight[torch.rand(layer.weight.shape[0], generator=draw) < share] = 0
    return module.eval()


def outputs(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = module(IMAGES)
    return result


def assert_same(smaller: nn.Module, module: nn.Module) -> None:
    expected, got = outputs(module), outputs(smaller)
    # Compared with what the images change: constant outputs would say nothing.
    difference = float((expected[0] - expected[2]).abs().max())
    assert float((expected - got).abs().max()) < 1e-3 * difference


# The larger ResNets are wired like ResNet-18, and slow to make. What other tests register
# is none of the suite's.
SMALL = [
    a
    for a in classifiers()
    if a not in ("resnet34", "resnet50", "resnet50_rigl")
    and ARCHITECTURES.target(a).startswith("sparsebench.")
]
assert SMALL  # else the test below would be none


@pytest.mark.parametrize("arch", SMALL)
def test_outputs_and_features_stay_and_the_shape_shrinks(arch: str) -> None:
    module = lively(arch, 0.4)
    before = weights_hash(module)
    result = compact(module, arch)
    assert_same(result.module, module)
    assert_same(feature_extractor(result.module, arch), feature_extractor(module, arch))
    assert weights_hash(module) == before
    assert sum(result.removed.values()) > 100
    assert sum(p.numel() for p in result.module.parameters()) < 0.8 * sum(
        p.numel() for p in module.parameters()
    )


def test_every_dead_filter_inside_a_residual_block_goes_but_for_one_carrier() -> None:
    module = lively("resnet18", 0.0)
    block = module.get_submodule("layer2.1")
    assert isinstance(block.conv1, nn.Conv2d)
    with torch.no_grad():
        block.conv1.weight[10:40] = 0
    result = compact(module, "resnet18")
    # The 30 constants are positive for some, so that one channel must carry them through
    # the padded second convolution.
    assert result.removed == {"layer2.1.conv1": 29}
    assert_same(result.module, module)


def test_constants_that_relu_makes_zero_need_no_carrier() -> None:
    module = lively("resnet18", 0.0)
    block = module.get_submodule("layer2.1")
    assert isinstance(block.conv1, nn.Conv2d) and isinstance(block.bn1, nn.BatchNorm2d)
    with torch.no_grad():
        block.conv1.weight[10:40] = 0
        block.bn1.bias[10:40] = -1
        block.bn1.running_mean = torch.zeros(128)
    result = compact(module, "resnet18")
    assert result.removed == {"layer2.1.conv1": 30}
    assert_same(result.module, module)


def test_a_residual_channel_goes_only_if_all_that_is_added_is_dead() -> None:
    module = lively("resnet18", 0.0)
    stream = ["conv1", "layer1.0.conv2", "layer1.1.conv2"]
    with torch.no_grad():
        for name in stream[:-1]:
            module.get_submodule(name).weight[5:25] = 0  # type: ignore[operator]
    partly = compact(module, "resnet18")
    assert partly.removed == {}
    with torch.no_grad():
        module.get_submodule("layer1.1.conv2").weight[5:25] = 0  # type: ignore[operator]
    result = compact(module, "resnet18")
    assert set(result.removed) == set(stream)
    assert set(result.removed.values()) <= {19, 20}
    assert_same(result.module, module)


def test_a_filter_that_nobody_reads_goes_too() -> None:
    module = lively("resnet18", 0.0)
    with torch.no_grad():
        module.get_submodule("layer3.0.conv2").weight[:, 7] = 0  # type: ignore[operator]
    result = compact(module, "resnet18")
    assert result.removed == {"layer3.0.conv1": 1}
    assert_same(result.module, module)


def test_features_keep_their_width_even_where_they_are_constant() -> None:
    module = lively("resnet18", 0.0)
    with torch.no_grad():
        for name in ("layer4.0.conv2", "layer4.0.downsample.0", "layer4.1.conv2"):
            module.get_submodule(name).weight[100:] = 0  # type: ignore[operator]
    result = compact(module, "resnet18")
    assert_same(result.module, module)
    assert outputs(feature_extractor(result.module, "resnet18")).shape == (3, 512)


def test_a_block_that_is_all_dead_keeps_one_filter() -> None:
    module = lively("resnet18", 0.0)
    with torch.no_grad():
        module.get_submodule("layer1.0.conv1").weight.zero_()  # type: ignore[operator]
    result = compact(module, "resnet18")
    assert result.removed == {"layer1.0.conv1": 63}
    assert_same(result.module, module)


class Biased(nn.Module):
    """No batch norm: constants have biases to go to, and a concatenation to pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Conv2d(8, 6, 1)
        self.right = nn.Conv2d(8, 6, 3, padding=1)
        self.join = nn.Conv2d(12, 7, 3, padding=1)
        self.head = nn.Linear(7, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        early = torch.relu(self.first(images))
        both = torch.cat([torch.relu(self.left(early)), torch.relu(self.right(early))], 1)
        logits: torch.Tensor = self.head(self.join(both).relu().mean((2, 3)))
        return logits


class Odd(nn.Module):
    """Operations that the tracer does not know: everything around them must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.second = nn.Conv2d(8, 8, 3, groups=2)
        self.third = nn.Conv2d(8, 8, 1, bias=False)
        self.head = nn.Linear(8, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        early = self.first(images) * 2
        late = torch.softmax(self.third(torch.relu(self.second(early))), 1)
        logits: torch.Tensor = self.head(late.amax((2, 3)))
        return logits


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("network", [Biased, Odd])
def test_any_pattern_of_dead_filters(network: type[nn.Module], seed: int) -> None:
    torch.manual_seed(seed)
    module = network().eval()
    share = (0.2, 0.5, 0.5, 0.8, 1.0)[seed]
    with torch.no_grad():
        for layer in prunable_layers(module).values():
            layer.weight[torch.rand(layer.weight.shape[0]) < share] = 0
    images = torch.randn(2, 3, 12, 12)
    result = compact_network(module, 12, "head")
    assert result.removed or network is Odd
    with torch.no_grad():
        assert torch.allclose(result.module(images), module(images), atol=1e-5)


def test_padding_is_told() -> None:
    assert not padded(nn.Conv2d(1, 1, 1)) and not padded(nn.Conv2d(1, 1, 3))
    assert padded(nn.Conv2d(1, 1, 3, padding=1)) and padded(nn.Conv2d(1, 1, 3, padding="same"))
    assert padded(nn.Conv2d(1, 1, 1, padding=1))


def test_the_variant_is_a_backbone_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    name = "resnet18/magnitude-98+compact"
    card = find_card(name)
    assert (card.name, card.dense_partner, card.sparsity) == (name, "resnet18/dense", 0.98)
    backbone, original = load_backbone(name), load_backbone("resnet18/magnitude-98")
    weights = sum(kept.numel() for kept in backbone.mask.values())
    assert weights < sum(kept.numel() for kept in original.mask.values())
    assert_same(backbone.module, original.module)
    artifact = export_backbone(backbone, size=64)
    rebuilt = build_module(artifact)
    assert_same(rebuilt, feature_extractor(original.module, "resnet18"))


@pytest.mark.parametrize("name", ["structured-90", "gmp-98", "acdc-98"])
def test_what_the_zoo_s_dead_filters_leave_computes_the_same(name: str) -> None:
    smaller = load_backbone(f"resnet18/{name}+compact")
    original = load_backbone(f"resnet18/{name}")
    weights = sum(kept.numel() for kept in smaller.mask.values())
    assert weights < 0.95 * sum(kept.numel() for kept in original.mask.values())
    assert_same(smaller.module, original.module)


def test_a_compact_network_trains_with_its_mask() -> None:
    module = compact(lively("resnet18", 0.4), "resnet18").module
    mask = mask_of(module)
    module.train()
    module(IMAGES).square().sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
    assert any(not bool(kept.all()) for kept in mask.values()) or mask


def test_names_with_variants() -> None:
    name = BackboneName.parse("resnet18/acdc-90+compact@a/b+c.pth")
    assert (name.variant, name.source, name.sparsity) == ("compact", "a/b+c.pth", 0.9)
    assert str(name) == "resnet18/acdc-90+compact@a/b+c.pth"
    with pytest.raises(UnknownNameError, match="Did you mean 'compact'"):
        find_card("resnet18/magnitude-90+compct")
    with pytest.raises(SparsebenchError, match="dense backbone"):
        find_card("resnet18/dense+compact")
    with pytest.raises(SparsebenchError, match="is not a valid backbone name"):
        find_card("resnet18/magnitude-90+")
