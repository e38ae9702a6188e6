"""``sparsebench export``: write a backbone as ONNX, verified."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from sparsebench.bench.cli.options import Json, a_place
from sparsebench.bench.cli.say import echo, echo_json
from sparsebench.models.errors import SparsebenchError

CHECKED_BY = "onnxruntime"
EPILOG = """Examples:

  sparsebench export efficientnet_lite0/magnitude-50

  sparsebench export resnet50/erk-90@generated --size 224 --output logits --out r50.onnx

  sparsebench export my.onnx --out my-features.onnx

  sparsebench export resnet18/uniform-90@generated --engine deepsparse
"""


def export(
    backbone: Annotated[
        str, typer.Argument(help="Backbone name (`sparsebench list backbones`) or ONNX file.")
    ],
    size: Annotated[int, typer.Option(help="Input side in pixels (0: the backbone's own).")] = 0,
    output: Annotated[
        str, typer.Option(help="features (pooled, [N, D]) or logits (the whole classifier).")
    ] = "features",
    out: Annotated[
        Path | None, typer.Option(callback=a_place, help="File to write (default: NAME.onnx).")
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help="Engine that the file is for, may be repeated (default: any)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export a backbone to ONNX and check it against PyTorch with ONNX Runtime.

    A detector (yolov5n/dense@best.pt) gives the raw predictions of its boxes, whatever the output.
    An ONNX file (my.onnx) is cut to its features, its batch axis made free, and checked against
    itself. torch's newer exporter writes the file where that is right, its older one for engines of
    older graphs (--engine deepsparse).
    """
    import numpy as np

    from sparsebench.bench.tasks import open_task
    from sparsebench.bench.workloads.prepared_backbone import first_images
    from sparsebench.exporters.engines.base import CompileRequest
    from sparsebench.exporters.onnx.detector import detects, export_whole
    from sparsebench.exporters.onnx.export import export_backbone
    from sparsebench.exporters.onnx.verify import check_outputs, reference
    from sparsebench.exporters.worker.launch import ENGINES, start_worker
    from sparsebench.exporters.worker.readers import readers_of
    from sparsebench.models.cards import at_size
    from sparsebench.models.zoo.load import load_to_run

    if size < 0:
        raise SparsebenchError(f"--size must be 1 or more, not {size}.")
    for name in engine or ():
        ENGINES.target(name)  # an unknown name is said before anything is loaded
    loaded = load_to_run(backbone)
    target = out or _default_target(backbone, output)
    if target.resolve() == Path(backbone).resolve():
        raise SparsebenchError(f"{target} is the file itself.", "Choose another --out.")
    readers = readers_of([*(engine or ()), CHECKED_BY])
    if detects(loaded):
        output = "raw predictions of boxes"
        artifact = export_whole(
            loaded, size=size or loaded.card.preprocessing.size, readers=readers
        )
    else:
        artifact = export_backbone(loaded, size=size or None, output=output, readers=readers)
    preprocessing = at_size(loaded.card.preprocessing, artifact.input_shape[1])
    count = artifact.facts.get("batch_size") or 16
    images: np.ndarray = first_images(open_task("digits"), preprocessing, count)
    expected = reference(loaded, artifact, images)
    with start_worker(CHECKED_BY, threads=1) as worker:
        worker.compile(artifact, CompileRequest(batch_size=len(images), threads=1))
        verdict = check_outputs(loaded, artifact, expected, worker.run(images), "fp32")
    if not verdict.ok:
        raise SparsebenchError(f"The export of {backbone} failed verification: {verdict.reason}.")
    try:
        shutil.copyfile(artifact.onnx, target)
    except OSError as error:
        raise SparsebenchError(f"{target} cannot be written ({error.strerror}).") from error
    if as_json:
        echo_json({"onnx": str(target), **artifact.facts, **verdict.to_json()})
        return
    echo(f"{target}: {output} [N, {artifact.output_dim}] of images {artifact.input_shape}")
    if "exporter_instead" in artifact.facts:
        instead = artifact.facts["exporter_instead"]
        why = f" ({instead})" if instead else ""
        echo(f"  written by {artifact.facts['exporter']}, opset {artifact.facts['opset']}{why}")
    echo(f"  mask {expected.onnx_mask[:16]}… equal to the checkpoint's")
    share = verdict.argmax_agreement
    decisions = "" if share is None else f", decisions equal on {share:.0%}"
    echo(
        f"  against {verdict.against} on {verdict.images} real images: largest error "
        f"{verdict.max_abs_error:.1e}{decisions}"
    )


def _default_target(backbone: str, output: str) -> Path:
    from sparsebench.models.names import is_onnx_name

    if is_onnx_name(backbone):
        return Path(f"{Path(backbone).stem}-{output}.onnx")
    return Path(backbone.partition("@")[0].replace("/", "-") + ".onnx")
