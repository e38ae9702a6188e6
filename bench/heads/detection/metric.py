"""Mean average precision by torchmetrics with faster-coco-eval: COCO's evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from sparsebench.bench.heads.detection.decode import Found
from sparsebench.bench.statistics.average_precision import RECALLS, THRESHOLDS
from sparsebench.bench.tasks.detection.boxes import Boxes
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.installing import install_command


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Scores of one seed, fractions 0-1.

    Attributes:
        map50: at IoU 0.5.
        map50_95: mean over IoUs 0.5, 0.55, … 0.95.
        per_class: class number -> its mean over those IoUs.
    """

    map50: float
    map50_95: float
    per_class: Mapping[int, float]

    def of(self, metric: str) -> float:
        """The score that a metric's name stands for: ``map50`` or ``map50_95``."""
        return float({"map50": self.map50, "map50_95": self.map50_95}[metric])


def require_metric() -> None:
    """Say what is missing before anything is trained.

    Raises:
        SparsebenchError: torchmetrics or faster-coco-eval is not installed.
    """
    try:
        import faster_coco_eval  # noqa: F401
        import torchmetrics.detection  # noqa: F401
    except ImportError as error:
        raise SparsebenchError(
            f"Detection tasks need torchmetrics and faster-coco-eval ({error.name} not found).",
            install_command("sparsebench[detection]"),
        ) from error


def mean_average_precisions(
    found: Sequence[Found], truths: Sequence[Boxes]
) -> MeanAveragePrecision:
    """Score the detections of one seed.

    Args:
        found: on each image, in its own pixels.
        truths: of each image; crowds (and what is called difficult) count neither way.
    """
    from torchmetrics.detection import MeanAveragePrecision as Metric

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of images with many boxes: COCO's limit is meant
        metric = Metric(
            backend="faster_coco_eval",
            class_metrics=True,
            # Its own are rounded to 32 bits, so that some of COCO's recalls are just missed.
            iou_thresholds=list(THRESHOLDS),
            rec_thresholds=RECALLS.tolist(),
        )
        metric.update(
            [{"boxes": f.boxes, "scores": f.scores, "labels": f.labels} for f in found],
            [
                {
                    "boxes": torch.from_numpy(one.corners),
                    "labels": torch.from_numpy(one.labels),
                    "iscrowd": torch.from_numpy(one.crowd.astype("int64")),
                }
                for one in truths
            ],
        )
        told = metric.compute()
    classes, each = told["classes"].reshape(-1).tolist(), told["map_per_class"].reshape(-1).tolist()
    return MeanAveragePrecision(
        max(0.0, float(told["map_50"])),
        max(0.0, float(told["map"])),
        {int(label): max(0.0, float(ap)) for label, ap in zip(classes, each, strict=True)},
    )
