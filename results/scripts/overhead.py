"""How much the harness costs: a session of the suite against a bare engine loop.

    uv run python -m sparsebench.results.scripts.overhead

Both sides run the same ONNX file with the same batch and threads, in fresh processes, in
turns. `timed` is the suite's clock around a call (what `inference` reports); `streamed` hands
every batch over through shared memory and takes the features back (what extraction does).
Prints the ratio of throughputs, suite over bare loop, with its interval over blocks, and the
same as milliseconds that the suite adds to a call. Visits are short and many, and those that lie
side by side are compared, so that a burst of foreign work on a shared machine counts for neither.
"""

from __future__ import annotations

import json
import subprocess
import time
from typing import Annotated, Any

import numpy as np
import typer

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.worker import environments
from sparsebench.exporters.worker.client import EngineWorker
from sparsebench.exporters.worker.launch import start_worker
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.zoo.load import load_backbone

# The loop that a user of DeepSparse would write; it knows nothing of this suite.
_BARE = """
import json, sys, time
import numpy as np
from deepsparse import Engine
path, batch, size, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
engine = Engine(path, batch_size=batch, num_cores=threads)
images = np.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=np.float32)
for _ in range(10):
    engine.run([images])
print("ready", flush=True)
for line in sys.stdin:
    start = time.perf_counter()
    calls = 0
    while time.perf_counter() - start < float(line):
        engine.run([images])
        calls += 1
    print(json.dumps((time.perf_counter() - start) / calls), flush=True)
"""


def main(
    backbone: str = "resnet18/uniform-90@generated",
    size: int = 64,
    batch_size: int = 64,
    threads: int = 2,
    blocks: int = 5,
    seconds: Annotated[float, typer.Option(help="Per visit.")] = 0.3,
    visits: Annotated[int, typer.Option(help="Of each side in a block.")] = 16,
) -> None:
    """Measure the harness's own cost on DeepSparse."""
    from sparsebench.bench.comparisons.alternated_visits import pair_visits
    from sparsebench.bench.statistics import BlockPair, estimate_ratio

    artifact = export_backbone(
        load_backbone(backbone), size=size, readers=readers_of(["deepsparse"])
    )
    python = str(environments.install("neuralmagic"))
    images = np.random.default_rng(0).standard_normal(
        (batch_size, *artifact.input_shape), dtype=np.float32
    )
    pairs: dict[str, list[BlockPair]] = {"timed": [], "streamed": []}
    bare_calls: list[float] = []
    for block in range(blocks):
        arguments = [artifact.onnx, str(batch_size), str(size), str(threads)]
        with (
            subprocess.Popen(
                [python, "-c", _BARE, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            ) as bare,
            start_worker("deepsparse", threads=threads) as worker,
        ):
            worker.available()
            worker.compile(artifact, CompileRequest(batch_size, threads))
            slot = worker.load(images)
            worker.time(slot, calls=10, budget=0, most=10)
            assert bare.stdout is not None
            while bare.stdout.readline().strip() != "ready":
                pass
            sides: dict[str, list[float]] = {"bare": [], "timed": [], "streamed": []}
            # There and back again, so that a drift weighs on all sides alike.
            for visit in range(visits):
                for side in sides if visit % 2 == 0 else reversed(sides):
                    sides[side].append(_visit(side, bare, worker, slot, images, seconds))
            bare.stdin.close()  # type: ignore[union-attr]
            bare.wait()
        for side, found in pairs.items():
            # bare over suite, in seconds a call: the ratio of throughputs suite over bare.
            both = ([np.array([call]) for call in sides[name]] for name in ("bare", side))
            found.append(pair_visits(*both))
        bare_calls.append(float(np.median(sides["bare"])))
        rates = {side: round(batch_size / np.median(calls)) for side, calls in sides.items()}
        print(f"block {block + 1}/{blocks}: images/s {rates}")
    call = 1e3 * float(np.median(bare_calls))
    for side, found in pairs.items():
        ratio = estimate_ratio(found)
        added = [call * (1 / share - 1) for share in (ratio.median, ratio.high, ratio.low)]
        print(
            f"{side}: {ratio.median:.3f} of the bare loop ({ratio.low:.3f} to {ratio.high:.3f}); "
            f"adds {added[0]:+.2f} ms ({added[1]:+.2f} to {added[2]:+.2f}) to {call:.2f} ms"
        )


def _visit(
    side: str,
    bare: subprocess.Popen[str],
    worker: EngineWorker,
    slot: int,
    images: np.ndarray[Any, np.dtype[np.float32]],
    seconds: float,
) -> float:
    """Mean seconds of a call during one visit."""
    if side == "bare":
        assert bare.stdin is not None and bare.stdout is not None
        bare.stdin.write(f"{seconds}\n")
        bare.stdin.flush()
        return float(json.loads(bare.stdout.readline()))
    if side == "timed":
        return float(np.mean(worker.time(slot, calls=3, budget=seconds, most=10**6)))
    start = time.perf_counter()
    calls = 0
    worker.submit(images)
    while time.perf_counter() - start < seconds:
        worker.submit(images)
        worker.collect()
        calls += 1
    worker.collect()
    return (time.perf_counter() - start) / (calls + 1)


if __name__ == "__main__":
    typer.run(main)
