"""Detection heads of a task on a backbone's maps: trained for every seed, then scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from sparsebench.bench.heads.detection.decode import Found, decode_seconds
from sparsebench.bench.heads.detection.file_head import FileHead
from sparsebench.bench.heads.detection.metric import (
    MeanAveragePrecision,
    mean_average_precisions,
    require_metric,
)
from sparsebench.bench.heads.detection.train import (
    BATCH,
    DetectionRecipe,
    TrainedHead,
    TrainingBoxes,
    train_head,
)
from sparsebench.bench.heads.fit import torch_threads
from sparsebench.bench.heads.scored import Scored, Scoring
from sparsebench.bench.records import DECODE_SECONDS, DETECTION, Detections, stacked
from sparsebench.bench.statistics.average_precision import Judged, judge
from sparsebench.bench.tasks.detection.boxes import Boxes, count_boxes
from sparsebench.models.cards import Letterbox
from sparsebench.models.detection.predictors import Predictors
from sparsebench.models.onnx_file.backbone import OnnxBackbone
from sparsebench.models.zoo.load import Backbone

OWN = {"kind": "own", "trained_by": None}
"""Of a record: the network's own head, as it came."""

if TYPE_CHECKING:
    from sparsebench.bench.tasks.detection.task import DetectionTask


def score_boxes(features: Mapping[str, NDArray[np.float32]], how: Scoring) -> Scored:
    """Train a head a seed on the training side's maps, and find the boxes of the test side.

    A trained detector that tells as many classes apart as the task has is scored as it is.

    Args:
        features: side -> maps of each image as a row ``[n, D]``.
        how: task, seeds, clock.

    Raises:
        SparsebenchError: torchmetrics is not installed, or the loss is not finite any more.
    """
    require_metric()
    task = cast("DetectionTask", how.task)
    letterbox = cast(Letterbox, how.preprocessing)
    # A file's own outputs are read instead of maps, and have no channels.
    channels, classes = how.facts.get("channels", ()), len(task.classes)
    recipe = DetectionRecipe(epochs=how.settings.detection_epochs)
    own = own_head(how.backbone, classes)
    with torch_threads(how.threads), how.clock.stage("head"):
        boxes = training_boxes(task.train, letterbox)
        heads = (
            [own] * len(how.seeds)
            if own is not None
            else [
                train_head(
                    features["train"],
                    boxes,
                    channels=channels,
                    size=letterbox.size,
                    classes=classes,
                    seed=seed,
                    recipe=recipe,
                    arch=how.backbone.card.arch,
                )
                for seed in how.seeds
            ]
        )
    with torch_threads(how.threads), how.clock.stage("evaluate"):
        found = [
            in_images(head.find(features["test"], channels, letterbox.size), task.test, letterbox)
            for head in heads
        ]
        scores = [mean_average_precisions(one, task.test.boxes) for one in found]
    how.clock.stop()
    # What follows is for the intervals alone: no user's training would do it.
    outcomes = detections_of(found, how.seeds, task.test.boxes, classes)
    with torch_threads(how.threads):
        first = features["test"][:BATCH]
        decoding = [
            decode_seconds(lambda raw=raw, head=head: head.decode(raw))  # type: ignore[misc]
            for head in heads
            for raw in (head.predict(first, channels, letterbox.size),)
        ]
    return Scored(
        how.clock,
        accuracy=tuple(score.of(task.metric) for score in scores),
        outcomes=outcomes,
        extra={
            "head": OWN
            if own is not None
            else {"kind": "yolo", **recipe.to_json(), "trained_by": "torch"},
            DETECTION: {
                **stacked([told_of(score, task.classes) for score in scores]),
                DECODE_SECONDS: decoding,
                "loss": [[head.losses[0], head.losses[-1]] for head in heads if head.losses],
            },
        },
    )


def own_head(backbone: Backbone | OnnxBackbone, classes: int) -> TrainedHead | FileHead | None:
    """A trained detector's own last layers with its anchors, or what its ONNX file tells.

    None where a head is trained.

    Args:
        backbone: any.
        classes: C of the task; as many as the detector has are taken for the same ones.
    """
    if isinstance(backbone, OnnxBackbone):
        assert backbone.file.boxes is not None
        return FileHead(backbone.file.boxes)
    if not backbone.card.trained:
        return None
    predictors = getattr(backbone.module, "head", None)
    if not isinstance(predictors, Predictors) or predictors.classes != classes:
        return None
    return TrainedHead(predictors, predictors.get_buffer("anchors"), ())


class Boxed(Protocol):
    """Images whose boxes are known."""

    @property
    def boxes(self) -> Sequence[Boxes]:
        """Of each image."""
        ...


def training_boxes(split: Boxed, letterbox: Letterbox) -> TrainingBoxes:
    """The countable boxes of a split, in the network's input."""
    corners, labels = [], []
    for one in split.boxes:
        factor, left, top, *_ = letterbox.place(one.width, one.height)
        counted = one.countable()
        shift = np.array([left, top, left, top], np.float32)
        corners.append((one.corners[counted] * np.float32(factor) + shift).astype(np.float32))
        labels.append(one.labels[counted])
    return TrainingBoxes(corners, labels)


def in_images(found: Sequence[Found], split: Boxed, letterbox: Letterbox) -> list[Found]:
    """Boxes of the network's input in the images' own pixels."""
    moved = []
    for one, image in zip(found, split.boxes, strict=True):
        factor, left, top, *_ = letterbox.place(image.width, image.height)
        corners = (one.boxes - torch.tensor([left, top, left, top])) / factor
        most = torch.tensor([image.width, image.height] * 2)
        moved.append(Found(corners.clamp(min=0).minimum(most), one.scores, one.labels))
    return moved


def judged(found: Sequence[Found], truths: Sequence[Boxes]) -> Judged:
    """All detections of a seed, each judged against the boxes of its image."""
    parts: list[tuple[Any, ...]] = []
    for number, (one, truth) in enumerate(zip(found, truths, strict=True)):
        scores, labels = one.scores.numpy(), one.labels.numpy()
        right, ignored = judge(
            one.boxes.numpy().astype(np.float64),
            scores,
            labels,
            truth.corners.astype(np.float64),
            truth.labels,
            truth.crowd,
        )
        parts.append((np.full(len(labels), number, np.int64), labels, scores, right, ignored))
    return Judged(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def detections_of(
    found: Sequence[Sequence[Found]], seeds: Sequence[int], truths: Sequence[Boxes], classes: int
) -> Detections:
    """What every seed found on the same images, judged.

    Args:
        found: of each seed, on each image in its own pixels.
        seeds: of `found`.
        truths: boxes of each image.
        classes: C.
    """
    return Detections(
        tuple(seeds),
        tuple(judged(one, truths) for one in found),
        np.stack([count_boxes([one], classes) for one in truths]),
    )


def told_of(scores: MeanAveragePrecision, classes: Sequence[str]) -> dict[str, Any]:
    """A seed's scores as records tell them: both metrics, and the AP of each class by its name."""
    return {
        "map50": scores.map50,
        "map50_95": scores.map50_95,
        "ap_per_class": {name: scores.per_class.get(i) for i, name in enumerate(classes)},
    }
