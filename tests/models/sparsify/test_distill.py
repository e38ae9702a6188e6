from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from sparsebench.models.architectures import ARCHITECTURES
from sparsebench.models.cards import Preprocessing
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.labelled import ReadOptions
from sparsebench.models.sparsify.distill import Distillation, load_teacher
from sparsebench.models.sparsify.method import Method, Recipe
from sparsebench.models.sparsify.produce import sparsify
from sparsebench.models.sparsify.train import Execution, train
from tests.models.sparsify.tiny import SIZE, network, random_images, weights_of, write_folder

ARCHITECTURES.register("tiny", "tests.models.sparsify.tiny:TINY")


def test_the_loss_is_hintons() -> None:
    mixed = Distillation(nn.Identity(), hardness=0.25, temperature=2.0)
    student, teacher = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    # By hand: softmax([1, 0]) and softmax([0, 2]).
    p = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))]
    q = [1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))]
    divergence = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    loss = mixed.mix(torch.tensor(3.0), student, teacher)
    assert float(loss) == pytest.approx(0.75 * 3.0 + 0.25 * 4 * divergence, rel=1e-5)


def test_a_teacher_sees_images_as_it_was_trained() -> None:
    own = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    pixels = torch.rand(2, 3, 4, 4)
    imagenet = (pixels - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)) / torch.tensor(
        [0.229, 0.224, 0.225]
    ).view(1, 3, 1, 1)
    seen = Distillation(nn.Identity(), own).logits(imagenet)
    assert torch.allclose(seen, (pixels - 0.5) / 0.25, atol=1e-5)


def test_a_student_follows_a_teacher_even_against_the_labels() -> None:
    torch.manual_seed(0)
    teacher = network()
    recipe, execution = Recipe(batch_size=8, learning_rate=0.05), Execution(precision="fp32")
    train(teacher, weights_of(teacher), random_images(), Method(), recipe, 8, execution=execution)
    with torch.no_grad():  # it now calls dark what is bright
        for name in ("7.weight", "7.bias"):
            teacher.get_parameter(name).copy_(teacher.get_parameter(name).flip(0))
    teacher.eval()
    student = network()
    history = train(
        student,
        weights_of(student),
        random_images(),
        Method(),
        recipe,
        8,
        execution=execution,
        distillation=Distillation(teacher, hardness=1.0),
    )
    assert history[-1].accuracy < 0.1


def test_a_teacher_is_a_file_and_must_know_the_classes(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data")
    sparsify(
        "tiny",
        "dense",
        0.0,
        data,
        1,
        tmp_path / "t.safetensors",
        size=SIZE,
        reading=ReadOptions(tmp_path),
    )
    teacher = load_teacher(str(tmp_path / "t.safetensors"), ("a", "b"), "cpu")
    assert not teacher.teacher.training
    assert teacher.preprocessing.size == SIZE
    with pytest.raises(SparsebenchError, match="tells 2 classes apart, the images have 3"):
        load_teacher(str(tmp_path / "t.safetensors"), ("a", "b", "c"), "cpu")
