"""Whether a network's file is the network, before it is taken.

On random images, by ONNX Runtime; what the engines compute of real ones is compared again before
any clock starts (:mod:`sparsebench.exporters.onnx.verify`), by the same limit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sparsebench.exporters.onnx.onnx_weights import onnx_mask
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.masks import mask_of
from sparsebench.models.onnx_file.running import run_session, session_of
from sparsebench.models.onnx_file.structure import load_model

TOLERANCE = 1e-3
"""Largest error of fp32 outputs, relative to the largest reference value. Engines reorder sums
(observed 1e-6 to 1e-5)."""
_IMAGES = 3  # another number than the example's: the file must take any


def why_wrong(module: nn.Module, path: Path, example: Tensor) -> str:
    """What of a file is not its network's, or nothing.

    Args:
        module: in eval mode.
        path: its ONNX file.
        example: float32 ``[n, 3, size, size]``.
    """
    try:
        zeros = onnx_mask(path, module, tuple(example.shape[1:]))  # type: ignore[arg-type]
        shape = (_IMAGES, *example.shape[1:])
        images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        session = session_of(load_model(path), path)
        found = run_session(session, [session.get_outputs()[0].name], images, path)[0]
    except SparsebenchError as error:
        return error.cause.rstrip(".")
    with torch.inference_mode():
        expected = module(torch.from_numpy(images)).float().numpy()
    own = mask_of(module)
    if any(not torch.equal(zeros[name], own[name]) for name in zeros):
        return "its zeros are not the network's"
    if found.shape != expected.shape:
        return f"its output has shape {list(found.shape)}, not {list(expected.shape)}"
    scale = max(float(np.abs(expected).max()), 1e-30)
    error_of_range = float(np.abs(found - expected).max()) / scale
    if not error_of_range <= TOLERANCE:
        return (
            f"its outputs differ from PyTorch's by {error_of_range:.1e} of their range "
            f"(limit {TOLERANCE})"
        )
    return ""
