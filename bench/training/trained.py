"""What a step-by-step training leaves behind: a curve over epochs, and the final scores."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes:
        elapsed: seconds from the start of the clock to the end of this epoch, its
            validation included.
        loss: mean training loss (of labels the cross-entropy, nats).
        validation: accuracy on the validation split, 0-1; None without one.
    """

    elapsed: float
    loss: float
    validation: float | None


@dataclass(frozen=True)
class Trained:
    """One finished training.

    Attributes:
        seed: of it.
        seconds: end to end.
        stages: where they went; they sum to `seconds`.
        busy: CPU seconds of helping threads, which overlap with the stages.
        epochs: the curve.
        last: test accuracy after the last epoch, 0-1.
        best: test accuracy after the epoch that was best on the validation split (the
            earliest of equals); the last one's without a split.
        best_epoch: its number, from 0.
        right: which test images were right after the last epoch, as
            :func:`sparsebench.bench.records.packed` writes them; empty where answers are more
            than right or wrong.
        outcomes: then these, a file of :class:`sparsebench.bench.records.Detections` in base64.
        scores: of the last epoch besides `last`, for a trial's ``extra``, 0-1.
        facts: masks, memory, what ran how.
        process_seconds: processor time of everything that trained; None where not measured.
        run_delay_seconds: how long its threads waited for a processor; None where not told.
    """

    seed: int
    seconds: float
    stages: dict[str, float]
    busy: dict[str, float]
    epochs: tuple[Epoch, ...]
    last: float
    best: float
    best_epoch: int
    right: str = ""
    outcomes: str = ""
    scores: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    process_seconds: float | None = None
    run_delay_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Trained:
        """Back from :meth:`to_json`."""
        return cls(**{**data, "epochs": tuple(Epoch(**epoch) for epoch in data["epochs"])})


def seconds_to(epochs: tuple[Epoch, ...], target: float) -> float:
    """Seconds until the validation accuracy first reaches `target`; infinite if it never does."""
    for epoch in epochs:
        if epoch.validation is not None and epoch.validation >= target:
            return epoch.elapsed
    return float("inf")
