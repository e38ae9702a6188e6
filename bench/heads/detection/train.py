"""Training of detection heads on cached feature maps: AdamW, a short warm-up, a cosine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.bench.heads.detection.anchors import anchor_sizes
from sparsebench.bench.heads.detection.decode import Found, decode
from sparsebench.bench.heads.detection.loss import detection_loss
from sparsebench.bench.heads.detection.targets import answers
from sparsebench.models.architectures.heads import new_head
from sparsebench.models.architectures.without_compiler import without_compiler
from sparsebench.models.detection.head import (
    ANCHORS,
    PREDICTED,
    WIDTH,
    DetectionHead,
    from_rows,
    map_shapes,
)
from sparsebench.models.detection.predictors import Predictors
from sparsebench.models.errors import SparsebenchError

Rows = NDArray[np.float32]
BATCH = 32
"""Images that a head predicts at once."""


@dataclass(frozen=True)
class DetectionRecipe:
    """How a head is trained.

    Attributes:
        epochs: passes over the training images.
        batch_size: images a step.
        lr: the largest learning rate.
        weight_decay: of AdamW.
        warm_up: share of the steps over which the rate rises.
        width: channels inside the head.
    """

    epochs: int = 15
    batch_size: int = 16
    lr: float = 6e-3
    weight_decay: float = 1e-3
    warm_up: float = 0.05
    width: int = WIDTH

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step."""
        rising = max(1, round(self.warm_up * steps))
        if step < rising:
            return self.lr * (step + 1) / rising
        share = (step - rising) / max(1, steps - rising)
        return self.lr * (1 + math.cos(math.pi * share)) / 2

    def to_json(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingBoxes:
    """The boxes of a split in the network's input.

    Attributes:
        corners: of each image x1, y1, x2, y2 ``[n, 4]``, float32, input pixels.
        labels: of each image class numbers ``[n]``, int64.
    """

    corners: Sequence[NDArray[np.float32]]
    labels: Sequence[NDArray[np.int64]]

    def anchors(self, maps: int = len(PREDICTED)) -> NDArray[np.float32]:
        """Anchors ``[maps, k, 2]``: the smallest for the finest map."""
        sizes = np.concatenate([c[:, 2:] - c[:, :2] for c in self.corners])
        return anchor_sizes(sizes, maps * ANCHORS).reshape(maps, ANCHORS, 2)


@dataclass(frozen=True)
class TrainedHead:
    """A head, its anchors ``[maps, k, 2]`` in input pixels, and each epoch's mean loss."""

    head: DetectionHead | Predictors
    anchors: Tensor
    losses: tuple[float, ...]

    def find(self, rows: Rows, channels: Sequence[int], size: int) -> list[Found]:
        """Boxes on images whose maps are rows ``[n, D]``, in input pixels."""
        found: list[Found] = []
        for start in range(0, len(rows), BATCH):
            found += self.decode(self.predict(rows[start : start + BATCH], channels, size))
        return found

    def predict(self, rows: Rows, channels: Sequence[int], size: int) -> list[Tensor]:
        """Raw predictions ``[n, k * (5 + C), H, W]`` of each map, of images as for :meth:`find`."""
        with torch.inference_mode():
            maps = from_rows(torch.from_numpy(np.array(rows)), map_shapes(channels, size))
            raw: list[Tensor] = self.head(maps)
        return raw

    def decode(self, raw: Sequence[Tensor]) -> list[Found]:
        """Boxes of each image, in input pixels."""
        with torch.inference_mode():
            return decode(raw, self.anchors, self.head.strides, self.head.form)


@without_compiler()
def train_head(
    rows: Rows,
    boxes: TrainingBoxes,
    *,
    channels: Sequence[int],
    size: int,
    classes: int,
    seed: int,
    recipe: DetectionRecipe | None = None,
    arch: str | None = None,
) -> TrainedHead:
    """Train one head; the same seed on as many threads gives the same one.

    Args:
        rows: maps of each training image ``[n, D]``, float32.
        boxes: what is on them.
        channels: of the maps.
        size: side of the input, pixels.
        classes: C.
        seed: of the initial weights and of the order of images.
        recipe: None for the defaults.
        arch: whose maps they are; a detector's own last layers are trained, else the light head.

    Raises:
        SparsebenchError: the loss is no finite number any more.
    """
    recipe = recipe or DetectionRecipe()
    head = new_head(arch, channels, classes, width=recipe.width, seed=seed)
    anchors = torch.from_numpy(boxes.anchors(len(head.strides)))
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, foreach=True
    )
    generator = np.random.default_rng(seed)
    steps = recipe.epochs * -(-len(rows) // recipe.batch_size)
    shapes = map_shapes(channels, size)
    losses, step = [], 0
    for epoch in range(recipe.epochs):
        order, spent = generator.permutation(len(rows)), []
        for start in range(0, len(rows), recipe.batch_size):
            chosen = order[start : start + recipe.batch_size]
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step, steps)
            maps = from_rows(torch.from_numpy(np.array(rows[np.sort(chosen)])), shapes)
            found = _answers(boxes, np.sort(chosen), anchors, size, head)
            loss = detection_loss(head(maps), found, anchors, head.strides, head.form)
            if not torch.isfinite(loss):
                raise SparsebenchError(
                    "Training the detection head diverged: the loss is not finite "
                    f"(seed {seed}, epoch {epoch}, step {step}).",
                    "Check the backbone's weights and the engine's precision.",
                )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(head.parameters(), 10.0)
            optimizer.step()
            spent.append(float(loss.detach()))
            step += 1
        losses.append(math.fsum(spent) / len(spent))
    return TrainedHead(head.eval(), anchors, tuple(losses))


def _answers(
    boxes: TrainingBoxes,
    chosen: NDArray[np.int64],
    anchors: Tensor,
    size: int,
    head: DetectionHead | Predictors,
) -> Any:
    corners = [boxes.corners[i] for i in chosen]
    images = np.repeat(np.arange(len(chosen)), [len(one) for one in corners])
    labels = np.concatenate([boxes.labels[i] for i in chosen])
    boxed, sizes = np.concatenate(corners), anchors.numpy()
    return answers(images, boxed, labels, sizes, head.strides, size, head.form)
