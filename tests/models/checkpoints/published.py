"""Files in the layouts that were published, made from networks of the suite.

The names and wrappings are those of the authors' own code: the inverse of what the formats
do, written down from the model definitions and save functions of their repositories.
"""

from __future__ import annotations

import copy
import functools
import re
import sys
import types
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench.models.architectures import build, prunable_layers

CLASSES = 10


@functools.cache
def _network(arch: str) -> nn.Module:
    with torch.device("meta"):
        module = build(arch, CLASSES)
    module = module.to_empty(device="cpu").eval()
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.dim() in (2, 4):
                kept = torch.rand(tensor.shape, generator=draw) < 0.2
                fan = 0.2 * tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=draw) * kept * (2 / fan) ** 0.5)
            elif name.endswith("running_var"):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=draw))
            elif name.endswith("num_batches_tracked"):
                tensor.zero_()
            else:
                tensor.copy_(torch.randn(tensor.shape, generator=draw) * 0.1)
                tensor += float(name.endswith("weight"))
    return module


def sparse(arch: str) -> nn.Module:
    """A network with 80 % zeros, ten classes, and norms that are not neutral."""
    return copy.deepcopy(_network(arch))


def unbiased(arch: str) -> nn.Module:
    """The same with the classifier's bias zero, as STR's 1x1 convolution has none."""
    module = sparse(arch)
    last = list(prunable_layers(module).values())[-1]
    assert last.bias is not None
    with torch.no_grad():
        last.bias.zero_()
    return module


def state(module: nn.Module) -> dict[str, Tensor]:
    return {n: t.clone() for n, t in module.state_dict().items()}


def wrapped(module: nn.Module, noise: float = 0.0) -> dict[str, Tensor]:
    """The common format's wrapped names; what the masks prune may hold anything."""
    layers = prunable_layers(module)
    result: dict[str, Tensor] = {}
    for name, tensor in state(module).items():
        layer, _, kind = name.rpartition(".")
        if layer not in layers:
            result[name] = tensor
            continue
        result[f"{layer}._layer.{kind}"] = tensor
        mask = (tensor != 0).float() if kind == "weight" else torch.ones_like(tensor)
        result[f"{layer}._{kind}_mask"] = mask
        if kind == "weight":
            result[f"{layer}._layer.{kind}"] = tensor + noise * (1 - mask)
    return result


def common(tensors: dict[str, Tensor], arch: str) -> dict[str, Any]:
    return {
        "epoch": 99,
        "model_config": {"arch": arch, "dataset": "imagenet"},
        "model_state_dict": OrderedDict(tensors),
    }


def behind_module(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{n}": t for n, t in tensors.items()}


def conv_classifier(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """STR's classifier: a 1x1 convolution without bias."""
    changed = {n: t for n, t in tensors.items() if n != "fc.bias"}
    changed["fc.weight"] = tensors["fc.weight"][:, :, None, None]
    return changed


def rigl_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    rules = (
        (r"^conv1\.", "initial_conv.conv."),
        (r"^bn1\.", "initial_conv.bn."),
        (r"^layer(\d)\.(\d+)\.conv(\d)\.", r"layer\1.block.\2.conv\3.conv."),
        (r"^layer(\d)\.(\d+)\.bn(\d)\.", r"layer\1.block.\2.conv\3.bn."),
        (r"^layer(\d)\.(\d+)\.downsample\.0\.", r"layer\1.block.\2.shortcut.conv."),
        (r"^layer(\d)\.(\d+)\.downsample\.1\.", r"layer\1.block.\2.shortcut.bn."),
    )
    renamed = {}
    for name, tensor in tensors.items():
        new = name
        for pattern, replacement in rules:
            if re.search(pattern, name):
                new = re.sub(pattern, replacement, name)
                break
        renamed[new] = tensor
    return renamed


def amc_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        new = re.sub(r"^fc\.", "classifier.0.", name).replace("model.0.", "conv1.", 1)
        match = re.match(r"^model\.(\d+)\.(.*)", new)
        renamed[f"features.{int(match[1]) - 1}.{match[2]}" if match else new] = tensor
    return renamed


def with_thresholds(tensors: dict[str, Tensor], logit: float) -> dict[str, Tensor]:
    """Weights that STR's threshold sigmoid(logit) cuts down to the given ones."""
    cut = torch.sigmoid(torch.tensor(logit))
    changed = {}
    for name, tensor in tensors.items():
        changed[name] = tensor
        if name.endswith("weight") and tensor.dim() == 4:
            draw = torch.Generator().manual_seed(len(name))
            below = (torch.rand(tensor.shape, generator=draw) * 2 - 1) * cut * 0.99
            changed[name] = torch.where(tensor == 0, below, tensor + tensor.sign() * cut)
            changed[name.removesuffix("weight") + "sparseThreshold"] = torch.full((1, 1), logit)
    return changed


def sparseml_resnet(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        new = re.sub(r"^(conv|bn)1\.", r"input.\1.", name)
        new = re.sub(r"^fc\.", "classifier.fc.", new)
        new = re.sub(r"^layer(\d)", lambda m: f"sections.{int(m[1]) - 1}", new)
        new = new.replace("downsample.0.", "identity.conv.").replace(
            "downsample.1.", "identity.bn."
        )
        renamed[new] = tensor
    return renamed


def sparseml_mobilenet(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    places = [(s, b) for s, count in enumerate((1, 2, 2, 6, 2)) for b in range(count)]
    parts = {"0": "depth.conv", "1": "depth.bn", "3": "point.conv", "4": "point.bn"}
    renamed = {}
    for name, tensor in tensors.items():
        pieces = name.split(".")
        if pieces[0] == "fc":
            new = f"classifier.fc.{pieces[1]}"
        elif pieces[1] == "0":
            new = f"input.{'conv' if pieces[2] == '0' else 'bn'}.{pieces[3]}"
        else:
            section, block = places[int(pieces[1]) - 1]
            new = f"sections.{section}.{block}.{parts[pieces[2]]}.{pieces[3]}"
        renamed[new] = tensor
    return renamed


def flat_mask(tensors: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([(tensors[n] != 0).reshape(-1) for n in names])


def foreign_class(module: str, name: str) -> type:
    """A class that pickles as MODULE.NAME, as if its repository were installed."""
    cls = type(name, (), {"__module__": module})
    holder = types.ModuleType(module)
    setattr(holder, name, cls)
    parts = module.split(".")
    for count in range(1, len(parts)):
        sys.modules.setdefault(".".join(parts[:count]), types.ModuleType(".".join(parts[:count])))
    sys.modules[module] = holder
    return cls


def forget(module: str) -> None:
    """Undo :func:`foreign_class`: the repository is not installed here."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        sys.modules.pop(".".join(parts[:count]), None)
