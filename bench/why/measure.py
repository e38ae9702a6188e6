"""The minute of measuring: whole calls in turns, layers where the engine tells, batch sizes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparsebench.bench.why.layers import LayerPair, middle, pair_layers, read_layers
from sparsebench.bench.why.target import Target
from sparsebench.exporters.engines.base import CompileRequest, LayerTime
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.filled import write_filled
from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.exporters.worker.launch import start_worker

BUDGET = 40.0
"""Seconds after which nothing more is begun; what runs then ends within the minute."""
TURNS = 6
PROFILES = 3
Say = Callable[[str], None]


@dataclass(frozen=True)
class Whole:
    """Whole calls at one batch size.

    Attributes:
        batch_size: images of a call.
        dense: seconds of a call with the zeros filled, median over the turns.
        sparse: the same as it is.
        ratios: dense over sparse, one for each turn of both.
    """

    batch_size: int
    dense: float
    sparse: float
    ratios: tuple[float, ...]

    @property
    def speedup(self) -> float:
        """Median over the turns."""
        return statistics.median(self.ratios)


@dataclass(frozen=True)
class Measured:
    """All that was measured.

    Attributes:
        target: name.
        engine: name.
        threads: CPU threads.
        sparsity: share of zeros, 0-1.
        dead_filters: share of all-zero filters, 0-1.
        whole: at the batch size that was asked for; None where the engine refuses the network.
        layers: dense beside sparse; empty where the engine does not tell.
        rest: seconds of steps without weights: (dense, sparse).
        outside: seconds of steps that the engine leaves to another executor.
        supported_fraction: share of operators that the engine runs itself; None: not told.
        lanes: images that the engine processes together; None: not told.
        no_code: why the native engine generated no code for the pattern; empty where it did.
        other: the same measurement at another batch size.
        refused: why the engine does not run it; empty where it does.
        skipped: what there was no time for.
        seconds: that it took.
    """

    target: str
    engine: str
    threads: int
    sparsity: float
    dead_filters: float
    whole: Whole | None = None
    layers: tuple[LayerPair, ...] = ()
    rest: tuple[float, float] = (0.0, 0.0)
    outside: float = 0.0
    supported_fraction: float | None = None
    lanes: int | None = None
    no_code: str = ""
    other: Whole | None = None
    refused: str = ""
    skipped: tuple[str, ...] = field(default_factory=tuple)
    seconds: float = 0.0


def measure(
    target: Target, engine: str, *, batch_size: int, threads: int, say: Say = lambda text: None
) -> Measured:
    """Time a network against its filled copy.

    Args:
        target: the network.
        engine: name; its environment is built if it must be.
        batch_size: images of a call.
        threads: CPU threads.
        say: is told what is being done.
    """
    start = time.monotonic()

    def left() -> float:
        return BUDGET - (time.monotonic() - start)

    known = {
        "target": target.name,
        "engine": engine,
        "threads": threads,
        "sparsity": target.sparsity,
        "dead_filters": target.dead_filters,
    }
    skipped: list[str] = []
    other = near_grid(batch_size)
    with tempfile.TemporaryDirectory() as folder:
        dense = write_filled(target.artifact, Path(folder))
        images = _images(target, max(batch_size, other or 0))
        say(f"starting {engine}")
        try:
            with _Both(engine, target.artifact, dense, batch_size, threads) as both:
                say("timing whole calls, dense and sparse in turns")
                whole = both.whole(images, min(8.0, left() / 4))
                say("timing layers")
                profiles = both.profiles(images, min(16.0, left() / 2))
                facts = dict(both.sparse.describe)
        except WorkerFailed as failure:
            took = time.monotonic() - start
            return Measured(**known, refused=failure.reason, seconds=took)  # type: ignore[arg-type]
        found = None
        if engine == "deepsparse" and other is not None:
            if left() > 10:
                say(f"timing batch size {other}")
                try:
                    with _Both(engine, target.artifact, dense, other, threads) as both:
                        found = both.whole(images, min(6.0, left() / 2))
                except WorkerFailed as failure:
                    skipped.append(f"batch size {other}: {failure.reason}")
            else:
                skipped.append(f"batch size {other}: no time was left")
        paired = None
        if profiles is not None:
            paired = pair_layers(read_layers(Path(target.artifact.onnx)), *profiles)
    fraction, lanes = facts.get("supported_fraction"), facts.get("lanes")
    return Measured(
        **known,  # type: ignore[arg-type]
        whole=whole,
        layers=() if paired is None else paired.layers,
        rest=(0.0, 0.0) if paired is None else paired.rest,
        outside=0.0 if paired is None else paired.outside,
        supported_fraction=None if fraction is None else float(fraction),
        lanes=None if lanes is None else int(lanes),
        no_code=str(facts.get("why", "")),
        other=found,
        skipped=tuple(skipped),
        seconds=time.monotonic() - start,
    )


def near_grid(batch_size: int) -> int | None:
    """The power of two from 16 up that is nearest to an off-grid batch size; None on the grid.

    On that grid DeepSparse's sparse kernels are fast: ResNet-18 at 80 % zeros and 224 px on two
    cores ran 2.3 times as fast as dense at batch 16, 1.4 times at 15 and 0.9 times at 17.
    """
    if batch_size >= 16 and batch_size & (batch_size - 1) == 0:
        return None
    if batch_size < 16:
        return 16
    low = 1 << (batch_size.bit_length() - 1)
    return low if batch_size - low <= 2 * low - batch_size else 2 * low


class _Both:
    """The sparse network and its filled copy, compiled in two fresh processes."""

    def __init__(
        self, engine: str, sparse: Artifact, dense: Artifact, batch_size: int, threads: int
    ) -> None:
        self._stack = ExitStack()
        self._batch = batch_size
        request = CompileRequest(batch_size=batch_size, threads=threads)
        try:
            self.sparse, self.dense = (
                self._started(engine, artifact, request) for artifact in (sparse, dense)
            )
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> _Both:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def whole(self, images: NDArray[np.float32], budget: float) -> Whole:
        """Median call times of both, in ABBA order, and the ratio of each turn."""
        batch = images[: self._batch]
        slots = {worker: worker.load(batch) for worker in (self.sparse, self.dense)}
        for worker, slot in slots.items():
            worker.time(slot, calls=3, budget=0.3, most=1000)
        share = budget / TURNS / 2
        times: dict[EngineWorker, list[float]] = {self.sparse: [], self.dense: []}
        for turn in range(TURNS):
            order = (self.sparse, self.dense) if turn % 2 else (self.dense, self.sparse)
            for worker in order:
                samples = worker.time(slots[worker], calls=3, budget=min(share, 0.5), most=1000)
                times[worker].append(statistics.median(samples))
        ratios = tuple(d / s for d, s in zip(times[self.dense], times[self.sparse], strict=True))
        middles = [statistics.median(times[worker]) for worker in (self.dense, self.sparse)]
        return Whole(self._batch, middles[0], middles[1], ratios)

    def profiles(
        self, images: NDArray[np.float32], budget: float
    ) -> tuple[list[LayerTime], list[LayerTime]] | None:
        """Steps of (dense, sparse), medians over profiles in turns; None: not told."""
        slots = {worker: worker.load(images[: self._batch]) for worker in (self.dense, self.sparse)}
        found: dict[EngineWorker, list[list[LayerTime]]] = {self.dense: [], self.sparse: []}
        start = time.monotonic()
        calls = 3
        for turn in range(PROFILES):
            began = time.monotonic()
            for worker, slot in slots.items():
                told = worker.profile(slot, calls=calls)
                if told is None:
                    return None
                found[worker].append(told)
            took = time.monotonic() - began
            if time.monotonic() - start + 2 * took > budget:
                break
            if turn == 0 and took < budget / 8:
                calls = 10
        return middle(found[self.dense]), middle(found[self.sparse])

    def _started(self, engine: str, artifact: Artifact, request: CompileRequest) -> EngineWorker:
        worker = self._stack.enter_context(start_worker(engine, threads=request.threads))
        worker.compile(artifact, request)
        return worker


def _images(target: Target, count: int) -> NDArray[np.float32]:
    """Real images: zeros behind ReLUs, and denormals, change what a call costs."""
    from sparsebench.bench.tasks import open_task
    from sparsebench.bench.workloads.prepared_backbone import first_images

    return first_images(open_task("digits"), target.preprocessing, count)
