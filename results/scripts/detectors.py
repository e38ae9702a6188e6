"""Inference of whole detectors on every engine, by processor time:
``python -m sparsebench.results.scripts.detectors --batch-size 16``.

Sessions in processes of their own take turns; of each, the least processor time of a call counts,
which others on the machine disturb the least. INT8 is calibrated on the same random images, for
times alone. Prints one JSON line for each network and engine.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Annotated

import numpy as np
import typer

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.detector import export_detector
from sparsebench.exporters.onnx.quantise_artifact import quantised_artifact
from sparsebench.exporters.worker.client import EngineWorker
from sparsebench.exporters.worker.launch import ENGINES as REGISTERED
from sparsebench.exporters.worker.launch import start_worker
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.zoo.load import load_backbone
from sparsebench.results.scripts.native_inference import least_seconds

USUAL = (
    *("yolov5n/dense@generated", "yolov5n/uniform-90@generated"),
    *("resnet18/dense", "resnet18/gmp-90", "resnet18/gmp_uniform-90"),
)
ENGINES = (
    *("onnxruntime", "openvino", "openvino:bf16", "deepsparse", "native"),
    *("onnxruntime:int8", "openvino:int8", "deepsparse:int8"),
)


def main(
    backbone: Annotated[list[str] | None, typer.Option(help="Name; may be repeated.")] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Name or name:precision; may be repeated.")
    ] = None,
    batch_size: int = 16,
    size: Annotated[int, typer.Option(help="Side of the images, pixels.")] = 160,
    classes: Annotated[int, typer.Option(help="Of the head.")] = 3,
    threads: int = 1,
    visits: Annotated[int, typer.Option(help="Of each session, one call each.")] = 12,
) -> None:
    """Measure and print."""
    shape = (batch_size, 3, size, size)
    images = np.random.default_rng(0).random(shape, dtype=np.float32)
    with ExitStack() as stack:
        sides: dict[str, tuple[EngineWorker, int, int]] = {}
        for name in backbone or USUAL:
            loaded = load_backbone(name)
            artifact = export_detector(
                loaded,
                size=size,
                output="detector",
                classes=classes,
                readers=readers_of(["deepsparse"]),
            )
            for entry in engine or ENGINES:
                library, _, precision = entry.partition(":")
                worker = stack.enter_context(start_worker(library, threads=threads))
                request = CompileRequest(batch_size, threads, precision=precision or "fp32")
                given = artifact
                if precision == "int8":
                    form = getattr(REGISTERED.load(library), "int8_form", "qdq")
                    given = quantised_artifact(
                        artifact, form, f"random images {batch_size}", lambda: images
                    )
                worker.compile(given, request)
                slot = worker.load(images)
                worker.time(slot, calls=2, budget=0, most=2)
                sides[f"{name} on {entry}"] = worker, slot, 1
        for side, seconds in least_seconds(sides, visits).items():
            told = {"detector": side, "batch_size": batch_size, "ms": round(1e3 * seconds, 2)}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    typer.run(main)
