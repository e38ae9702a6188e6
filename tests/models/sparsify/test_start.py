"""What a training starts from: a classifier that knows the classes keeps their rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sparsebench.models.architectures import build
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sparsify.distill import load_teacher
from sparsebench.models.sparsify.start import first_weights, imagenet_rows
from sparsebench.models.zoo.load import load_backbone

DENSE = "efficientnet_lite0/dense"
# Tench, English springer, toilet tissue: the first, the 218th and the last class of ImageNet-1k.
KNOWN = ("n01440764", "n02102040", "n15075141")


def test_rows_follow_imagenets_order() -> None:
    assert imagenet_rows(KNOWN) == [0, 217, 999]
    assert imagenet_rows(KNOWN[::-1]) == [999, 217, 0]
    assert imagenet_rows([*KNOWN, "my dog"]) is None


def test_a_classifier_of_imagenet_keeps_the_rows_of_its_own_classes() -> None:
    old = load_backbone(DENSE).module.state_dict()
    new = first_weights("efficientnet_lite0", KNOWN, 0, DENSE).state_dict()
    head = [name for name in old if old[name].shape != new[name].shape]
    assert len(head) == 2  # weight and bias
    for name, tensor in new.items():
        assert torch.equal(tensor, old[name][[0, 217, 999]] if name in head else old[name]), name


def test_other_classes_get_a_classifier_of_their_own() -> None:
    old = load_backbone(DENSE).module.state_dict()
    new = first_weights("efficientnet_lite0", ("cats", "dogs"), 0, DENSE).state_dict()
    head = [name for name in old if old[name].shape != new[name].shape]
    assert not any(torch.equal(new[name], old[name][:2]) for name in head)


def test_a_teacher_of_imagenet_teaches_some_of_its_classes() -> None:
    teacher = load_teacher(DENSE, KNOWN, "cpu")
    images = torch.randn(2, 3, 64, 64)
    module = load_backbone(DENSE).module.eval()
    everything = load_teacher(DENSE, [str(number) for number in range(1000)], "cpu")
    with torch.no_grad():
        assert everything.logits(images).shape == module(images).shape
        assert torch.equal(teacher.logits(images), everything.logits(images)[:, [0, 217, 999]])


@pytest.mark.parametrize("classes", [("cats", "dogs"), (*KNOWN, "my dog")])
def test_a_teacher_of_imagenet_cannot_teach_what_it_does_not_know(classes: tuple[str, ...]) -> None:
    with pytest.raises(SparsebenchError, match="tells 1000 classes apart"):
        load_teacher(DENSE, classes, "cpu")


def test_a_deeper_network_is_no_start_for_a_shallower_one(tmp_path: Path) -> None:
    """ResNet-34 has every tensor of ResNet-18, and more."""
    torch.save(build("resnet34", 3).state_dict(), tmp_path / "deeper.pth")
    with pytest.raises(SparsebenchError, match="is not a resnet18: .* left over"):
        first_weights("resnet18", KNOWN, 0, tmp_path / "deeper.pth")


def test_a_start_without_counters_of_batches_is_one(tmp_path: Path) -> None:
    state = load_backbone("resnet18/gmp-90").module.state_dict()
    old = {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    module = first_weights("resnet18", [str(n) for n in range(100)], 0, tmp_path / "old.pth")
    assert all(torch.equal(module.state_dict()[n], t) for n, t in old.items())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda n, t: t * float("nan") if n == "conv1.weight" else t, "NaN"),
        (lambda n, t: torch.zeros_like(t) if "running_mean" in n else t, "initial values"),
    ],
)
def test_a_start_that_no_training_left_is_refused(
    spoil: Callable[[str, Tensor], Tensor], message: str, tmp_path: Path
) -> None:
    state = build("resnet18", 3).state_dict()
    state = {n: t + 0.1 if "running_mean" in n else t for n, t in state.items()}
    torch.save({n: spoil(n, t) for n, t in state.items()}, tmp_path / "start.pth")
    with pytest.raises(SparsebenchError, match=message):
        first_weights("resnet18", KNOWN, 0, tmp_path / "start.pth")


def test_weights_of_another_architecture_are_refused() -> None:
    with pytest.raises(SparsebenchError, match="is not a resnet18"):
        first_weights("resnet18", KNOWN, 0, DENSE)


def test_without_a_start_the_weights_are_random_by_seed() -> None:
    one, two, other = (first_weights("resnet18", KNOWN, seed, None) for seed in (1, 1, 2))
    assert torch.equal(one.get_parameter("fc.weight"), two.get_parameter("fc.weight"))
    assert not torch.equal(one.get_parameter("fc.weight"), other.get_parameter("fc.weight"))
