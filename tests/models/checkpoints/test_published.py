"""Every published layout gives back the network that was put into it."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune
from torchvision.models import squeezenet1_0

from sparsebench.models.architectures import build, prunable_layers
from sparsebench.models.checkpoints import FORMATS, load_checkpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.fit import build_from, check_names_and_shapes
from sparsebench.models.checkpoints.rigl import RIGL
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_of, sparsity
from tests.models.checkpoints import published as make


def saved(path: Path, payload: Any, *, zipped: bool = True) -> Path:
    torch.save(payload, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_reads(path: Path, arch: str, name: str, original: nn.Module) -> None:
    """The file is recognised, and holds the network bit by bit."""
    checkpoint = load_checkpoint(path)
    assert checkpoint.format == name
    assert checkpoint.metadata.get("arch", arch) == arch
    expected = original.state_dict()
    check_names_and_shapes(arch, expected, checkpoint.state_dict, path)
    for key, tensor in checkpoint.state_dict.items():
        assert torch.allclose(tensor, expected[key], rtol=0, atol=1e-6), key
        assert torch.equal(tensor == 0, expected[key] == 0), key


WRAPPINGS: dict[str, Any] = {
    "plain": make.state,
    "wrapped": make.wrapped,
    "weights that the mask hides": lambda m: make.wrapped(m, noise=0.3),
    "behind module": lambda m: make.behind_module(make.wrapped(m)),
    "wrapped twice": lambda m: {
        n.replace("._layer.", "._layer._layer."): t for n, t in make.wrapped(m).items()
    },
    "masks of ones": lambda m: {
        n: torch.ones_like(t) if n.endswith("_mask") else t for n, t in make.wrapped(m).items()
    },
    "no counters": lambda m: {
        n: t for n, t in make.wrapped(m).items() if not n.endswith("num_batches_tracked")
    },
    "a bias mask without a bias": lambda m: {
        **make.wrapped(m),
        "model.0.0._bias_mask": torch.ones(32),
    },
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_the_common_format(tmp_path: Path, wrapping: str) -> None:
    module = make.sparse("mobilenet_v1")
    payload = make.common(WRAPPINGS[wrapping](module), "mobilenet")
    path = saved(tmp_path / "acdc_75.pth", payload)
    assert_reads(path, "mobilenet_v1", "sparse_transfer", module)


def test_the_common_format_with_str_s_classifier(tmp_path: Path) -> None:
    module = make.unbiased("mobilenet_v1")
    tensors = make.conv_classifier(make.state(module))
    path = saved(tmp_path / "str_75.pth", make.common(tensors, "mobilenet_str"))
    assert_reads(path, "mobilenet_v1", "sparse_transfer", module)


def test_rigl_in_the_common_format_and_bare(tmp_path: Path) -> None:
    module = make.sparse("resnet50_rigl")
    bare = make.rigl_names(make.state(module))
    path = saved(tmp_path / "rigl.pth", make.common(bare, "resnet50_rigl"))
    assert_reads(path, "resnet50_rigl", "sparse_transfer", module)
    opened = OpenedFile(path, "torch", b"")
    vars(opened)["payload"] = {f"module.{name}": tensor for name, tensor in bare.items()}
    assert RIGL.recognises(opened)
    checkpoint = RIGL.load(opened)
    assert checkpoint.state_dict.keys() == module.state_dict().keys()
    with pytest.raises(SparsebenchError, match="holds a resnet50_rigl, not a resnet50"):
        build_from("resnet50", checkpoint, path)


@pytest.mark.parametrize("size", [64, 224])
def test_rigl_s_max_pool_is_tensorflow_s(size: int) -> None:
    ours = build("resnet50_rigl", 2).get_submodule("maxpool")
    # The authors' conversion: a row and a column of zeros below and to the right.
    theirs = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(3, stride=2, padding=0))
    maps = torch.rand(1, 2, size // 2, size // 2)
    assert torch.equal(ours(maps), theirs(maps))


@pytest.mark.parametrize("zipped", [True, False])
def test_ac_dc_s_original_with_its_optimizer_s_class(tmp_path: Path, zipped: bool) -> None:
    module = make.sparse("mobilenet_v1")
    payload = make.common(make.behind_module(make.wrapped(module)), "mobilenet")
    optimizer = make.foreign_class("optimization.sgd", "SGD")
    scheduler = make.foreign_class("optimization.lr_schedulers", "CosineWarmup")
    payload["optimizer"] = {"type": optimizer, "state_dict": {"state": {0: torch.ones(2)}}}
    inner = scheduler()
    inner.last_epoch = 3
    payload["lr_scheduler"] = {"type": scheduler, "state_dict": {"after_scheduler": inner}}
    path = saved(tmp_path / "acdc_90.ckpt", payload, zipped=zipped)
    make.forget("optimization.sgd")
    make.forget("optimization.lr_schedulers")
    assert_reads(path, "mobilenet_v1", "acdc", module)


@pytest.mark.parametrize(("arch", "logit"), [("resnet18", -3.0), ("mobilenet_v1", -6.0)])
def test_str_s_original_with_thresholds(tmp_path: Path, arch: str, logit: float) -> None:
    module = make.unbiased(arch)
    tensors = make.with_thresholds(make.conv_classifier(make.state(module)), logit)
    name = {"resnet18": "ResNet18", "mobilenet_v1": "MobileNetV1"}[arch]
    payload = {"epoch": 100, "arch": name, "state_dict": make.behind_module(tensors)}
    payload["best_acc1"] = torch.tensor(70.4)
    assert_reads(saved(tmp_path / "str.pth", payload), arch, "str", module)


def test_str_s_dense_files_have_no_thresholds(tmp_path: Path) -> None:
    module = make.unbiased("mobilenet_v1")
    tensors = make.behind_module(make.conv_classifier(make.state(module)))
    path = saved(tmp_path / "dense.pth", {"epoch": 1, "arch": "MobileNetV1", "state_dict": tensors})
    assert_reads(path, "mobilenet_v1", "str", module)


def test_m_fac_s_flat_mask_over_the_parameters_that_its_script_takes(tmp_path: Path) -> None:
    module = make.unbiased("resnet18")
    tensors = make.conv_classifier(make.state(module))
    named = [
        n for n in tensors if n.endswith("weight") and ("conv" in n or "fc" in n) and "bn" not in n
    ]
    payload = {
        "model": make.behind_module(tensors),
        "mask": make.flat_mask(tensors, named),
        "epoch": 9,
    }
    assert_reads(saved(tmp_path / "mfac.pth", payload), "resnet18", "mfac", module)
    mask = make.flat_mask(tensors, named)
    for shifted in (mask[:-1], mask.roll(1)):
        wrong = {**payload, "mask": shifted}
        with pytest.raises(SparsebenchError, match="fits no list"):
            load_checkpoint(saved(tmp_path / "wrong.pth", wrong))


def test_m_fac_s_flat_mask_that_was_not_applied_yet(tmp_path: Path) -> None:
    tensors = make.conv_classifier(make.state(make.unbiased("resnet18")))
    named = [
        n for n in tensors if n.endswith("weight") and ("conv" in n or "fc" in n) and "bn" not in n
    ]
    mask = make.flat_mask(tensors, named)
    whole = {n: torch.where(t == 0, 0.1, t) if n in named else t for n, t in tensors.items()}
    payload = {"model": make.behind_module(whole), "mask": mask, "epoch": 9}
    read = load_checkpoint(saved(tmp_path / "mfac.pth", payload)).state_dict
    flat = torch.cat([read[n].flatten() for n in read if n in named or n == "fc.weight"])
    assert int((flat == 0).sum()) == int((~mask.bool()).sum()) > 0


def pruned_by_torch(module: nn.Module) -> nn.Module:
    """All convolutions but the first carry masks, as after prune.global_unstructured."""
    custom: Any = prune.custom_from_mask
    for layer in list(prunable_layers(module).values())[1:-1]:
        custom(layer, "weight", layer.weight != 0)
        with torch.no_grad():
            original: Any = layer.weight_orig
            original += 0.1 * (layer.weight_mask == 0)
    return module


def test_lottery_tickets(tmp_path: Path) -> None:
    module = make.sparse("resnet18")
    payload = {
        "epoch": 10,
        "state": 7,
        "arch": "resnet18",
        "state_dict": pruned_by_torch(make.sparse("resnet18")).state_dict(),
        "mask": None,
        "best_acc1": 60.1,
        "optimizer": {"state": {}, "param_groups": []},
        "if_pruned": True,
        "init_weight": make.state(build("resnet18", make.CLASSES)),
    }
    path = saved(tmp_path / "7model_best.pth.tar", payload)
    assert_reads(path, "resnet18", "lth", module)
    assert load_checkpoint(path).metadata["state"] == "7"


def test_networks_pruned_with_torch_s_own_tool(tmp_path: Path) -> None:
    state = pruned_by_torch(make.sparse("resnet18")).state_dict()
    path = saved(tmp_path / "pruned.pth", state)
    assert_reads(path, "resnet18", "torch_prune", make.sparse("resnet18"))


@pytest.mark.parametrize("layout", ["distiller", "amc", "str", "wrapped"])
def test_mobilenet_v1_in_its_layouts(tmp_path: Path, layout: str) -> None:
    module = make.unbiased("mobilenet_v1")
    tensors = make.state(module)
    if layout == "amc":
        tensors = make.amc_names(tensors)
    elif layout == "str":
        tensors = make.conv_classifier(tensors)
    elif layout == "wrapped":
        tensors = make.wrapped(module)
    name = "str" if layout == "str" else "mobilenet_v1"
    assert_reads(saved(tmp_path / "mobilenet.pth", tensors), "mobilenet_v1", name, module)


def test_sparseml_s_own_networks_and_torchvision_s(tmp_path: Path) -> None:
    resnet, mobile = make.sparse("resnet18"), make.sparse("mobilenet_v1")
    for module, arch, key, tensors in (
        (resnet, "resnet18", "resnet18", make.sparseml_resnet(make.state(resnet))),
        (resnet, "resnet18", "resnet18", make.state(resnet)),
        (mobile, "mobilenet_v1", "mobilenet", make.sparseml_mobilenet(make.state(mobile))),
    ):
        payload = {"state_dict": OrderedDict(tensors), "recipe": "modifiers: []", "epoch": -1}
        path = saved(tmp_path / "model.pth", {**payload, "arch_key": key})
        assert_reads(path, arch, "sparseml", module)
        assert load_checkpoint(path).metadata["recipe"] == "modifiers: []"
    path = saved(tmp_path / "bare.pth", make.sparseml_resnet(make.state(resnet)))
    assert_reads(path, "resnet18", "sparseml", resnet)
    quantized = {**make.state(resnet), "conv1.activation_post_process.scale": torch.ones(1)}
    path = saved(tmp_path / "quantized.pth", {"state_dict": quantized, "arch_key": "resnet18"})
    with pytest.raises(SparsebenchError, match="middle of quantization"):
        load_checkpoint(path)


def test_timm_s_names(tmp_path: Path) -> None:
    module = make.sparse("mobilenet_v2")
    theirs = timm.create_model("mobilenetv2_100", num_classes=make.CLASSES).eval()
    own = module.state_dict()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), own.values(), strict=True)))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(theirs(images), module(images), atol=1e-5)
    path = saved(tmp_path / "timm.pth", theirs.state_dict())
    assert_reads(path, "mobilenet_v2", "timm_mobilenet", module)
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    assert_reads(tmp_path / "timm.safetensors", "mobilenet_v2", "timm_mobilenet", module)
    with torch.device("meta"):  # its ResNets need no format
        resnet = timm.create_model("resnet18").state_dict()
        assert {n: t.shape for n, t in resnet.items()} == {
            n: t.shape for n, t in build("resnet18").state_dict().items()
        }


def test_torchvision_s_squeezenet(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = squeezenet1_0(num_classes=make.CLASSES).eval()
    path = saved(tmp_path / "squeezenet.pth", theirs.state_dict())
    ours = build_from("squeezenet1_0", load_checkpoint(path), path)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-5)


def deep_compression(weights: list[np.ndarray[Any, Any]], biases: list[Any]) -> bytes:
    """The published layout, written down from its description; weights are codes 0..255."""
    counts, parts = [], []
    codebook = np.arange(256, dtype="<f4") / 64
    for codes, bias in zip(weights, biases, strict=True):
        flat = codes.reshape(-1)
        entries: list[tuple[int, int]] = []
        last = -1
        for place in np.flatnonzero(flat):
            while place - last > 16:  # a gap of 4 bits bridges at most 15 zeros
                last += 16
                entries.append((15, 0))
            entries.append((int(place - last - 1), int(flat[place])))
            last = int(place)
        gaps = [gap for gap, _ in entries] + [0] * (len(entries) % 2)
        packed = bytes(low | high << 4 for low, high in zip(gaps[::2], gaps[1::2], strict=True))
        counts.append(len(entries))
        parts.append(
            codebook.tobytes()
            + np.asarray(bias, "<f4").tobytes()
            + bytes(code for _, code in entries)
            + packed
        )
    return np.asarray(counts, "<u4").tobytes() + b"".join(parts)


def test_squeezenet_by_deep_compression(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    module = build("squeezenet1_0", 1000)
    shapes = [tuple(layer.weight.shape) for layer in prunable_layers(module).values()]
    codes = [
        np.where(draw.random(s) < 0.03, draw.integers(1, 256, s), 0).astype(np.uint8)
        for s in shapes
    ]
    biases = [draw.standard_normal(s[0]).astype(np.float32) for s in shapes]
    path = tmp_path / "squeezenet.net"
    path.write_bytes(deep_compression(codes, biases))
    loaded = build_from("squeezenet1_0", load_checkpoint(path), path)
    for index, layer in enumerate(prunable_layers(loaded).values()):
        expected = torch.from_numpy(codes[index].astype(np.float32) / 64)
        if index == 0:  # its input is BGR, ours RGB
            expected = expected[:, [2, 1, 0]]
        assert torch.equal(layer.weight.reshape(expected.shape), expected)
        assert layer.bias is not None
        assert torch.equal(layer.bias, torch.from_numpy(biases[index]))
    content = path.read_bytes()
    for broken in (content[:-1], content[:100], b"\xff" * 104 + content[104:], content + b"\0"):
        path.write_bytes(broken)
        with pytest.raises(SparsebenchError, match=r"squeezenet\.net' is damaged"):
            load_checkpoint(path)


def test_every_format_is_described() -> None:
    for name in FORMATS:
        one = FORMATS.load(name)
        assert one.name == name and one.description
    assert sparsity(mask_of(make.sparse("resnet18"))) == pytest.approx(0.8, abs=1e-3)
