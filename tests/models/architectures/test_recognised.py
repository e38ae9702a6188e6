"""Files that name no architecture, of networks that timm and torchvision have."""

from __future__ import annotations

import pytest
import timm
import torch
from torchvision.models import list_models

from sparsebench.models.architectures.recognised import _TIMM, _TORCHVISION, usual_networks
from sparsebench.models.architectures.shapes import build_shapes
from sparsebench.models.checkpoints.fit import matching_architectures, nearest_architecture


def test_every_name_is_one_of_its_library() -> None:
    for families, known in ((_TIMM, timm.list_models()), (_TORCHVISION, list_models())):
        assert {name for entries in families.values() for name in entries} <= set(known)


@pytest.mark.parametrize(
    "arch",
    [
        *("timm:resnet18d", "timm:regnety_004", "timm:convnext_atto", "timm:convnext_tiny"),
        *("timm:vit_tiny_patch16_224", "timm:deit_small_patch16_224", "timm:efficientnet_b0"),
        *("torchvision:mobilenet_v3_small", "timm:densenet121", "torchvision:shufflenet_v2_x1_0"),
        *("timm:mobilevit_xxs", "timm:repvgg_a0", "timm:convmixer_1024_20_ks9_p14"),
        *("timm:efficientformer_l1", "torchvision:regnet_y_400mf", "torchvision:convnext_tiny"),
        *("torchvision:efficientnet_b0", "torchvision:resnet101", "torchvision:vgg11"),
        *("torchvision:mnasnet1_0", "timm:swin_tiny_patch4_window7_224"),
    ],
)
def test_the_names_of_its_tensors_lead_to_a_network(arch: str) -> None:
    tensors = build_shapes(arch, 3).state_dict()
    assert arch in usual_networks(f"module.{name}" for name in tensors)


def test_a_file_of_a_vision_transformer_is_recognised_by_its_tensors_alone() -> None:
    """timm's ViT and DeiT are one network; the first one's preprocessing is assumed."""
    module = timm.create_model("vit_tiny_patch16_224", num_classes=3)
    twins = ["timm:vit_tiny_patch16_224", "timm:deit_tiny_patch16_224"]
    assert matching_architectures(module.state_dict()) == twins
    module.head = torch.nn.Sequential(torch.nn.Linear(192, 8), torch.nn.Linear(8, 3))
    assert matching_architectures(module.state_dict()) == []
    assert nearest_architecture(module.state_dict()) == twins[0]


def test_names_of_no_family_lead_nowhere() -> None:
    assert usual_networks(["encoder.layer.0.weight", "fc.weight"]) == []
