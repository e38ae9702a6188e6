"""The compact format: sparse weights stored sparse, in an ordinary safetensors file.

A tensor ``T`` with many zeros becomes two entries, its non-zero values in row-major order
(``T::values``) and where they stand: either one bit per element, first element in the
highest bit (``T::bitmask``, uint8), or their flat positions, increasing (``T::indices``,
int32), whichever is smaller. Where the zeros stand in blocks of consecutive input channels,
both tell of blocks instead of elements (``block`` in the tensor's description; version 2).
Tensors that would not shrink are stored as they are. Then each entry is packed that becomes
smaller by it (``packed``; version 3). The safetensors header's text entries hold
``sparsebench_compact`` (the oldest version of this format that has all the file needs),
``tensors`` (JSON: per tensor its encoding, shape and type) and the writer's own metadata.

Weights may be stored in 16 bits; they come back in their first type. A non-zero never
becomes zero on the way, so that a mask survives; a pruned minus zero comes back as zero.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.compact_packing import pack, unpack
from sparsebench.models.checkpoints.compact_places import (
    BLOCK,
    READERS,
    by_channels,
    in_blocks,
    of_blocks,
    written,
)
from sparsebench.models.checkpoints.containers import (
    OpenedFile,
    damaged,
    open_file,
    read_safetensors,
)
from sparsebench.models.errors import SparsebenchError

# Blocks came with version 2, packed entries with 3; a file without them is of an older one still.
VERSIONS = ("1", "2", "3")
VERSION_KEY = "sparsebench_compact"
TENSORS_KEY, PACKED_KEY = "tensors", "packed"
# The whole network may have this many elements once unpacked (4 GiB in float32), and so many
# for each byte of its file beyond a usual network's, so that a forged header cannot ask for all
# of the memory: zeros cost nothing in the file.
LARGEST_NETWORK = 2**30
_USUAL_NETWORK, _ELEMENTS_A_BYTE = 2**26, 64
_OWN_KEYS = (VERSION_KEY, TENSORS_KEY, PACKED_KEY)
Described = dict[str, dict[str, Any]]
_DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
}
# What a weight too small for 16 bits becomes: float16's smallest subnormal (a normal number
# once it is float32 again) and bfloat16's smallest normal one.
_SMALLEST = {torch.float16: 2.0**-24, torch.bfloat16: torch.finfo(torch.bfloat16).tiny}


def save_compact(
    path: str | Path,
    state_dict: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    dtype: torch.dtype | None = None,
) -> None:
    """Write a state dict with its zeros left out; the file appears whole or not at all.

    Args:
        path: of the file, usually ``*.safetensors``.
        state_dict: name -> tensor of any shape.
        metadata: text entries for the reader, e.g. ``arch`` and ``num_classes``.
        dtype: float16 or bfloat16 to store floating-point tensors of two or more
            dimensions in 16 bits (biases and batch norm keep their type, being small
            and sensitive); None stores every tensor in its own type.

    Raises:
        SparsebenchError: a value does not fit `dtype`, a type is not supported, a
            metadata key is reserved, or the file cannot be written.
    """
    if dtype not in (None, torch.float16, torch.bfloat16):
        raise SparsebenchError(f"Weights cannot be stored as {dtype}.", "Use float16 or bfloat16.")
    reserved = set(_OWN_KEYS) & metadata.keys()
    if reserved:
        raise SparsebenchError(f"The metadata key '{min(reserved)}' is reserved.")
    if any("::" in name for name in state_dict):
        raise SparsebenchError("A tensor's name may not hold '::' in a compact file.")
    entries: dict[str, Tensor] = {}
    described: dict[str, dict[str, Any]] = {}
    for name, tensor in state_dict.items():
        parts, described[name] = _encode(name, tensor.detach().cpu().contiguous(), dtype)
        entries.update(parts)
    blocks = any("block" in about for about in described.values())
    packed = pack(entries)
    header = {
        **metadata,
        VERSION_KEY: VERSIONS[2 if packed else blocks],
        TENSORS_KEY: json.dumps(described, separators=(",", ":")),
    }
    if packed:
        header[PACKED_KEY] = json.dumps(packed, separators=(",", ":"))
    _write_whole(Path(path), entries, header)


def load_compact(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a compact file back: (state dict in its first types, the writer's metadata).

    Sizes, positions and shapes are checked against each other before anything is
    allocated.

    Raises:
        SparsebenchError: the file is missing, damaged, of a newer version, or not compact.
    """
    loaded = _load(open_file(Path(path)))
    return loaded.state_dict, loaded.metadata


