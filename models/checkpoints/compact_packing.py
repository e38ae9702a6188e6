"""Entries of a compact file in fewer bytes, without loss.

The bytes of a row of numbers are stored by their place in the number (all first bytes, then all
second ones), each place deflated where that makes it smaller. Signs and exponents of weights
repeat, and so does a mask of few bits; the last bits of a weight do not.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsebench.models.checkpoints.containers import damaged

SUFFIX = "::packed"
_SMALLEST_ENTRY = 4096  # bytes; of smaller ones the safetensors header would take the gain
_LENGTH = np.dtype("<u4")  # of each place, in front of them all
_RAW_DEFLATE = -15


def pack(entries: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Replace what becomes smaller, in place, and return what :func:`unpack` needs of it.

    Args:
        entries: name -> contiguous tensor; a packed one is renamed by :data:`SUFFIX`.

    Returns:
        First name -> ``shape`` and ``dtype`` of the tensor.
    """
    described: dict[str, dict[str, Any]] = {}
    for name, tensor in list(entries.items()):
        size = tensor.numel() * tensor.element_size()
        if not _SMALLEST_ENTRY <= size < 2**32:
            continue
        stream = _deflated(_bytes(tensor))
        if len(stream) < size:
            del entries[name]
            entries[name + SUFFIX] = torch.frombuffer(bytearray(stream), dtype=torch.uint8)
            dtype = str(tensor.dtype).removeprefix("torch.")
            described[name] = {"shape": list(tensor.shape), "dtype": dtype}
    return described


def unpack(
    path: Path,
    entries: dict[str, Tensor],
    described: Mapping[str, Mapping[str, Any]],
    dtypes: Mapping[str, torch.dtype],
) -> None:
    """Put back what :func:`pack` replaced, in place.

    Args:
        path: of the file, for messages.
        entries: name -> tensor.
        described: what :func:`pack` returned, its shapes and types checked.
        dtypes: name -> type.

    Raises:
        SparsebenchError: a stream is missing, or is not of the length that it claims.
    """
    for name, about in described.items():
        stream = entries.pop(name + SUFFIX, None)
        if stream is None or stream.dtype != torch.uint8 or stream.dim() != 1:
            raise damaged(path, f"the packed entry '{name}' is missing")
        whole = torch.empty(about["shape"], dtype=dtypes[about["dtype"]])
        _inflate(path, name, stream.numpy().tobytes(), _bytes(whole))
        entries[name] = whole


def _bytes(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The tensor's own memory, ``[elements, bytes of one]``."""
    rows: np.ndarray[Any, np.dtype[np.uint8]]
    rows = tensor.reshape(-1).view(torch.uint8).reshape(-1, tensor.element_size()).numpy()
    return rows


def _deflated(rows: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    places = []
    for place in rows.T:
        raw = place.tobytes()
        # Longer repetitions than runs do not occur, and looking for them takes ten times as long.
        deflate = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE, 9, zlib.Z_RLE)
        packed = deflate.compress(raw) + deflate.flush()
        places.append(packed if len(packed) < len(raw) else raw)  # a reader knows by the length
    lengths = np.array([len(place) for place in places], _LENGTH)
    return lengths.tobytes() + b"".join(places)


def _inflate(
    path: Path, name: str, stream: bytes, rows: np.ndarray[Any, np.dtype[np.uint8]]
) -> None:
    """Fill `rows`; a place as long as the rows are many was stored as it is."""
    count, size = rows.shape
    first = size * _LENGTH.itemsize
    wrong = damaged(path, f"the packed entry '{name}' does not hold {count} numbers")
    if len(stream) < first:
        raise wrong
    for place, length in enumerate(np.frombuffer(stream[:first], _LENGTH).tolist()):
        raw = stream[first : first + length]
        first += length
        if length != count:
            inflate = zlib.decompressobj(_RAW_DEFLATE)
            try:
                raw = inflate.decompress(raw, count + 1)
            except zlib.error:
                raise wrong from None
        if len(raw) != count:
            raise wrong
        rows[:, place] = np.frombuffer(raw, np.uint8)
    if first != len(stream):
        raise wrong
