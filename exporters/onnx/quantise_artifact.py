"""INT8 artifacts: calibrated once, proved against the float file, kept by content.

One folder holds both forms of the graph and ``calibration.json``, the ranges they were made with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from sparsebench.exporters.kernels.compiled.build import cpu_flags
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.onnx.onnx_weights import all_weighted_nodes
from sparsebench.exporters.onnx.quantise import (
    FORMS,
    LARGEST,
    LARGEST_WITHOUT_VNNI,
    quantise,
    tensors_to_calibrate,
    tie_pools,
)
from sparsebench.exporters.onnx.quantise_graph import fold_batch_norm
from sparsebench.exporters.onnx.quantise_ranges import METHOD, calibrate
from sparsebench.exporters.onnx.store import stored_artifact
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_hash, mask_of_arrays

CALIBRATION_IMAGES = 256
CALIBRATION_FILE = "calibration.json"
# Part of the key under which artifacts are kept: to be raised when what is written changes.
_VERSION = "quantise-4"


def quantised_artifact(
    artifact: Artifact, form: str, calibration: str, images: Callable[[], NDArray[np.float32]]
) -> Artifact:
    """The INT8 form of an artifact.

    Args:
        artifact: in float.
        form: ``"integer"`` or ``"qdq"``, see ``quantise``.
        calibration: identity of the images, of which and how they were preprocessed.
        images: gives them, ``[n, 3, H, W]``; called only where there is no artifact yet.

    Raises:
        SparsebenchError: nothing to quantize, no images, or the quantized file does not hold the
            float file's zeros.
    """
    key = [Path(artifact.folder).name, calibration, _VERSION, onnx.__version__]
    most = largest_here()
    if most != LARGEST:
        key.append(str(most))
    digest = hashlib.sha256("\n".join(key).encode()).hexdigest()[:24]
    name = str(artifact.facts.get("backbone", "the network"))
    made = stored_artifact(
        digest, name, lambda folder: _make(artifact, folder, digest, images(), most)
    )
    facts = {**made.facts, "quantisation": {**made.facts["quantisation"], "form": form}}
    return replace(made, onnx=str(Path(made.folder) / f"{form}.onnx"), facts=facts)


def largest_here() -> int:
    """The largest byte of a weight in ``qdq`` that this processor multiplies rightly."""
    flags = cpu_flags()
    exact = {"avx512_vnni", "avx_vnni", "amx_int8"} & flags or "avx2" not in flags
    return LARGEST if exact else LARGEST_WITHOUT_VNNI


def _make(
    artifact: Artifact, folder: Path, digest: str, images: NDArray[np.float32], most: int
) -> Artifact:
    model = onnx.load(artifact.onnx)
    fold_batch_norm(model)
    ranges = calibrate(model, tensors_to_calibrate(model), images)
    tie_pools(model, ranges)
    expected = _zeros(Path(artifact.onnx))
    for form in FORMS:
        path = folder / f"{form}.onnx"
        # DeepSparse, which takes the other form, knows of it and loses nothing.
        made = quantise(model, ranges, form, most if form == "qdq" else LARGEST)
        onnx.save(made, str(path))
        if _zeros(path) != expected:
            raise SparsebenchError(
                f"The INT8 file of {artifact.facts.get('backbone')} does not hold the zeros of its "
                f"float file ({form}).",
                "Report it, with the backbone's name.",
            )
    told = {name: [one.low, one.high] for name, one in sorted(ranges.items())}
    (folder / CALIBRATION_FILE).write_text(json.dumps(told, indent=1) + "\n")
    return replace(
        artifact,
        folder=str(folder),
        onnx=str(folder / f"{FORMS[0]}.onnx"),
        weights=None,
        torch_builder=None,
        facts={
            **artifact.facts,
            "quantisation": {
                "key": digest,
                "images": len(images),
                "ranges": METHOD,
                "largest_weight": {"integer": LARGEST, "qdq": most},
            },
        },
    )


def _zeros(path: Path) -> str:
    """Hash of where a file's weights are zero, layer by layer whatever their names."""
    layers = enumerate(all_weighted_nodes(path))
    return mask_hash(mask_of_arrays({str(at): layer.weight != 0 for at, layer in layers}))
