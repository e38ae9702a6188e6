"""Files of other kinds that are taken for checkpoints: what they are, and how they are run."""

from __future__ import annotations

import re
from pathlib import Path

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.file_kinds import ONNX, SAFETENSORS, TORCH, fix_of, kind_of

_ONNX = "Export it to ONNX and name the .onnx file: it is run as it is."
_SAVE = "Save a state dict with torch.save(model.state_dict(), FILE), or export it to ONNX."
# As Hugging Face's libraries name the parts of a network that is saved in several files.
_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
_JOIN = (
    "Join the parts: `save_file({n: t for part in PARTS for n, t in load_file(part).items()}, "
    "'whole.safetensors')`, both of safetensors.torch."
)
_SUFFIXES = {
    ".pt2": "a torch.export program",
    ".npz": "NumPy arrays",
    ".npy": "a NumPy array",
    ".h5": "a Keras or HDF5 file",
    ".hdf5": "a Keras or HDF5 file",
    ".keras": "a Keras model",
    ".pb": "a TensorFlow graph",
    ".tflite": "a TensorFlow Lite model",
    ".mlmodel": "a Core ML model",
    ".engine": "a TensorRT engine",
    ".pdparams": "a Paddle checkpoint",
    ".xml": "an OpenVINO model",
    ".msgpack": "a Flax checkpoint",
}
_FROM_TORCH = "`torch.onnx.export(torch.jit.load(FILE), (torch.zeros(1, 3, 224, 224),), ...)`"


def refuse_foreign(path: Path, head: bytes) -> None:
    """Say what a file is that is no checkpoint, by its first bytes, entries and suffix.

    Args:
        path: of the file.
        head: its first bytes, :data:`sparsebench.models.file_kinds.HEAD_BYTES` of them.

    Raises:
        SparsebenchError: it is of a known other kind.
    """
    part = _PART.search(path.stem)
    if path.name.endswith(".index.json") or (part and int(part[2]) > 1):
        what = f"part {int(part[1])} of {int(part[2])} of a network" if part else (
            "a list of a network's parts, and holds no weights"
        )  # fmt: skip
        raise SparsebenchError(f"'{path}' is {what}.", _JOIN)
    kind = kind_of(path, head) or _SUFFIXES.get(path.suffix.lower())
    if kind == TORCH and path.suffix == ".safetensors":  # which torch.load would not take either
        raise SparsebenchError(f"'{path}' is {kind}, no safetensors file.", fix_of(kind, path))
    if kind in (None, TORCH, SAFETENSORS) or (kind == ONNX and path.suffix.lower() == ".onnx"):
        return
    assert kind is not None
    if "TorchScript" in kind:
        raise SparsebenchError(
            f"'{path}' is {kind}, not a checkpoint; its code is not run.",
            f"Export it to ONNX, {_FROM_TORCH}, and name the .onnx file; or {_SAVE[0].lower()}"
            f"{_SAVE[1:]}",
        )
    fix = fix_of(kind, path) or f"{_ONNX} {_SAVE}"
    raise SparsebenchError(f"'{path}' is {kind}, not a PyTorch checkpoint.", fix)
