"""Inference on the suite's own kernels beside DeepSparse, by processor time:
``python -m sparsebench.results.scripts.native_inference --batch-size 64 --batch-size 16``.

Three sessions of one ONNX file in processes of their own take turns: ``generated`` (native, with
code for the pattern), ``compiled`` (native without it) and ``deepsparse``. Counted is the
processor time of all of a process's threads over a visit of a few calls, and of the visits the
least one: others on the machine take turns with us, which this clock does not see, and empty the
caches, which the least value sees the least. Prints one JSON line for each network and batch size:
milliseconds a call, ratios of them, and what compiling took. With ``--layers`` also what each layer
takes and its share of the peak; that is by the wall clock and wants a quiet machine. With
``--bf16`` a fourth session is native in bf16.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import Annotated, Any

import numpy as np
import typer

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.worker.client import EngineWorker
from sparsebench.exporters.worker.launch import start_worker
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.zoo.load import load_backbone

SIDES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "generated": ("native", "fp32", {}),
    "compiled": ("native", "fp32", {"generate": False}),
    "deepsparse": ("deepsparse", "fp32", {}),
}
BF16 = "native bf16"
VISIT = 0.02  # seconds that a visit takes at least; below, its clock would not tell


def main(
    backbone: Annotated[list[str] | None, typer.Option(help="Name; may be repeated.")] = None,
    batch_size: Annotated[list[int] | None, typer.Option(help="May be repeated.")] = None,
    size: Annotated[int, typer.Option(help="Side of the images, pixels.")] = 64,
    threads: int = 1,
    visits: Annotated[int, typer.Option(help="Of each session.")] = 100,
    layers: Annotated[bool, typer.Option(help="Also each layer's time.")] = False,
    bf16: Annotated[bool, typer.Option(help="Also native in bf16.")] = False,
) -> None:
    """Measure and print."""
    for name in backbone or ["resnet18/uniform-90@generated"]:
        artifact = export_backbone(
            load_backbone(name), size=size, readers=readers_of(["deepsparse"])
        )
        for batch in batch_size or [64]:
            line = {"backbone": name, "size": size, "batch_size": batch, "threads": threads}
            found = measure(artifact, batch, threads, visits, layers, bf16)
            print(json.dumps(line | found), flush=True)


def measure(
    artifact: Artifact,
    batch_size: int,
    threads: int,
    visits: int,
    layers: bool = False,
    bf16: bool = False,
) -> dict[str, Any]:
    """Least processor milliseconds of a call for each side, and what goes with them."""
    shape = (batch_size, *artifact.input_shape)
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        sides: dict[str, tuple[EngineWorker, int, int]] = {}
        wanted = SIDES | ({BF16: ("native", "bf16", {})} if bf16 else {})
        for side, (engine, precision, options) in wanted.items():
            worker = stack.enter_context(start_worker(engine, threads=threads))
            answer = worker.compile(
                artifact, CompileRequest(batch_size, threads, precision, options=dict(options))
            )
            found[f"{side}_compile_seconds"] = round(float(answer["seconds"]), 2)
            slot = worker.load(images)
            call = min(worker.time(slot, calls=5, budget=0, most=5))
            sides[side] = worker, slot, max(1, round(VISIT / call))
        native = sides["generated"][0].describe
        found |= {
            "paths": sorted(set(native["layers"].values())),
            "code_bytes": native["code_bytes"],
        }
        best = least_seconds(sides, visits)
        if layers:
            worker, slot, _ = sides["generated"]
            told = worker.profile(slot, calls=visits) or []
            found["layers"] = [
                {"values": one.values, "kind": one.kind, "ms": 1e3 * one.seconds, "peak": one.peak}
                for one in told
            ]
    own = best["generated"]
    if bf16:
        found["bf16_layers"] = sides[BF16][0].describe["bf16_layers"]
        found["generated/bf16"] = round(own / best[BF16], 3)
        found["deepsparse/bf16"] = round(best["deepsparse"] / best[BF16], 3)
    return {
        "load": round(os.getloadavg()[0], 1),
        "ms": {side: round(1e3 * seconds, 3) for side, seconds in best.items()},
        "deepsparse/generated": round(best["deepsparse"] / own, 3),
        "compiled/generated": round(best["compiled"] / own, 3),
        **found,
    }


def least_seconds(sides: dict[str, tuple[EngineWorker, int, int]], visits: int) -> dict[str, float]:
    """Least processor seconds of a call of each side, in turns.

    Args:
        sides: worker, its slot with the images, calls of a visit.
        visits: of each side.
    """
    best = dict.fromkeys(sides, float("inf"))
    for turn in range(visits):  # there and back again
        for side in sides if turn % 2 else reversed(sides):
            worker, slot, calls = sides[side]
            visit = worker.visit(slot, calls=calls, budget=0, most=calls)
            best[side] = min(best[side], visit.process_seconds / calls)
    return best


if __name__ == "__main__":
    typer.run(main)
