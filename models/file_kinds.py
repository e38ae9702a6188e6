"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

HEAD_BYTES = 512
ONNX, TORCH, SAFETENSORS = "an ONNX graph", "a file of torch.save", "a safetensors file"
ARCHIVE = "archive"
_SUFFIX = {ONNX: ".onnx", TORCH: ".pth", SAFETENSORS: ".safetensors"}
# What servers send in place of a file.
_PAGES = ("a web page", "a pointer", "XML", "JSON", "text", "a PNG", "a JPEG", "a PDF")
_LONGEST_HEADER = 2**27  # of a safetensors file
_HEADS = {
    b"\x89HDF": "a Keras or HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"GGUF": "a GGUF file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
    b"\x1f\x8b": f"a gzip {ARCHIVE}",
    b"BZh": f"a bzip2 {ARCHIVE}",
    b"\xfd7zXZ": f"an xz {ARCHIVE}",
    b"\x28\xb5\x2f\xfd": f"a Zstandard {ARCHIVE}",
    b"7z\xbc\xaf": f"a 7z {ARCHIVE}",
    b"Rar!": f"a RAR {ARCHIVE}",
    b"version https://git-lfs": "a pointer of Git LFS",
}
# A ModelProto starts with its IR version, a small number, and goes on with one of its own fields.
_ONNX_START = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42\x72\xa2]", re.DOTALL)
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e]+")


def head_of(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def kind_of(path: Path, head: bytes) -> str | None:
    """What a file is, in words; None where nothing tells.

    Args:
        path: of the file; a zip archive's list of names is read too.
        head: the first :data:`HEAD_BYTES`, or all of a shorter file.
    """
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LONGEST_HEADER:
        return SAFETENSORS
    # Asked after that: the low byte of a header's length may be a pickle's first byte.
    if head.startswith(b"\x80"):
        return TORCH
    if head.startswith(b"PK"):
        return _zipped(path)
    if _ONNX_START.match(head):
        return ONNX
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    if head[257:262] == b"ustar":
        return f"a tar {ARCHIVE}"
    known = next((what for start, what in _HEADS.items() if head.startswith(start)), None)
    return known or _text(head)


def _zipped(path: Path) -> str:
    """A zip archive by what is in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # what is damaged is said where it is read
        return TORCH
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
    # torch reads what has a pickle and a version of its format.
    if names and not any("data.pkl" in name or "/data/" in name for name in names):
        return f"a zip {ARCHIVE} ({names[0]}, ...)" if len(names) > 1 else f"a zip {ARCHIVE}"
    return TORCH


def _text(head: bytes) -> str | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    low = start[:16].lower()
    if low.startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        return "a web page"
    if low.startswith(b"<?xml"):
        return "XML"
    if low.startswith((b"{", b"[")) and _TEXT.fullmatch(start):
        return "JSON"
    if start and _TEXT.fullmatch(start):
        line = start.splitlines()[0][:60].decode("ascii").rstrip()
        return f"text that starts with '{line}'"
    return None


def fix_of(kind: str, path: Path) -> str:
    """What to do about a file that is of another kind than its name says; empty: who reads it."""
    if kind in _SUFFIX:
        return f"Name it {path.with_suffix(_SUFFIX[kind]).name}."
    if ARCHIVE in kind:
        return "Unpack it, and name the file in it."
    if kind.startswith(_PAGES):
        return "Download the file itself, and compare its size with what its page says."
    return ""
