"""INT8 on the suite's own kernels beside all who could be faster, by processor time:
``python -m sparsebench.results.scripts.native_int8 --batch-size 64 --batch-size 1``.

Sessions in processes of their own take turns, as in ``native_inference``, whose clock this is:
the sparse network in INT8 on native and on DeepSparse and in fp32 on native, and the dense one in
INT8 on every engine and in bf16 on OpenVINO. INT8 is calibrated on random images, as speed asks
for no others. Prints one JSON line for each network and batch size: milliseconds a call, and how
many times as long the others take as native in INT8.
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
from sparsebench.exporters.onnx.quantise_artifact import quantised_artifact
from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.exporters.worker.launch import ENGINES, start_worker
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.zoo.load import load_backbone
from sparsebench.results.scripts.native_inference import VISIT, least_seconds

OWN = "native int8"
# Of the sparse network, then of the dense one: engine, precision.
SPARSE = (("native", "int8"), ("deepsparse", "int8"), ("native", "fp32"))
DENSE = (
    *((engine, "int8") for engine in ("native", "deepsparse", "onnxruntime", "openvino")),
    ("openvino", "bf16"),
)


def main(
    backbone: Annotated[list[str] | None, typer.Option(help="Name; may be repeated.")] = None,
    batch_size: Annotated[list[int] | None, typer.Option(help="May be repeated.")] = None,
    size: Annotated[int, typer.Option(help="Side of the images, pixels.")] = 64,
    dense: Annotated[str, typer.Option(help="The dense network.")] = "resnet18/dense",
    threads: int = 1,
    visits: Annotated[int, typer.Option(help="Of each session.")] = 60,
) -> None:
    """Measure and print."""
    for name in backbone or ["resnet18/gmp_uniform_block4-90", "resnet18/gmp_uniform-90"]:
        for batch in batch_size or [64, 16, 1]:
            line = {"backbone": name, "size": size, "batch_size": batch, "threads": threads}
            found = measure((name, dense), size, batch, threads, visits)
            print(json.dumps(line | found), flush=True)


def measure(
    names: tuple[str, str], size: int, batch: int, threads: int, visits: int
) -> dict[str, Any]:
    """Least processor milliseconds of a call of each session, and what goes with them.

    Args:
        names: of the sparse and of the dense network.
        size: of the images, pixels.
        batch: images of a call.
        threads: of each engine.
        visits: of each session.
    """
    images = np.random.default_rng(0).standard_normal((batch, 3, size, size), dtype=np.float32)
    calibration = np.random.default_rng(1).standard_normal((64, 3, size, size), dtype=np.float32)
    forms: dict[tuple[str, str], Artifact] = {}
    for name in names:
        forms[name, ""] = export_backbone(
            load_backbone(name), size=size, readers=readers_of(["deepsparse"])
        )
        for form in ("qdq", "integer"):
            forms[name, form] = quantised_artifact(
                forms[name, ""], form, "native int8", lambda: calibration
            )
    described: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    with ExitStack() as stack:
        sides: dict[str, tuple[EngineWorker, int, int]] = {}
        pairs = [(names[0], *one) for one in SPARSE] + [(names[1], *one) for one in DENSE]
        for name, engine, precision in pairs:
            side = f"{'' if name == names[0] else 'dense '}{engine} {precision}"
            form = getattr(ENGINES.load(engine), "int8_form", "qdq") if precision == "int8" else ""
            worker = stack.enter_context(start_worker(engine, threads=threads))
            try:
                answer = worker.compile(
                    forms[name, form], CompileRequest(batch, threads, precision)
                )
            except WorkerFailed as failure:
                left_out[side] = failure.reason
                continue
            if side == OWN:
                told = answer["describe"]
                described = {key: told[key] for key in ("fours_share", "code_bytes")}
                described["compile_seconds"] = round(float(answer["seconds"]), 2)
            slot = worker.load(images)
            call = min(worker.time(slot, calls=5, budget=0, most=5))
            sides[side] = worker, slot, max(1, round(VISIT / call))
        best = least_seconds(sides, visits)
    return {
        "load": round(os.getloadavg()[0], 1),
        "ms": {side: round(1e3 * seconds, 3) for side, seconds in best.items()},
        "times_native_int8": {
            side: round(seconds / best[OWN], 2) for side, seconds in best.items() if side != OWN
        },
        **described,
        "left_out": left_out,
    }


if __name__ == "__main__":
    typer.run(main)
