"""Which of the libraries' networks a file may hold, by the names of its tensors.

timm and torchvision know more than a thousand networks, and building one takes a good part of a
second even without values. So a name that only one family has leads to that family's usual
members, and these are compared tensor by tensor (:mod:`sparsebench.models.checkpoints.fit`).
Whoever has another one names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# A part of a tensor's name -> networks that may have it; of equal ones (ViT and DeiT) the first
# gives the preprocessing.
_TIMM = {
    r"pos_embed$": (
        *("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"),
        *("deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224"),
        *("vit_small_patch32_224", "vit_base_patch32_224", "deit3_small_patch16_224"),
    ),
    r"layers\.0\.blocks\.0\.attn\.relative": (
        *("swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224"),
        "swin_base_patch4_window7_224",
    ),
    r"blocks\.0\.mlp_tokens\.": ("mixer_s32_224", "mixer_s16_224", "mixer_b16_224"),
    r"stages\.0\.blocks\.0\.conv_dw\.": (
        *("convnext_atto", "convnext_femto", "convnext_pico", "convnext_nano", "convnext_tiny"),
        *("convnext_small", "convnext_base", "convnextv2_atto", "convnextv2_nano"),
        "convnextv2_tiny",
    ),
    r"features\.denseblock1\.": ("densenet121", "densenet169", "densenet201", "densenet161"),
    r"conv_stem\.": (
        *("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3"),
        *("mobilenetv3_small_100", "mobilenetv3_large_100", "mobilenetv2_100", "mnasnet_100"),
        *("mobilenetv3_small_050", "mobilenetv3_small_075", "efficientnet_lite0"),
    ),
    r"s1\.b1\.conv1\.conv\.": (
        *("regnety_002", "regnety_004", "regnety_006", "regnety_008", "regnety_016"),
        *("regnety_032", "regnetx_002", "regnetx_004", "regnetx_006", "regnetx_008"),
    ),
    r"conv1\.0\.": ("resnet18d", "resnet26d", "resnet34d", "resnet50d", "resnet101d"),
    r"stages\.\d\.\d\.transformer\.": ("mobilevit_xxs", "mobilevit_xs", "mobilevit_s"),
    r"token_mixer\.attention_biases": ("efficientformer_l1", "efficientformer_l3"),
    r"conv_kxk\.conv\.": ("repvgg_a0", "repvgg_a1", "repvgg_a2", "repvgg_b0"),
    r"blocks\.0\.0\.fn\.0\.": ("convmixer_1024_20_ks9_p14", "convmixer_768_32"),
}
_TORCHVISION = {
    r"layer1\.0\.conv1\.": ("resnet101", "resnet152", "wide_resnet50_2", "resnext50_32x4d"),
    r"stage2\.0\.branch1\.": (
        *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    ),
    r"features\.1\.block\.0\.0\.": ("mobilenet_v3_small", "mobilenet_v3_large"),
    r"features\.1\.0\.block\.0\.0\.": (
        *("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_v2_s"),
    ),
    r"features\.1\.0\.block\.0\.(weight|bias)": (
        *("convnext_tiny", "convnext_small", "convnext_base"),
    ),
    r"trunk_output\.block1\.": (
        *("regnet_y_400mf", "regnet_y_800mf", "regnet_y_1_6gf", "regnet_y_3_2gf"),
        *("regnet_x_400mf", "regnet_x_800mf", "regnet_x_1_6gf"),
    ),
    r"layers\.8\.0\.layers\.": ("mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"),
    r"features\.0\.weight": ("alexnet", "vgg11", "vgg13", "vgg16", "vgg19"),
    r"features\.1\.running_mean": ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
}


def usual_networks(tensors: Iterable[str]) -> list[str]:
    """Library networks, ``timm:NAME`` or ``torchvision:NAME``, whose family tensors' names tell.

    Args:
        tensors: names; what stands in front of them, as ``module.``, does not count.
    """
    names = list(tensors)
    return [
        f"{library}:{entry}"
        for library, families in (("timm", _TIMM), ("torchvision", _TORCHVISION))
        for pattern, entries in families.items()
        if any(re.search(rf"(^|\.){pattern}", name) for name in names)
        for entry in entries
    ]
