"""Trial: one timed execution of a cell in a fresh process, a line of trials.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sparsebench.bench.records.plain import floats, optional_floats, plain

SCHEMA = "trial.v1"
# In a trial's `extra`: images that went through the engine in one sample of a training.
ENGINE_IMAGES = "engine_pictures"
OPTIMUM = "optimum_accuracy"
"""In `extra`: what L-BFGS reaches on the test images where SGD trained the heads, 0-1."""
# Likewise, and in a record's: peak resident bytes of the process that ran the network.
PEAK_MEMORY = "peak_memory_bytes"
DETECTION = "detection"
"""Likewise, of a detection task: `map50`, `map50_95` and `ap_per_class`, 0-1, a value a seed."""
DECODE_SECONDS = "decode_seconds"
"""In there: what decoding and non-maximum suppression take, seconds an image, a value a seed."""
VISITS = "visits"  # calls of each visit, in order; their sum is that of all calls
# In a record's `extra`: the network's size on disk, form -> bytes.
MODEL_BYTES = "model_bytes"
OWN_HEAD = "own_head"
"""In a record's `extra`: what its network gets right with its own classifier."""
SCORED_ON = "scored_on"
"""In a trial's, and in its record's: fingerprint of the machine that trained its heads before the
trial, where that was another lease of a cluster."""


@dataclass(frozen=True)
class TimedBlock:
    """The times of a trial, as a record carries them.

    Args:
        block: number of the block, from 0.
        launch: one launch of the block; a block resumed after a kill has a second one.
        order: position inside the block, from 0; -1 where its worker never started.
        warmup: seconds of the warm-up samples, in measured order; they enter no statistic.
        seconds: raw samples in measured order. `inference`: one full batch each;
            `linear-cached`: one element, end to end.
        items: images in one sample.
        stages: stage name -> seconds; they sum to the trial's seconds within 1 %.
    """

    block: int
    launch: str
    order: int
    warmup: tuple[float, ...]
    seconds: tuple[float, ...]
    items: int
    stages: Mapping[str, float]

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> TimedBlock:
        """From one element of a record's `trials`."""
        return cls(
            block=line["block"],
            launch=line["launch"],
            order=line["order"],
            warmup=floats(line["warmup"]),
            seconds=floats(line["seconds"]),
            items=line["items"],
            stages=dict(line["stages"]),
        )


@dataclass(frozen=True)
class Trial:
    """One timed execution of a cell; times as in `TimedBlock`.

    Args:
        cell: id of the record it belongs to.
        run: id of the run.
        workload: "inference", "linear-cached", ...
        block: see `TimedBlock`, like the six after it.
        accuracy_per_seed: fraction 0-1 for each training seed; None where nothing is trained.
        status: "ok", "failed", "skipped", or "discarded" by the drift rule.
        reason: why it is not ok.
        started: ISO 8601, UTC.
        extra: anything else: drift, load, threads read back.
        process_seconds: processor time of all threads that did the work; one value a visit in
            `inference` (``extra["visits"]`` tells how many calls each had), else one a sample.
            None in older runs, like the next.
        run_delay_seconds: for how long those threads waited for a processor, as above; also
            None where the system does not tell.
    """

    cell: str
    run: str
    workload: str
    block: int
    launch: str
    order: int
    warmup: tuple[float, ...]
    seconds: tuple[float, ...]
    items: int
    stages: Mapping[str, float]
    started: str
    accuracy_per_seed: tuple[float, ...] | None = None
    status: str = "ok"
    reason: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    process_seconds: tuple[float, ...] | None = None
    run_delay_seconds: tuple[float, ...] | None = None

    @property
    def times(self) -> TimedBlock:
        """What the record of the cell carries of this trial."""
        return TimedBlock(
            self.block,
            self.launch,
            self.order,
            self.warmup,
            self.seconds,
            self.items,
            self.stages,
        )

    def to_json(self) -> dict[str, Any]:
        """As a line of trials.jsonl."""
        return {"schema": SCHEMA, **plain(self)}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Trial:
        """From a validated line of trials.jsonl."""
        return cls(
            cell=line["cell"],
            run=line["run"],
            workload=line["workload"],
            block=line["block"],
            launch=line["launch"],
            order=line["order"],
            warmup=floats(line["warmup"]),
            seconds=floats(line["seconds"]),
            items=line["items"],
            stages=dict(line["stages"]),
            started=line["started"],
            accuracy_per_seed=optional_floats(line["accuracy_per_seed"]),
            status=line["status"],
            reason=line["reason"],
            extra=dict(line["extra"]),
            process_seconds=optional_floats(line.get("process_seconds")),
            run_delay_seconds=optional_floats(line.get("run_delay_seconds")),
        )
