"""Boxes as what a training is for: a whole detector, its loss, its mean average precision.

The backbone's maps and a light head are one network, whose every non-zero weight trains while the
backbone's mask stays; the head is dense. Images are whole ones at random sizes and places, some
mirrored, and the boxes follow (:mod:`sparsebench.bench.images.letterbox`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparsebench.bench.clock.stages import StageClock
from sparsebench.bench.heads.detection.decode import Found, decode
from sparsebench.bench.heads.detection.loss import detection_loss
from sparsebench.bench.heads.detection.metric import mean_average_precisions, require_metric
from sparsebench.bench.heads.detection.score import (
    detections_of,
    in_images,
    told_of,
    training_boxes,
)
from sparsebench.bench.heads.detection.targets import answers
from sparsebench.bench.images import (
    BatchPart,
    Placement,
    ResizedImages,
    Source,
    Subset,
    placed_batches,
    placed_boxes,
)
from sparsebench.bench.records import DETECTION
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.detection.boxes import Boxes
from sparsebench.bench.training.box_head import BoxHead
from sparsebench.bench.training.execution import Execution
from sparsebench.bench.training.feed import on_device
from sparsebench.bench.training.network import Network, trainable
from sparsebench.bench.training.objective import Fed
from sparsebench.exporters.onnx.detector import HEAD, body_of, trainable_detector
from sparsebench.models.cards import Letterbox, Preprocessing
from sparsebench.models.detection.grids import BOX_VALUES, FORMS
from sparsebench.models.detection.head import PREDICTED, from_rows
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.zoo.load import load_backbone

if TYPE_CHECKING:
    from sparsebench.bench.tasks.detection.task import DetectionTask
    from sparsebench.bench.training.recipe import TrainRecipe
    from sparsebench.bench.training.source import TrainingData

VISIBLE = 0.3
"""Least share of a box's area that is left of it after a cut; with less of it nobody is taught."""


@dataclass(frozen=True, eq=False)
class BoxTargets:
    """The boxes of a batch, in the network's input.

    Attributes:
        corners: of each image x1, y1, x2, y2 ``[k, 4]``, float32.
        labels: of each image class numbers ``[k]``, int64.
    """

    corners: Sequence[NDArray[np.float32]]
    labels: Sequence[NDArray[np.int64]]

    def __getitem__(self, images: slice) -> BoxTargets:
        return BoxTargets(self.corners[images], self.labels[images])

    def tensor_split(self, pieces: int) -> list[BoxTargets]:
        """As :meth:`torch.Tensor.tensor_split` cuts the images."""
        ends = [len(part) for part in np.array_split(np.arange(len(self.corners)), pieces)]
        starts = np.cumsum([0, *ends]).tolist()
        return [self[a:b] for a, b in pairwise(starts)]


