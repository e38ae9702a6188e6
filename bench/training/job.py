"""What a training process is told, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from sparsebench.bench.training.heartbeat import EVERY_SECONDS
from sparsebench.bench.training.recipe import TrainRecipe
from sparsebench.models.cards import Letterbox, Preprocessing


@dataclass(frozen=True)
class Job:
    """One cell's trainings in one block.

    Attributes:
        backbone: its name.
        task: name or path.
        task_options: what ``open_task`` takes besides the name.
        preprocessing: at the cell's size.
        recipe: of the optimizer.
        seeds: one training each.
        validation: share of the training images that validates.
        device: ``cpu`` or ``cuda``.
        precision: ``fp32`` or ``bf16``.
        threads: of everything on the CPU, in each process.
        compile: whether the engine is ``torch-compile``.
        kernels: whether the engine is ``native``: the suite's own sparse kernels.
        tune: choose the memory format by a short calibration.
        tuned: what the calibration of an earlier block of this run found; empty to calibrate.
        accumulate: pieces of a batch.
        deterministic: only kernels that give the same bits every time.
        processes: that share every batch.
        batch_norm: whether it sees the images of all processes (``global``) or of its own
            (``local``).
        word_every: seconds after which the process says a word of its progress.
    """

    backbone: str
    task: str
    task_options: dict[str, Any]
    preprocessing: Preprocessing
    recipe: TrainRecipe
    seeds: tuple[int, ...]
    validation: float
    device: str
    precision: str
    threads: int
    compile: bool = False
    kernels: bool = False
    tune: bool = True
    tuned: dict[str, Any] = field(default_factory=dict)
    accumulate: int = 1
    deterministic: bool = False
    processes: int = 1
    batch_norm: str = "global"
    word_every: float = EVERY_SECONDS

    def to_json(self) -> str:
        """For the process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Back from :meth:`to_json`."""
        data = json.loads(text)
        card: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data["preprocessing"].items()
        }
        return cls(
            **{
                **data,
                "preprocessing": (Letterbox if "fit" in card else Preprocessing)(**card),
                "recipe": TrainRecipe(**data["recipe"]),
                "seeds": tuple(data["seeds"]),
            }
        )
