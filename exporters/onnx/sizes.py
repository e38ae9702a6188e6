"""How large a model is on disk: with its zeros, without them, compressed."""

from __future__ import annotations

import zlib
from pathlib import Path

from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.models.costs import LayerCost, bytes_ratio, total_cost

_KEPT = "deflated_bytes.txt"
_CHUNK = 1 << 20
_FASTEST = 1


def model_bytes(artifact: Artifact, costs: list[LayerCost]) -> dict[str, int]:
    """Bytes of an exported network in three forms.

    Args:
        artifact: of it, with 32-bit weights.
        costs: of its layers, for the number of weights and of zeros among them.

    Returns:
        ``dense``: its ONNX file, which stores zeros as numbers; ``sparse``: the same with the
        weights of every layer as their non-zeros and one bit each that says where they are;
        ``compressed``: the ONNX file after deflate (what a ``.zip`` of it takes), at its fastest
        level.
    """
    dense = Path(artifact.onnx).stat().st_size
    weights = 4 * total_cost(costs).params
    saved = round(min(weights, dense) * (1 - bytes_ratio(costs)))
    return {"dense": dense, "sparse": dense - saved, "compressed": _deflated(artifact)}


def _deflated(artifact: Artifact) -> int:
    """Bytes after deflate; counted once, then read beside the file."""
    kept = Path(artifact.folder) / _KEPT
    try:
        return int(kept.read_text())
    except (OSError, ValueError):
        pass
    machine = zlib.compressobj(_FASTEST)
    count = 0
    with Path(artifact.onnx).open("rb") as file:
        while chunk := file.read(_CHUNK):
            count += len(machine.compress(chunk))
    count += len(machine.flush())
    try:
        kept.write_text(str(count))
    except OSError:  # a cache that cannot be written costs a second the next time
        pass
    return count