@dataclass(frozen=True, eq=False)
class BoxedImages:
    """Images in memory with what is on them: a :class:`Source`."""

    pixels: ResizedImages | Subset
    boxes: tuple[Boxes, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """As of the images."""
        return self.pixels.labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.pixels[index]

    def subset(self, indices: NDArray[np.int64]) -> BoxedImages:
        """Some of the images, in the given order."""
        assert isinstance(self.pixels, ResizedImages)
        return BoxedImages(self.pixels.subset(indices), tuple(self.boxes[i] for i in indices))


class BoxObjective:
    """Detection: see the module.

    Args:
        task: with boxes on both sides.
        letterbox: what its images go through.
    """

    def __init__(self, task: DetectionTask, letterbox: Letterbox) -> None:
        require_metric()  # before anything is trained
        self.task, self.letterbox, self.size = task, letterbox, letterbox.size
        self.classes = len(task.classes)
        self._boxes = training_boxes(task.train, letterbox)
        self.strides: tuple[int, ...] = PREDICTED
        self.form = FORMS["light"]
        self.anchors = torch.from_numpy(self._boxes.anchors())

    def network(self, backbone: str, seed: int, *, device: str) -> Network:
        """As :meth:`Objective.network`; from here on grids and anchors are those of its head."""
        loaded = load_backbone(backbone)
        own = getattr(loaded.module, "head", None)
        module, mask = trainable_detector(loaded, size=self.size, classes=self.classes, seed=seed)
        self._take(module.head, new=module.head is not own)
        new = tuple(n for n, _ in module.named_parameters() if n.startswith(HEAD))
        dense, body = loaded.card.family == "dense", body_of(loaded.card.arch)
        return trainable(module, mask, new, dense=dense, device=device, body=body)

    def online_head(
        self, features: int, facts: Mapping[str, Any], recipe: TrainRecipe, seed: int
    ) -> BoxHead:
        """As :meth:`Objective.online_head`; from here on grids and anchors are those of its head.

        Raises:
            SparsebenchError: the engine runs a file that finds boxes itself.
        """
        if "channels" not in facts:
            raise SparsebenchError(
                "A file that finds boxes itself is scored as it is; no head is trained on it.",
                "Take --workload linear-cached.",
            )
        head = BoxHead(self, facts, recipe, seed)
        self._take(head.module, new=True)
        return head

    def _take(self, head: Any, *, new: bool) -> None:
        """A head's grids; its own anchors where it was trained with them, else the task's."""
        self.strides, self.form = tuple(head.strides), head.form
        known = dict(head.named_buffers()).get("anchors")
        if known is not None and not new:
            self.anchors = known.detach().clone()
            return
        self.anchors = torch.from_numpy(self._boxes.anchors(len(self.strides)))
        if known is not None:
            known.copy_(self.anchors)

    def images(self, decoded: ResizedImages, split: str) -> BoxedImages:
        """As :meth:`Objective.images`."""
        side = self.task.train if split == "train" else self.task.test
        return BoxedImages(decoded, tuple(side.boxes))

    def batches(
        self,
        data: TrainingData,
        batch_size: int,
        execution: Execution,
        *,
        seed: int,
        epoch: int,
        clock: StageClock | None = None,
        part: BatchPart | None = None,
    ) -> Iterator[Fed]:
        """As :meth:`Objective.batches`; the targets stay with the host.

        Raises:
            SparsebenchError: a batch is to be split among processes.
        """
        if part is not None:
            raise SparsebenchError(
                "Whole detectors are trained in one process.", "Leave --processes out."
            )
        source = cast(BoxedImages, data.train)
        for indices, pixels, placements in placed_batches(
            source,
            self.letterbox,
            batch_size,
            seed=seed,
            epoch=epoch,
            workers=execution.threads,
            clock=clock,
        ):
            images = on_device(torch.from_numpy(pixels), execution)
            yield indices, images, self.targets([source.boxes[i] for i in indices], placements)

    def targets(self, boxes: Sequence[Boxes], placements: Sequence[Placement]) -> BoxTargets:
        """Countable boxes where their images were placed."""
        corners, labels = [], []
        for one, placement in zip(boxes, placements, strict=True):
            counted = one.countable()
            moved, kept = placed_boxes(
                one.corners[counted], (one.width, one.height), placement, self.size, VISIBLE
            )
            corners.append(moved)
            labels.append(one.labels[counted][kept])
        return BoxTargets(corners, labels)

    def some_batch(
        self, data: TrainingData, batch_size: int, execution: Execution
    ) -> tuple[Tensor, BoxTargets]:
        """As :meth:`Objective.some_batch`."""
        source = cast(BoxedImages, data.train)
        made = placed_batches(source, self.letterbox, batch_size, seed=0, epoch=0)
        indices, pixels, placements = next(made)
        targets = self.targets([source.boxes[i] for i in indices], placements)
        return torch.from_numpy(pixels), targets

    def loss(self, outputs: Tensor, targets: BoxTargets) -> Tensor:
        """As :meth:`Objective.loss`; see :func:`detection_loss`."""
        return self.loss_of(from_rows(outputs.float(), self._shapes()), targets)

    def loss_of(self, raw: Sequence[Tensor], targets: BoxTargets) -> Tensor:
        """The same of raw predictions ``[n, k * (5 + C), H, W]`` of each map."""
        counts = [len(one) for one in targets.corners]
        found = answers(
            np.repeat(np.arange(len(counts)), counts),
            np.concatenate(targets.corners),
            np.concatenate(targets.labels),
            self.anchors.numpy(),
            self.strides,
            self.size,
            self.form,
        )
        device = raw[0].device
        there = [one.to(device) for one in found]
        return detection_loss(raw, there, self.anchors.to(device), self.strides, self.form)

    def answers(self, outputs: Tensor) -> Tensor:
        """As :meth:`Objective.answers`: raw predictions ``[n, D]``, float32."""
        return outputs.float()

    def gathered(
        self, source: Source, answers: Sequence[tuple[NDArray[np.int64], Tensor]]
    ) -> list[Found]:
        """As :meth:`Objective.gathered`: the boxes on each image, in its own pixels."""
        found = [box for _, rows in answers for box in self.decode(rows)]  # they are in order
        return in_images(found, cast(BoxedImages, source), self.letterbox)

    def decode(self, rows: Tensor) -> list[Found]:
        """Boxes of each image of raw predictions ``[n, D]``, in input pixels."""
        raw = from_rows(rows.cpu(), self._shapes())
        return decode(raw, self.anchors, self.strides, self.form)

    def _shapes(self) -> list[tuple[int, int, int]]:
        """Of each map's raw predictions of an image."""
        channels = self.anchors.shape[1] * (BOX_VALUES + self.classes)
        return [(channels, self.size // stride, self.size // stride) for stride in self.strides]

    def score(self, source: Source, found: Sequence[Found], metric: str) -> float:
        """As :meth:`Objective.score`: the mean average precision that the metric names."""
        return mean_average_precisions(found, cast(BoxedImages, source).boxes).of(metric)

    def kept(self, source: Source, found: Sequence[Found], seed: int) -> dict[str, Any]:
        """As :meth:`Objective.kept`: the judged detections, both metrics, the AP of each class."""
        truths = cast(BoxedImages, source).boxes
        file = detections_of([found], (seed,), truths, self.classes).to_bytes()
        scores = told_of(mean_average_precisions(found, truths), self.task.classes)
        return {
            "outcomes": base64.b64encode(file).decode(),
            "scores": {DETECTION: scores},
        }


def of_boxes(task: Task, preprocessing: Preprocessing) -> BoxObjective:
    """The objective of a detection task."""
    return BoxObjective(cast("DetectionTask", task), cast(Letterbox, preprocessing))
