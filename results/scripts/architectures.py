"""Architectures of a list from prune to engines, by processor time:
``python -m sparsebench.results.scripts.architectures``.

Each is built with random weights, dense and 90 % sparse, and exported; every engine's session of
either must compute what PyTorch does, with the checkpoint's zeros, before it is timed. Sessions in
processes of their own take turns; of each, the least processor time of a call counts, which others
on the machine disturb the least. Prints one JSON line for each: the exporter, milliseconds a call
of the dense and the sparse network by engine, or why an engine has none, and what the sparse
network on ``native`` gains against the dense one on ONNX Runtime.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Annotated, Any

import numpy as np
import typer

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.export import export_backbone
from sparsebench.exporters.onnx.verify import check_outputs, reference
from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.exporters.worker.launch import start_worker
from sparsebench.exporters.worker.readers import readers_of
from sparsebench.models.zoo.load import load_backbone
from sparsebench.results.scripts.native_inference import least_seconds

LIST = (
    *("timm:resnet18d", "resnet50", "timm:regnety_004", "timm:convnext_atto"),
    *("timm:convnext_tiny", "timm:vit_tiny_patch16_224", "timm:deit_small_patch16_224"),
    *("mobilenet_v2", "torchvision:mobilenet_v3_small", "timm:efficientnet_b0"),
    *("timm:densenet121", "torchvision:shufflenet_v2_x1_0", "timm:mobilevit_xxs"),
    *("timm:repvgg_a0", "timm:convmixer_1024_20_ks9_p14", "timm:efficientformer_l1"),
)
ENGINES = ("onnxruntime", "openvino", "deepsparse", "native")
SIDES = {"dense": "dense@generated", "sparse": "uniform-90@generated"}


def main(
    architecture: Annotated[list[str] | None, typer.Option(help="Name; may be repeated.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    size: Annotated[int, typer.Option(help="Pixels; 0: the usual one of each.")] = 0,
    batch_size: int = 16,
    visits: Annotated[int, typer.Option(help="Of each session, one call each.")] = 6,
) -> None:
    """Measure and print."""
    for arch in architecture or LIST:
        line = measure(arch, engine or list(ENGINES), size, batch_size, visits)
        print(json.dumps(line), flush=True)


def measure(
    arch: str, engines: list[str], size: int, batch_size: int, visits: int
) -> dict[str, Any]:
    """Least processor milliseconds of a call for each network and engine that passed the gate."""
    told: dict[str, Any] = {"architecture": arch, "batch_size": batch_size, "failed": {}}
    with ExitStack() as stack:
        sides: dict[str, tuple[EngineWorker, int, int]] = {}
        for side, weights in SIDES.items():
            backbone = load_backbone(f"{arch}/{weights}")
            artifact = export_backbone(backbone, size=size or None, readers=readers_of(engines))
            told |= {"size": artifact.input_shape[1], "exporter": artifact.facts["exporter"]}
            shape = (batch_size, *artifact.input_shape)
            images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
            expected = reference(backbone, artifact, images)
            for name in engines:
                worker = stack.enter_context(start_worker(name, threads=1))
                try:
                    worker.compile(artifact, CompileRequest(batch_size, 1))
                    outputs = worker.run(images)
                except WorkerFailed as failure:
                    told["failed"][f"{side} on {name}"] = failure.reason.splitlines()[0][:200]
                    continue
                verdict = check_outputs(backbone, artifact, expected, outputs, "fp32")
                if not verdict.ok:
                    told["failed"][f"{side} on {name}"] = verdict.reason
                    continue
                slot = worker.load(images)
                worker.time(slot, calls=1, budget=0, most=1)
                sides[f"{side} on {name}"] = worker, slot, 1
        best = least_seconds(sides, visits)
    told["ms"] = {side: round(1e3 * seconds, 1) for side, seconds in best.items()}
    rival, own = best.get("dense on onnxruntime"), best.get("sparse on native")
    told["native"] = round(rival / own, 2) if rival and own else None
    return told


if __name__ == "__main__":
    typer.run(main)
