"""Files of other kinds that are taken for checkpoints: what they are, and how they are run."""

from __future__ import annotations

import zipfile
from pathlib import Path

from sparsebench.models.errors import SparsebenchError

_ONNX = "Export it to ONNX and name the .onnx file: it is run as it is."
_SAVE = "Save a state dict with torch.save(model.state_dict(), FILE), or export it to ONNX."
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
_HEADS = {
    b"\x89HDF": "a Keras or HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"<!doc": "a web page",
    b"<!DOC": "a web page",
    b"<html": "a web page",
    b"version https://": "a pointer of Git LFS, not the file itself",
}
_FROM_TORCH = "`torch.onnx.export(torch.jit.load(FILE), (torch.zeros(1, 3, 224, 224),), ...)`"


def refuse_foreign(path: Path, head: bytes) -> None:
    """Say what a file is that is no checkpoint, by its first bytes, entries and suffix.

    Raises:
        SparsebenchError: it is of a known other kind.
    """
    kind = next((what for start, what in _HEADS.items() if head.startswith(start)), None)
    if head[4:8] == b"TFL3":
        kind = "a TensorFlow Lite model"
    if head.startswith(b"PK"):
        kind = _zipped(path) or kind
    elif kind is None and not head.startswith((b"\x80", b"PK")) and head[8:9] != b"{":
        kind = _SUFFIXES.get(path.suffix.lower())
    if kind is None:
        return
    if "TorchScript" in kind:
        raise SparsebenchError(
            f"'{path}' is {kind}, not a checkpoint; its code is not run.",
            f"Export it to ONNX, {_FROM_TORCH}, and name the .onnx file; or {_SAVE[0].lower()}"
            f"{_SAVE[1:]}",
        )
    if "web page" in kind or "pointer" in kind:
        raise SparsebenchError(f"'{path}' is {kind}.", "Download the file itself.")
    raise SparsebenchError(f"'{path}' is {kind}, not a PyTorch checkpoint.", f"{_ONNX} {_SAVE}")


def _zipped(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # what is damaged is said where it is read
        return None
    lasts = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in lasts or any("/code/" in name for name in names):
        return "a TorchScript program (torch.jit.save)"
    exported = {"archive_format", "serialized_exported_program.json", "serialized_state_dict.pt"}
    if exported & lasts or path.suffix == ".pt2":
        return "a torch.export program (.pt2)"
    if names and all(name.endswith(".npy") for name in names):
        return "NumPy arrays (.npz)"
    if {"config.json", "model.weights.h5"} <= lasts:
        return "a Keras model"
    return None
