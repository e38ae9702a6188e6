"""Record: all that is known of a cell, a line of records.jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sparsebench.bench.records.outcomes import Kept, OutcomesFile, joined
from sparsebench.bench.records.plain import floats, optional_floats, pair, plain
from sparsebench.bench.records.trial import TimedBlock

SCHEMA = "record.v1"
DENSE = "dense"
# What an interval of accuracies covers: `over` of an accuracy and of a change.
IMAGES_AND_SEEDS = "images and seeds"
SEEDS = "seeds"


@dataclass(frozen=True)
class TaskInfo:
    """The downstream data set: counts of classes and images, metric, hash of the split."""

    name: str
    classes: int | None = None
    train: int | None = None
    test: int | None = None
    metric: str | None = None
    sha256: str | None = None

    def is_same(self, other: TaskInfo) -> bool:
        """Whether both are one data set: two folders may have one name."""
        known = None not in (self.sha256, other.sha256)
        return self.name == other.name and (not known or self.sha256 == other.sha256)


@dataclass(frozen=True)
class BackboneInfo:
    """Architecture plus weights.

    Args:
        name: ``<arch>/<method>-<sparsity>[@<source>]``.
        arch: e.g. "resnet18".
        method: "dense" for the dense baseline.
        family: "progressive", ..., "generated", "dense".
        sparsity: nominal, fraction 0-1 of the prunable weights.
        measured_sparsity: zeros over all prunable weights, fraction 0-1.
        flops_ratio: multiplications with a non-zero weight over all, fraction 0-1.
        trained: False for generated weights: speed only.
        sha256: hash of the weights.
        licence: of the weights.
        dense_partner: name of the dense backbone it is compared with.
        budget: of all training behind the weights, "epochs" and "images"; None where unknown.
    """

    name: str
    arch: str
    method: str
    family: str
    sparsity: float
    trained: bool
    measured_sparsity: float | None = None
    flops_ratio: float | None = None
    sha256: str | None = None
    licence: str | None = None
    dense_partner: str | None = None
    budget: Mapping[str, int] | None = None

    @property
    def is_dense(self) -> bool:
        """Whether it is a dense baseline itself."""
        return self.method == DENSE

    @property
    def zeros(self) -> float:
        """What is shown of its sparsity: measured, or its label where nothing was measured."""
        return self.sparsity if self.measured_sparsity is None else self.measured_sparsity


@dataclass(frozen=True)
class EngineInfo:
    """What executes the backbone, and its settings; `threads` of compute, `batch_size` images."""

    name: str
    device: str
    precision: str
    threads: int
    batch_size: int
    version: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    supported_fraction: float | None = None

    @property
    def runs_itself(self) -> bool:
        """Whether it executes the whole graph, so that its times are this engine's times.

        DeepSparse hands a graph that it refuses to an ONNX Runtime of its own, without a word.
        """
        return self.supported_fraction is None or self.supported_fraction >= 1

    @property
    def label(self) -> str:
        """Its name for a reader, which says so where another executor did the work."""
        if self.runs_itself:
            return self.name
        return f"{self.name} ({self.supported_fraction:.0%} supported)"

    @property
    def not_itself(self) -> str:
        """Why its times do not count as this engine's, in a sentence; empty where they do."""
        if self.runs_itself:
            return ""
        return (
            f"{self.name} supports {self.supported_fraction:.0%} of this graph and leaves the rest "
            "to its bundled ONNX Runtime"
        )


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on the test split, fractions 0-1.

    Args:
        metric: "top1" or "mean_per_class"; of detection "map50" or "map50_95".
        per_seed: after the last epoch.
        mean: of them.
        ci95: interval over what `over` says.
        seeds: of `per_seed`, in its order.
        best_epoch_per_seed: after the epoch that the validation split chose.
        ci95_seeds: t-interval over the seeds alone, as if no other test images could be drawn.
        over: "images and seeds", or "seeds" where the run kept no outcomes (older ones).
        correct: which test images each seed got right.
    """

    metric: str
    per_seed: tuple[float, ...]
    mean: float
    ci95: tuple[float, float] | None
    seeds: tuple[int, ...] | None = None
    best_epoch_per_seed: tuple[float, ...] | None = None
    ci95_seeds: tuple[float, float] | None = None
    over: str = SEEDS
    correct: tuple[OutcomesFile, ...] = ()

    @classmethod
    def of(
        cls,
        metric: str,
        per_seed: Iterable[float],
        seeds: Iterable[int] | None = None,
        best_epoch_per_seed: Iterable[float] | None = None,
        correct: Iterable[OutcomesFile] = (),
    ) -> Accuracy:
        """Mean and interval of one accuracy a seed (fractions 0-1).

        The interval is over test images and seeds where `correct` tells of every seed, else over
        seeds alone.
        """
        from sparsebench.bench.statistics import mean_interval

        values = floats(per_seed)
        interval = mean_interval(values)
        made = cls(
            metric=metric,
            per_seed=values,
            mean=interval.mid,
            ci95=interval.ci95,
            seeds=None if seeds is None else tuple(int(seed) for seed in seeds),
            best_epoch_per_seed=optional_floats(best_epoch_per_seed),
            ci95_seeds=interval.ci95,
            correct=tuple(correct),
        )
        known = made.outcomes()
        if known is None:
            return made
        return replace(made, ci95=known.interval(metric).ci95, over=IMAGES_AND_SEEDS)

    def outcomes(self) -> Kept | None:
        """What was right and wrong with `seeds`, in their order; None where none were kept.

        Raises:
            SparsebenchError: a file of them was changed.
        """
        if self.seeds is None or not self.correct:
            return None
        return joined(self.correct, self.seeds)


@dataclass(frozen=True)
class Proof:
    """That what ran was sparse and right.

    Args:
        checkpoint_mask: sha256 of the mask, like the two after it.
        onnx_mask: of the ONNX initializers.
        after_training_mask: after training.
        max_abs_error: largest difference between the engine's and PyTorch's features.
        argmax_agreement: images whose predicted class agrees, fraction 0-1.
    """

    checkpoint_mask: str | None = None
    onnx_mask: str | None = None
    after_training_mask: str | None = None
    max_abs_error: float | None = None
    argmax_agreement: float | None = None


@dataclass(frozen=True)
class Record:
    """All that is known of a cell.

    Args:
        id: `cell_id` of the settings; the `cell` of its trials.
        run: id of the run.
        created: ISO 8601, UTC.
        status: "ok", "failed" or "skipped".
        reason: why it is not ok.
        workload: "inference", "linear-cached", ...
        task: the downstream data set.
        backbone: the weights.
        engine: what executed them.
        trials: the times, in measured order; empty unless ok.
        accuracy: None where none was reached.
        proof: None where it did not come so far.
        machine: facts of the machine with their `fingerprint` (`sparsebench.bench.machine.facts`).
        packages: distribution name -> version.
        division: "closed" (same checkpoint, preprocessing, batch, threads and precision on both
            sides) or "open" (anything).
        settings: what else defines the cell (recipe, seeds, image size, real or synthetic
            input); all of it must match between baselines.
        extra: what no key above holds; nothing compares it.
    """

    id: str
    run: str
    created: str
    workload: str
    task: TaskInfo
    backbone: BackboneInfo
    engine: EngineInfo
    machine: Mapping[str, Any]
    status: str = "ok"
    reason: str | None = None
    trials: tuple[TimedBlock, ...] = ()
    accuracy: Accuracy | None = None
    proof: Proof | None = None
    packages: Mapping[str, str | None] = field(default_factory=dict)
    division: str = "closed"
    settings: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a line of records.jsonl."""
        return {"schema": SCHEMA, **plain(self)}

    @classmethod
    def from_json(cls, line: Mapping[str, Any], folder: Path | None = None) -> Record:
        """From a validated line of records.jsonl; `folder` is where its run's other files are."""
        return cls(
            id=line["id"],
            run=line["run"],
            created=line["created"],
            workload=line["workload"],
            task=TaskInfo(**_known(TaskInfo, line["task"])),
            backbone=BackboneInfo(**_known(BackboneInfo, line["backbone"])),
            engine=EngineInfo(**_known(EngineInfo, line["engine"])),
            machine=dict(line["machine"]),
            status=line["status"],
            reason=line["reason"],
            trials=tuple(TimedBlock.from_json(item) for item in line["trials"]),
            accuracy=_accuracy(line["accuracy"], folder),
            proof=None if line["proof"] is None else Proof(**_known(Proof, line["proof"])),
            packages=dict(line["packages"]),
            division=line.get("division", "closed"),
            settings=dict(line.get("settings", {})),
            extra=dict(line.get("extra", {})),
        )


def _accuracy(line: Mapping[str, Any] | None, folder: Path | None) -> Accuracy | None:
    if line is None:
        return None
    seeds = line.get("seeds")
    return Accuracy(
        metric=line["metric"],
        per_seed=floats(line["per_seed"]),
        mean=line["mean"],
        ci95=pair(line["ci95"]),
        seeds=None if seeds is None else tuple(seeds),
        best_epoch_per_seed=optional_floats(line.get("best_epoch_per_seed")),
        ci95_seeds=pair(line.get("ci95_seeds", line["ci95"])),
        over=line.get("over", SEEDS),
        correct=tuple(OutcomesFile.from_json(one, folder) for one in line.get("correct", ())),
    )


def _known(kind: type, line: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `line` that the dataclass has: a later writer of v1 may add others."""
    return {key: value for key, value in line.items() if key in kind.__dataclass_fields__}  # type: ignore[attr-defined]
