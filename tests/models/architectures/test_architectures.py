"""What every architecture must do; a new one is tested by being in the registry."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from sparsebench.models.architectures import (
    ARCHITECTURES,
    build,
    classifier_name,
    classifiers,
    feature_dim,
    feature_extractor,
    find_architecture,
    prunable_layers,
)
from sparsebench.models.errors import UnknownNameError


@pytest.mark.parametrize("arch", classifiers())
def test_the_features_are_what_the_classifier_reads(arch: str) -> None:
    torch.manual_seed(0)
    module = build(arch, num_classes=7).eval()
    extractor = feature_extractor(module, arch)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        features = extractor(images)
        logits = module(images)
        classifier = module.get_submodule(classifier_name(arch))
        assert features.shape == (2, feature_dim(arch))
        assert logits.shape == (2, 7)
        if arch == "squeezenet1_0":  # its classifier stands before the pooling
            assert bool((logits >= classifier(features) - 1e-5).all())  # Jensen, ReLU convex
        else:
            assert torch.equal(classifier(features), logits)


@pytest.mark.parametrize("arch", classifiers())
def test_the_extractor_shares_the_weights_under_their_names(arch: str) -> None:
    module = build(arch, num_classes=3)
    extractor = feature_extractor(module, arch)
    whole = dict(module.named_parameters()) | dict(module.named_buffers())
    parts = dict(extractor.named_parameters()) | dict(extractor.named_buffers())
    assert all(whole[name] is tensor for name, tensor in parts.items())
    assert {n.rpartition(".")[0] for n in whole.keys() - parts.keys()} == {classifier_name(arch)}
    assert isinstance(module.get_submodule(classifier_name(arch)), nn.Linear)


@pytest.mark.parametrize("arch", classifiers())
def test_prunable_layers_end_with_the_classifier_and_are_in_order(arch: str) -> None:
    layers = prunable_layers(build(arch))
    names = list(layers)
    first = layers[names[0]]
    assert isinstance(first, nn.Conv2d) and first.in_channels == 3
    assert names[-1] == classifier_name(arch)
    assert all(isinstance(m, nn.Conv2d | nn.Linear) for m in layers.values())


# Convolutions and linear layers by the papers' definitions of the networks.
@pytest.mark.parametrize(
    ("arch", "count"),
    [
        ("resnet18", 21),
        ("resnet34", 37),
        ("resnet50", 54),
        ("mobilenet_v2", 53),
        ("mobilenet_v1", 28),
        ("squeezenet1_0", 26),
        ("resnet50_rigl", 54),
    ],
)
def test_the_number_of_prunable_layers(arch: str, count: int) -> None:
    assert len(prunable_layers(build(arch))) == count


@pytest.mark.parametrize("size", [64, 97, 128])
def test_other_input_sizes_are_accepted(size: int) -> None:
    for arch in ("resnet18", "mobilenet_v2", "efficientnet_lite0", "squeezenet1_0"):
        extractor = feature_extractor(build(arch).eval(), arch)
        with torch.no_grad():
            assert extractor(torch.zeros(1, 3, size, size)).shape == (1, feature_dim(arch))


def test_an_unknown_architecture_offers_near_names() -> None:
    with pytest.raises(UnknownNameError, match="'resnet18'"):
        build("resnet81")


def test_specs_are_known_without_torch() -> None:
    program = (
        "import sys; from sparsebench.models.architectures import ARCHITECTURES, feature_dim;"
        "[feature_dim(a) for a in ARCHITECTURES];"
        "sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_an_architecture_of_ones_own_joins_by_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ARCHITECTURES, "_targets", dict(ARCHITECTURES._targets))
    ARCHITECTURES.register("tiny", f"{__name__}:TINY")
    assert feature_dim("tiny") == 4
    assert build("tiny", 2)(torch.zeros(1, 3, 8, 8)).shape == (1, 2)


def _tiny(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    )


TINY = type(find_architecture("resnet18"))("tiny", _tiny, classifier="3", feature_dim=4)
