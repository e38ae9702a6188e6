"""An artifact: one backbone at one input size, ready for every engine.

A folder with ``model.onnx`` (what ONNX engines read), ``weights.safetensors`` (what
PyTorch engines read) and ``artifact.json`` (all that is known of both). This module
is imported inside engine workers, so it needs nothing but the standard library.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ARTIFACT_FILE = "artifact.json"


@dataclass(frozen=True)
class Artifact:
    """Paths and facts of an exported backbone.

    Attributes:
        folder: where the files lie.
        onnx: path of the ONNX file.
        input_shape: ``(3, H, W)`` of one image.
        output_dim: D of the output ``[N, D]``.
        output: ``"features"`` (pooled penultimate), ``"logits"``, ``"maps"`` or ``"detector"``
            (:mod:`sparsebench.exporters.onnx.detector`).
        weights: path of the dense state dict, or None for a bare ONNX file.
        torch_builder: ``"module:function"`` that turns the artifact's facts into an
            ``nn.Module``, or None when there is only an ONNX file.
        facts: names and hashes (backbone, arch, mask, weights, exporter).
    """

    folder: str
    onnx: str
    input_shape: tuple[int, int, int]
    output_dim: int
    output: str
    weights: str | None = None
    torch_builder: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A dictionary that :meth:`from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Artifact:
        """The inverse of :meth:`to_json`."""
        shape = data["input_shape"]
        return cls(**{**data, "input_shape": (int(shape[0]), int(shape[1]), int(shape[2]))})

    @classmethod
    def read(cls, folder: Path) -> Artifact:
        """Read ``artifact.json``; paths are taken relative to where the folder lies now."""
        data = json.loads((folder / ARTIFACT_FILE).read_text())
        data["folder"] = str(folder)
        data["onnx"] = str(folder / Path(data["onnx"]).name)
        if data["weights"]:
            data["weights"] = str(folder / Path(data["weights"]).name)
        return cls.from_json(data)

    def write(self) -> None:
        """Write ``artifact.json`` into the artifact's folder."""
        path = Path(self.folder) / ARTIFACT_FILE
        path.write_text(json.dumps(self.to_json(), indent=1) + "\n")