def _recognises(opened: OpenedFile) -> bool:
    return VERSION_KEY in opened.metadata


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    path = opened.path
    if opened.kind != "safetensors":
        raise damaged(path, "it is not a safetensors file")
    entries, metadata = read_safetensors(path)
    described, packed = _description(path, metadata)
    _check_sizes(path, described, packed)
    unpack(path, entries, packed, _DTYPES)
    state_dict = {name: _decode(path, name, d, entries) for name, d in described.items()}
    if entries:
        raise damaged(path, f"'{min(entries)}' belongs to no tensor")
    kept = {k: v for k, v in metadata.items() if k not in _OWN_KEYS}
    return LoadedCheckpoint(state_dict, kept, COMPACT.name)


COMPACT = CheckpointFormat(
    "compact", "sparsebench's own: safetensors with the zeros left out", _recognises, _load
)


def _encode(
    name: str, tensor: Tensor, dtype: torch.dtype | None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    original = str(tensor.dtype).removeprefix("torch.")
    if original not in _DTYPES:
        raise SparsebenchError(f"'{name}' has type {original}, which a compact file cannot hold.")
    about: dict[str, Any] = {"shape": list(tensor.shape), "dtype": original}
    flat = tensor.reshape(-1)
    count = flat.numel()
    kept = flat != 0
    nonzeros = int(kept.sum())
    narrow = dtype is not None and tensor.is_floating_point() and tensor.dim() >= 2
    values = _narrowed(name, flat[kept], dtype) if narrow and dtype else flat[kept]

    block = BLOCK if in_blocks(kept.reshape(tensor.shape), BLOCK) else 1
    places = written(by_channels(kept.reshape(tensor.shape), block)[::block])
    if nonzeros * values.element_size() + places.size >= count * values.element_size():
        whole = torch.zeros(count, dtype=values.dtype)
        whole[kept] = values
        # Minus zeros and the like are kept where nothing is narrowed.
        stored = whole.reshape(tensor.shape) if narrow else tensor.clone()
        return {name: stored}, {"encoding": "dense", **about}
    if block > 1:
        about["block"] = block
    parts = {f"{name}::values": values, f"{name}::{places.encoding}": places.stored}
    return parts, {"encoding": places.encoding, **about}


def _narrowed(name: str, values: Tensor, dtype: torch.dtype) -> Tensor:
    narrow = values.to(dtype)
    if not torch.equal(torch.isfinite(narrow), torch.isfinite(values)):
        raise SparsebenchError(
            f"'{name}' holds values that do not fit {str(dtype).removeprefix('torch.')}.",
            "Store the weights as bfloat16 or in their own type.",
        )
    lost = narrow == 0
    if bool(lost.any()):
        smallest = torch.full_like(values, _SMALLEST[dtype]).copysign(values)
        narrow = torch.where(lost, smallest.to(dtype), narrow)
    return narrow


def _description(path: Path, metadata: Mapping[str, str]) -> tuple[Described, Described]:
    """What the header says of the tensors, and of the packed entries."""
    version = metadata.get(VERSION_KEY)
    if version is None:
        raise damaged(path, "it is a safetensors file, but no compact one")
    if version not in VERSIONS:
        raise SparsebenchError(
            f"'{path}' has version {version[:20]} of the compact format; this program "
            f"reads version {VERSIONS[-1]} and older.",
            "Update sparsebench.",
        )
    try:
        described = json.loads(metadata[TENSORS_KEY])
        packed = json.loads(metadata.get(PACKED_KEY, "{}"))
        valid = isinstance(described, dict) and all(_is_description(d) for d in described.values())
        valid &= isinstance(packed, dict) and all(_is_array(d) for d in packed.values())
    except (KeyError, ValueError, RecursionError):
        valid = False
    if not valid:
        raise damaged(path, "its list of tensors cannot be read")
    return described, packed


def _is_description(about: object) -> bool:
    return (
        isinstance(about, dict)
        and about.get("encoding") in ("dense", "bitmask", "indices")
        and _is_array(about)
        and ("block" not in about or _is_blocked(about))
    )


def _is_array(about: object) -> bool:
    return (
        isinstance(about, dict)
        and isinstance(about.get("dtype"), str)
        and about["dtype"] in _DTYPES
        and isinstance(about.get("shape"), list)
        and len(about["shape"]) <= 8
        and all(type(n) is int and n >= 0 for n in about["shape"])
    )


def _is_blocked(about: Mapping[str, Any]) -> bool:
    sides = about["shape"]
    return about["block"] == BLOCK and len(sides) > 1 and sides[1] % BLOCK == 0


def _check_sizes(path: Path, described: Described, packed: Described) -> None:
    # Empty sides count as one, so that no side of a tensor without elements is absurd.
    total, unpacked = (
        sum(math.prod(max(n, 1) for n in d["shape"]) for d in each.values())
        for each in (described, packed)
    )
    total = max(total, unpacked // 2)  # a tensor's values and their places
    by_size = max(_USUAL_NETWORK, _ELEMENTS_A_BYTE * path.stat().st_size)
    most = min(LARGEST_NETWORK, by_size)
    if total > most:
        raise damaged(path, f"it claims {total:.3g} weights, the format allows {most:.3g} here")


def _decode(path: Path, name: str, about: Mapping[str, Any], entries: dict[str, Tensor]) -> Tensor:
    """Take a tensor's entries out of `entries` and put it together."""
    shape, dtype = about["shape"], _DTYPES[about["dtype"]]
    if about["encoding"] == "dense":
        whole = _take(path, name, entries)
        if list(whole.shape) != shape:
            raise damaged(path, f"'{name}' has shape {list(whole.shape)} instead of {shape}")
        return whole.to(dtype)
    count = math.prod(shape)
    values = _take(path, f"{name}::values", entries)
    block = about.get("block", 1)
    encoding = about["encoding"]
    stored = _take(path, f"{name}::{encoding}", entries)
    positions = READERS[encoding](path, name, count // block, stored)
    if block > 1:
        positions = of_blocks(positions, shape, block)
    if values.dim() != 1 or values.numel() != positions.numel():
        raise damaged(path, f"'{name}' has {values.numel()} values for {positions.numel()} places")
    flat = torch.zeros(count, dtype=dtype)
    flat[positions] = values.to(dtype)
    return flat.reshape(shape)


def _take(path: Path, entry: str, entries: dict[str, Tensor]) -> Tensor:
    if entry not in entries:
        raise damaged(path, f"the entry '{entry}' is missing")
    return entries.pop(entry)


def _write_whole(path: Path, entries: dict[str, Tensor], header: dict[str, str]) -> None:
    # Written beside its place and moved there, so that a reader never sees half a file.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".part"
        )
        os.close(descriptor)
        try:
            save_file(entries, temporary, metadata=header)
            Path(temporary).chmod(0o644)  # mkstemp's files are private
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise SparsebenchError(
            f"'{path}' cannot be written: {error.strerror or error}.",
            "Name a folder that you may write to and that has room.",
        ) from None
