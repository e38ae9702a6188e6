from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from sparsebench.models.detection.head import DetectionHead, Detector
from sparsebench.models.detection.maps import feature_maps, map_channels
from sparsebench.models.errors import SparsebenchError


def test_a_resnets_maps_are_its_last_three_stages() -> None:
    network = resnet18().eval()
    seen: dict[str, torch.Tensor] = {}
    for name in ("layer2", "layer3", "layer4"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(name, out)
        )
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        network(images)
        expected = list(seen.values())  # tracing calls the hooks too
        maps = feature_maps(network, 64, "net")(images)
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))


def test_names_of_weights_stay_and_nothing_behind_the_maps_does() -> None:
    network = resnet18().eval()
    maps = feature_maps(network, 64, "net")
    assert set(dict(maps.named_parameters())) == {
        name for name, _ in network.named_parameters() if not name.startswith("fc.")
    }
    assert maps.get_parameter("conv1.weight") is network.conv1.weight
    assert map_channels(maps, 64) == (128, 256, 512)


def test_a_detector_gives_a_row_for_each_image() -> None:
    maps = feature_maps(resnet18().eval(), 64, "net")
    detector = Detector(maps, DetectionHead((128, 256, 512), 3)).eval()
    with torch.inference_mode():
        assert detector(torch.randn(2, 3, 64, 64)).shape == (2, 3 * 8 * (8 * 8 + 4 * 4))
        assert Detector(maps)(torch.randn(2, 3, 64, 64)).shape == (2, 128 * 64 + 256 * 16 + 512 * 4)


def test_an_exported_heads_outputs_depend_on_the_images() -> None:
    """Else the gate could not tell a wrong network from a right one."""
    maps = feature_maps(resnet18().eval(), 64, "net")
    detector = Detector(maps, DetectionHead((128, 256, 512), 3)).eval()
    with torch.inference_mode():
        one, other = detector(torch.randn(2, 3, 64, 64))
    assert (one - other).abs().max() > 0.1 * one.abs().max()


def test_a_side_that_is_no_multiple_of_32_is_refused() -> None:
    with pytest.raises(SparsebenchError, match=r"multiple of 32 px, not 70. Take --size 64 or"):
        feature_maps(resnet18().eval(), 70, "net")


def test_a_network_without_such_maps_is_refused() -> None:
    flat = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(SparsebenchError, match="'net' has no feature map of stride 8 at 64 px"):
        feature_maps(flat.eval(), 64, "net")


def test_a_network_that_decides_by_its_images_is_refused() -> None:
    class Deciding(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(SparsebenchError, match="maps of 'net' cannot be found"):
        feature_maps(Deciding().eval(), 64, "net")
