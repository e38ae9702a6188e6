"""The noise floor of a machine: what two equal processes differ by, stored by fingerprint.

An A/A run: in every block two fresh workers hold the same dense network on the same engine and
take turns, as the two sides of a comparison do. Their true ratio is 1, so that the root mean
square of the blocks' log-ratios is the standard deviation of a block, with as many degrees of
freedom as blocks. No change below what this noise explains may be asked of the gate.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.models.cache import cache_dir
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError

BACKBONE = "resnet18/dense"
VISITS = (0, 1, 1, 0)
WARMUP_CALLS = 30
LEAST_CALLS = 3
MOST_CALLS = 200


@dataclass(frozen=True)
class MachineNoise:
    """A/A noise of one machine.

    Args:
        fingerprint: of the machine.
        log_sd: standard deviation of the log-ratio of two equal cells in one block.
        blocks: that it was measured with.
        engine: that it was measured with.
        created: ISO 8601, UTC.
    """

    fingerprint: str
    log_sd: float
    blocks: int
    engine: str
    created: str


def stored_noise(fingerprint: str) -> MachineNoise | None:
    """What was last measured on a machine of this fingerprint; None where nothing was."""
    path = _path(fingerprint)
    try:
        return MachineNoise(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError, RecursionError) as error:
        raise SparsebenchError(
            f"{path} cannot be read: {error}.", "Delete it and measure again: `sparsebench noise`."
        ) from error


def store_noise(noise: MachineNoise) -> Path:
    """Keep a machine's noise for the gate."""
    path = _path(noise.fingerprint)
    path.write_text(json.dumps(asdict(noise), indent=1) + "\n", encoding="utf-8")
    return path


def measure_noise(
    *,
    engine: str,
    blocks: int,
    threads: int,
    batch_size: int = 64,
    min_seconds: float = 0.4,
    say: Callable[[str], None] = lambda text: None,
) -> MachineNoise:
    """Measure the A/A noise of this machine.

    Args:
        engine: engine name.
        blocks: pairs of fresh processes.
        threads: CPU threads of each.
        batch_size: images per call.
        min_seconds: least time of a visit.
        say: receives what is being done.

    Raises:
        NothingMeasuredError: the engine does not run here.
    """
    from sparsebench.bench.machine.facts import machine_facts
    from sparsebench.bench.records import utc_now
    from sparsebench.bench.statistics import BlockPair
    from sparsebench.bench.tasks import open_task
    from sparsebench.bench.workloads.prepared_backbone import first_images
    from sparsebench.exporters.engines.base import CompileRequest
    from sparsebench.exporters.onnx.export import export_backbone
    from sparsebench.exporters.worker.launch import start_worker
    from sparsebench.exporters.worker.readers import readers_of
    from sparsebench.models.zoo.load import load_backbone

    backbone = load_backbone(BACKBONE)
    artifact = export_backbone(backbone, readers=readers_of([engine]))
    images = first_images(open_task("digits"), backbone.card.preprocessing, batch_size)
    logs: list[float] = []
    for block in range(blocks):
        say(f"block {block + 1}/{blocks}: {engine} against itself")
        try:
            with ExitStack() as stack:
                workers = [
                    stack.enter_context(start_worker(engine, threads=threads)) for _ in range(2)
                ]
                slots = []
                for worker in workers:
                    worker.available()
                    worker.compile(artifact, CompileRequest(batch_size, threads))
                    slots.append(worker.load(images))
                    _warm_up(worker, slots[-1])
                sides: list[list[float]] = [[], []]
                # Which side goes first changes from block to block.
                for visit in VISITS if block % 2 == 0 else VISITS[2:] + VISITS[:2]:
                    sides[visit] += workers[visit].time(
                        slots[visit], calls=LEAST_CALLS, budget=min_seconds, most=MOST_CALLS
                    )
        except WorkerFailed as failure:
            raise NothingMeasuredError(
                f"{engine} does not run here: {failure.reason}", "`sparsebench doctor` says more."
            ) from failure
        pair = BlockPair((np.array(sides[0]),), (np.array(sides[1]),))
        logs.append(pair.log_ratio())
    return MachineNoise(
        fingerprint=machine_facts()["fingerprint"],
        log_sd=math.sqrt(math.fsum(log * log for log in logs) / blocks),
        blocks=blocks,
        engine=engine,
        created=utc_now(),
    )


def _warm_up(worker: EngineWorker, slot: int) -> None:
    from sparsebench.bench.statistics import settled

    samples: list[float] = []
    while len(samples) < WARMUP_CALLS and not settled(samples):
        samples += worker.time(slot, calls=1, budget=0, most=1)


def _path(fingerprint: str) -> Path:
    return cache_dir("noise") / f"{fingerprint}.json"
