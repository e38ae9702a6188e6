"""A file under a name of another kind is called what its bytes say, by whoever reads it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from sparsebench.models.checkpoints import load_checkpoint
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.onnx_file.structure import load_model
from tests.models.onnx_graphs import BODY, model_of

WEIGHTS = {"fc.weight": torch.ones(2, 3)}
READERS: dict[str, Callable[[Path], object]] = {
    ".pth": load_checkpoint,
    ".safetensors": load_checkpoint,
    ".onnx": load_model,
}


def torch_s(zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(WEIGHTS, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def packed() -> dict[str, bytes]:
    tarred, zipped = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("w.pth"))
    with zipfile.ZipFile(zipped, "w") as files:
        files.writestr("w.pth", torch_s())
    return {"a tar": tarred.getvalue(), "a zip": zipped.getvalue()}


ONNX = model_of(BODY, ["features"]).SerializeToString()
PAGE = "Download the file itself"
KINDS: dict[str, tuple[bytes, str]] = {
    "a file of torch.save": (torch_s(), "Name it mine.pth."),
    "a file of torch.save ": (torch_s(zipped=False), "Name it mine.pth."),
    "a safetensors file": (save(WEIGHTS), "Name it mine.safetensors."),
    "an ONNX graph": (ONNX, "Name it mine.onnx."),
    "a gzip archive": (gzip.compress(torch_s()), "Unpack it"),
    "a bzip2 archive": (bz2.compress(torch_s()), "Unpack it"),
    "an xz archive": (lzma.compress(torch_s()), "Unpack it"),
    **{f"{name} archive": (given, "Unpack it") for name, given in packed().items()},
    "a web page": (b"\n  <!DOCTYPE html><title>404", PAGE),
    "a web page ": (b"\xef\xbb\xbf<HTML>", PAGE),
    "XML": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', PAGE),
    "JSON": (b'{"message": "Not Found"}', PAGE),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", PAGE),
    "text that starts with 'Access denied'": (b"Access denied\nfor you\n", PAGE),
    "a PNG image": (b"\x89PNG\r\n\x1a\n" + bytes(50), PAGE),
    "a GGUF file": (b"GGUF" + bytes(60), "ONNX"),
}


@pytest.mark.parametrize("suffix", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_called_what_it_is_under_any_name(tmp_path: Path, kind: str, suffix: str) -> None:
    given, fix = KINDS[kind]
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(given)
    if fix == f"Name it mine{suffix}." or (kind, suffix) == ("a safetensors file", ".pth"):
        READERS[suffix](path)
        return
    with pytest.raises(SparsebenchError) as caught:
        READERS[suffix](path)
    assert f"mine{suffix}' is {kind.strip()}, no" in caught.value.cause
    assert fix in caught.value.fix
