from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparsebench.models.architectures import build, prunable_layers
from sparsebench.models.masks import mask_of, sparsity
from sparsebench.models.sparsify.channel_groups import channel_groups
from sparsebench.models.sparsify.method import Run
from sparsebench.models.sparsify.structured import StructuredFilters, importance
from tests.models.sparsify.tiny import weights_of


def pruned(arch: str, level: float) -> tuple[nn.Module, StructuredFilters]:
    torch.manual_seed(0)
    module = build(arch, 10)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
            assert norm.running_mean is not None
            nn.init.uniform_(norm.running_mean, -0.1, 0.1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    run = Run(module, weights_of(module), optimizer, 100, 10, lambda: iter(()))
    method = StructuredFilters(level)
    method.prepare(run)
    method.prune(run, level)
    return module, method


@pytest.mark.parametrize(
    ("arch", "level"),
    [("resnet18", 0.9), ("resnet18", 0.5), ("resnet50", 0.8), ("efficientnet_lite0", 0.5)],
)
def test_sparsity_is_within_a_tenth_of_a_point(arch: str, level: float) -> None:
    module, method = pruned(arch, level)
    assert sparsity(mask_of(module)) == pytest.approx(level, abs=0.001)
    for group, kept in zip(channel_groups(module), method.kept, strict=True):
        assert bool(kept.any())
        assert bool(kept.all()) or not group.fixed


def test_what_is_concatenated_is_left_alone() -> None:
    """SqueezeNet's expansions are read side by side; its squeezes are channels of their own."""
    groups = channel_groups(build("squeezenet1_0", 10))
    assert all(group.size > 0 for group in groups)
    free = {name for group in groups if not group.fixed for name in group.producers}
    squeezes = {f"features.{number}.squeeze" for number in (3, 4, 5, 7, 8, 9, 10, 12)}
    assert free == squeezes | {"features.0"}


def test_residual_streams_of_a_resnet_are_one_group_each() -> None:
    groups = channel_groups(build("resnet18", 10))
    streams = [g for g in groups if len(g.producers) > 1]
    assert [g.size for g in streams] == [64, 128, 256, 512]
    assert set(streams[0].producers) == {"conv1", "layer1.0.conv2", "layer1.1.conv2"}
    assert set(streams[0].consumers) == {
        "layer1.0.conv1",
        "layer1.1.conv1",
        "layer2.0.conv1",
        "layer2.0.downsample.0",
    }
    assert set(streams[3].producers) == {
        "layer4.0.conv2",
        "layer4.0.downsample.0",
        "layer4.1.conv2",
    }
    assert "fc" in streams[3].consumers


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2", "efficientnet_lite0"])
def test_removed_channels_carry_nothing(arch: str) -> None:
    """Whatever is put where a channel was, the outputs stay: it can be cut out."""
    module, method = pruned(arch, 0.5)
    module.eval()
    images = torch.randn(2, 3, 64, 64)
    hooks = []
    groups = channel_groups(module)
    with torch.inference_mode():
        expected = module(images)
        for group, kept in zip(groups, method.kept, strict=True):
            for name in group.producers:

                def disturb(
                    _: nn.Module, __: object, output: Tensor, gone: Tensor = ~kept
                ) -> Tensor:
                    return output + gone.view(1, -1, 1, 1) * 100.0

                hooks.append(module.get_submodule(name).register_forward_hook(disturb))
        disturbed = module(images)
    assert len(hooks) > 10
    # Behind the batch norm, whose entry is zero, nothing is left of it.
    assert torch.allclose(expected, disturbed, atol=1e-5)
    removed = sum(int((~k).sum()) for k in method.kept)
    assert removed > 0


def test_filters_with_the_smallest_sums_go_first() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    weights = {f"{n}.weight": m.weight.detach() for n, m in prunable_layers(module).items()}
    with torch.no_grad():
        for channel, size in enumerate((0.4, 0.1, 0.2, 0.3)):
            weights["0.weight"][channel] = size
    group = next(g for g in channel_groups(module) if g.producers == ["0"])
    assert importance(weights, group).tolist() == pytest.approx([1.6, 0.4, 0.8, 1.2])
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    method = StructuredFilters(0.6)
    run = Run(module, weights_of(module), optimizer, 100, 10, lambda: iter(()))
    method.prepare(run)
    method.prune(run, 0.6)  # each of the four channels is 27 + 18 of 180 weights
    masks = mask_of(module)
    assert masks["0.weight"].flatten(1).any(1).tolist() == [True, False, False, True]
    assert masks["2.weight"].any(0).flatten(1).any(1).tolist() == [True, False, False, True]
    assert bool(masks["2.weight"].flatten(1).any(1).all())  # logits stay
