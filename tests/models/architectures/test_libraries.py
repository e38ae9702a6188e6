"""Networks of timm and torchvision by their libraries' names."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from timm.data.config import resolve_data_config
from torchvision.models import get_model

from sparsebench.models.architectures import (
    ARCHITECTURES,
    build,
    feature_extractor,
    find_architecture,
    library_of,
)
from sparsebench.models.checkpoints.layouts import with_one_head
from sparsebench.models.errors import SparsebenchError, UnknownNameError
from sparsebench.models.generated import generate
from sparsebench.models.masks import mask_of, sparsity
from sparsebench.models.weights_hash import weights_hash
from sparsebench.models.zoo import find_card

# Small networks that timm ships for tests, one of each kind.
SMALL = ("timm:test_vit", "timm:test_convnext", "timm:test_efficientnet", "timm:test_byobnet")


@pytest.mark.parametrize(
    "arch", [*SMALL, "timm:mobilenetv3_small_100", "timm:vit_tiny_patch16_224"]
)
def test_the_preprocessing_is_timms(arch: str) -> None:
    spec = find_architecture(arch)
    wanted = resolve_data_config({}, model=spec.builder(10))  # type: ignore[no-untyped-call]
    ours = spec.preprocessing
    assert (3, ours.size, ours.size) == tuple(wanted["input_size"])
    assert ours.resize == int(ours.size / wanted["crop_pct"])
    assert (ours.interpolation, ours.mean, ours.std) == (
        wanted["interpolation"],
        wanted["mean"],
        wanted["std"],
    )


@pytest.mark.parametrize("arch", [*SMALL, "torchvision:shufflenet_v2_x0_5"])
def test_the_classifier_reads_the_pooled_features(arch: str) -> None:
    spec = find_architecture(arch)
    network = build(arch, 7).eval()
    images = torch.randn(2, 3, spec.preprocessing.size, spec.preprocessing.size)
    with torch.inference_mode():
        features = feature_extractor(network, arch)(images)
        logits = network.get_submodule(spec.classifier)(features)
        assert features.shape == (2, spec.feature_dim)
        torch.testing.assert_close(logits, network(images))


def test_torchvision_says_what_its_weights_saw() -> None:
    spec = find_architecture("torchvision:mobilenet_v3_small")
    assert spec.torchvision is not None
    # https://pytorch.org/vision/stable/models.html: acc@1 67.668
    assert spec.torchvision.top1 == pytest.approx(0.67668)
    assert find_card("torchvision:mobilenet_v3_small/dense@torchvision").trained


def test_timms_own_weights_are_a_source() -> None:
    card = find_card("timm:vit_tiny_patch16_224/dense@timm")
    assert (card.dense_partner, card.licence, card.num_classes) == (card.name, "apache-2.0", 1000)


def test_a_bare_name_is_told_its_library() -> None:
    with pytest.raises(UnknownNameError, match="'timm:convnext_atto'"):
        find_card("convnext_atto/dense@generated")
    with pytest.raises(UnknownNameError, match="'timm:vit_tiny_patch16_224'"):
        find_architecture("timm:vit_tinny_patch16_224")
    assert "timm:convnext_atto" in ARCHITECTURES and "timm:nothing" not in ARCHITECTURES
    assert (library_of("timm:convnext_atto"), library_of("resnet18")) == ("timm", None)
    assert not any(library_of(name) for name in ARCHITECTURES)


@pytest.mark.parametrize(
    ("arch", "said"),
    [
        ("torchvision:vit_b_16", "keeps the weights of its MultiheadAttention"),
        ("torchvision:squeezenet1_0", "does not end in one linear classifier"),
        ("timm:deit_tiny_distilled_patch16_224", "read different features"),
    ],
)
def test_what_cannot_be_pruned_or_headed_is_refused(arch: str, said: str) -> None:
    with pytest.raises(SparsebenchError, match=said):
        find_architecture(arch)


def test_numbers_that_need_real_tensors_are_no_hindrance() -> None:
    assert find_architecture("torchvision:regnet_y_400mf").feature_dim == 440
    ours, own = build("torchvision:regnet_y_400mf", 10), get_model("regnet_y_400mf", num_classes=10)
    assert ours.state_dict().keys() == own.state_dict().keys()


def test_two_averaged_classifiers_are_one() -> None:
    torch.manual_seed(0)
    own = timm.create_model("efficientformer_l1", num_classes=5).eval()
    ours = build("timm:efficientformer_l1", 5).eval()
    ours.load_state_dict(with_one_head(own.state_dict(), "head"))
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), own(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", SMALL)
def test_generated_networks_are_exactly_sparse_and_awake(arch: str) -> None:
    network, again = generate(arch, "uniform", 0.9), generate(arch, "uniform", 0.9)
    assert weights_hash(network) == weights_hash(again)
    assert sparsity(mask_of(network)) == pytest.approx(0.9, abs=1e-4)
    asleep = re.compile(r"(gamma|norm\d?\.weight|bn\d?\.weight)$")
    scales = [p for name, p in network.named_parameters() if asleep.search(name)]
    assert scales and all(bool((scale.abs() > 0.01).any()) for scale in scales)
