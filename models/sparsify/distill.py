"""Distillation: a trained teacher's outputs as a second target.

Hinton, Vinyals & Dean 2015, "Distilling the Knowledge in a Neural Network", arXiv:1503.02531:
``(1 - h) cross-entropy + h T^2 KL(softmax(teacher / T) || softmax(student / T))``. The share h and
the temperature T are those that SparseML's ``DistillationModifier`` has by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sparsebench.models.architectures import classifier_name
from sparsebench.models.cards import IMAGENET_PREPROCESSING, Preprocessing
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.sparsify.data import MEAN, STD
from sparsebench.models.sparsify.start import IMAGENET_CLASSES, imagenet_rows
from sparsebench.models.zoo.load import load_backbone

HARDNESS = 0.5
TEMPERATURE = 2.0


@dataclass
class Distillation:
    """A teacher and how much of it is mixed in.

    Attributes:
        teacher: classifier in eval mode, on the device of the training.
        preprocessing: that the teacher was trained with; images come with ImageNet's mean
            and deviation.
        hardness: share of the teacher in the loss, 0 to 1.
        temperature: that both outputs are divided by.
        rows: the teacher's outputs that stand for the classes, in their order; None for all.
    """

    teacher: nn.Module
    preprocessing: Preprocessing = IMAGENET_PREPROCESSING
    hardness: float = HARDNESS
    temperature: float = TEMPERATURE
    rows: list[int] | None = None

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """The teacher's outputs ``[N, C]`` for a normalised batch."""
        if (self.preprocessing.mean, self.preprocessing.std) != (MEAN, STD):
            own = [images.new_tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD)]
            wanted = (self.preprocessing.mean, self.preprocessing.std)
            mean, std = (images.new_tensor(v).view(1, 3, 1, 1) for v in wanted)
            images = (images * own[1] + own[0] - mean) / std
        result: Tensor = self.teacher(images)
        return result if self.rows is None else result[:, self.rows]

    def mix(self, loss: Tensor, logits: Tensor, taught: Tensor) -> Tensor:
        """The mixed loss, a scalar.

        Args:
            loss: cross-entropy with the labels.
            logits: of the student, ``[N, C]``.
            taught: of the teacher, ``[N, C]``.
        """
        scale = self.temperature
        divergence = functional.kl_div(
            functional.log_softmax(logits / scale, dim=1),
            functional.log_softmax(taught / scale, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - self.hardness) * loss + self.hardness * scale**2 * divergence


def load_teacher(name: str, classes: Sequence[str], device: str) -> Distillation:
    """A backbone or file as a teacher.

    One that was trained on ImageNet-1k teaches any classes that are WordNet ids of those.

    Args:
        name: of a backbone, or path of a file that ``sparsify`` wrote.
        classes: names of the classes that the images show.
        device: of the training.

    Raises:
        SparsebenchError: there is no such backbone, or it knows other classes.
    """
    backbone = load_backbone(name)
    head = backbone.module.get_submodule(classifier_name(backbone.card.arch))
    outputs = head.out_features if isinstance(head, nn.Linear) else -1
    rows = imagenet_rows(classes) if outputs == IMAGENET_CLASSES else None
    if outputs != len(classes) and rows is None:
        raise SparsebenchError(
            f"The teacher {name} tells {outputs} classes apart, the images have {len(classes)}.",
            "Give a teacher that was trained on the same classes.",
        )
    module = backbone.module.to(device).eval().requires_grad_(False)
    return Distillation(module, backbone.card.preprocessing, rows=rows)
