"""A network and images so small that a training takes a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from sparsebench.models.architectures import ArchitectureSpec, prunable_layers
from sparsebench.models.images.labelled import ReadOptions
from sparsebench.models.sparsify.data import DecodedImages
from sparsebench.models.sparsify.method import Run
from sparsebench.models.sparsify.plans import read_plan
from sparsebench.models.sparsify.produce import Produced, sparsify
from sparsebench.models.sparsify.train import Execution

SIZE = 8


def network(classes: int = 2) -> nn.Module:
    """Two convolutions, batch norm, a classifier: 108 + 576 + 8 * classes weights."""
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 16, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    body.append(nn.Linear(16, classes))
    return body


TINY = ArchitectureSpec("tiny", network, classifier="7", feature_dim=16)


def weights_of(module: nn.Module) -> dict[str, nn.Parameter]:
    return {f"{n}.weight": module.get_parameter(f"{n}.weight") for n in prunable_layers(module)}


def start_run(module: nn.Module, total_steps: int, steps_per_epoch: int) -> Run:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    return Run(
        module, weights_of(module), optimizer, total_steps, steps_per_epoch, lambda: iter(())
    )


def random_images(count: int = 48, seed: int = 0) -> DecodedImages:
    """Dark and bright images, one class each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = rng.integers(0, 100, (count, 3, SIZE, SIZE)) + 120 * labels[:, None, None, None]
    return DecodedImages(images.astype(np.uint8), labels.astype(np.int64), ("dark", "bright"))


def write_folder(root: Path, train: int = 24, test: int = 8) -> Path:
    """The same kind of images as PNG files in ``root/train`` and ``root/test``."""
    for split, count, seed in (("train", train, 1), ("test", test, 2)):
        images = random_images(count, seed)
        for index, (image, label) in enumerate(zip(images.images, images.labels, strict=True)):
            folder = root / split / images.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{index:03}.png")
    return root


def run_plan(path: Path, data: Path, out: Path, cache: Path) -> Produced:
    """What ``sparsify --plan`` does."""
    plan = read_plan(path)
    execution = Execution(**plan.pop("execution", {}))
    return sparsify(data=data, out=out, reading=ReadOptions(cache), execution=execution, **plan)
