"""Containers: the outer layer of a checkpoint file, read without executing anything.

A format looks into an :class:`OpenedFile`; the file is read once however many formats
look. Pickles go through torch's restricted unpickler (``models/checkpoints/unpickle.py``).
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open
from torch import Tensor

from sparsebench.models.checkpoints.entries import Chosen, choose
from sparsebench.models.checkpoints.foreign import refuse_foreign
from sparsebench.models.checkpoints.unpickle import load_plain
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.file_kinds import SAFETENSORS, TORCH, head_of, kind_of

ContainerKind = Literal["safetensors", "torch", "other"]

_TORCH_SUFFIXES = {".pth", ".pt", ".bin", ".tar", ".ckpt"}
_DAMAGED = "Copy or download the file again; it seems to be truncated or altered."
# A zip entry that torch wrote is stored, not deflated, so its size is honest. Deflated
# entries may come to this many times the file's size: a bomb of zeros would fill the memory.
_DEFLATED_TIMES, _DEFLATED_BYTES = 4, 2**20
_MOST_TENSORS = 25_000
"""As many as a pickle of the most steps can hold."""


@dataclass(frozen=True)
class OpenedFile:
    """A file that formats look into.

    Args:
        path: of the file.
        kind: ``safetensors``, ``torch`` (a pickle, zipped or not) or ``other``.
        head: its first 16 bytes.
        entry: which of its networks is asked for, None for the usual one.
    """

    path: Path
    kind: ContainerKind
    head: bytes
    entry: str | None = None

    @cached_property
    def payload(self) -> Any:
        """What ``torch.load`` returns, or the dict of tensors of a safetensors file.

        Raises:
            SparsebenchError: the file is damaged, needs more than tensors and plain
                containers, or is of another kind.
        """
        if self.kind == "safetensors":
            return read_safetensors(self.path)[0]
        if self.kind == "torch":
            return read_pickle(self.path)
        raise SparsebenchError(f"'{self.path}' holds no PyTorch or safetensors data.")

    @cached_property
    def chosen(self) -> Chosen:
        """The weights in :attr:`payload`, with the masks beside them applied.

        Raises:
            SparsebenchError: as :attr:`payload`, or as
                :func:`sparsebench.models.checkpoints.entries.choose`.
        """
        return choose(self.path, self.payload, self.entry)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The weights of :attr:`chosen`, by which a format knows its own; none where it fails."""
        if self.kind == "other" or not isinstance(self.payload, Mapping):
            return {}
        try:
            return self.chosen.tensors
        except SparsebenchError:
            return {}

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The text entries of a safetensors header; empty for other files."""
        return read_safetensors_metadata(self.path) if self.kind == "safetensors" else {}


def open_file(path: Path, entry: str | None = None) -> OpenedFile:
    """Look at a file's first bytes and say what container it is.

    Raises:
        SparsebenchError: it is missing, a folder, empty or unreadable.
    """
    try:
        head = head_of(path)
    except FileNotFoundError:
        raise SparsebenchError(
            f"There is no checkpoint file '{path}'.", "Check the path."
        ) from None
    except OSError as error:
        raise SparsebenchError(
            f"The checkpoint '{path}' cannot be read: {error.strerror}.",
            "Name a file that you may read.",
        ) from None
    if not head:
        raise SparsebenchError(f"The checkpoint '{path}' is empty.", _DAMAGED)
    refuse_foreign(path, head)
    return OpenedFile(path, _kind(path, head), head[:16], entry)


def _kind(path: Path, head: bytes) -> ContainerKind:
    """By the first bytes; a damaged file of which they tell nothing is what its name says."""
    kind = kind_of(path, head)
    if kind == SAFETENSORS or (kind is None and path.suffix == ".safetensors"):
        return "safetensors"
    if kind == TORCH or (kind is None and path.suffix in _TORCH_SUFFIXES):
        return "torch"
    return "other"


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors (on the CPU) and metadata of a safetensors file.

    The library checks the header against the file's length before it reads a tensor,
    so that no more is allocated than the file holds.

    Raises:
        SparsebenchError: the file is damaged.
    """
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            names = list(file.keys())
            if len(names) > _MOST_TENSORS:
                raise damaged(path, f"it lists {len(names):,} tensors; a network has some hundred")
            tensors = {name: file.get_tensor(name) for name in names}
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError) as error:
        raise damaged(path, error) from None


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """The text entries of a safetensors header, without reading a tensor.

    Raises:
        SparsebenchError: the file is damaged.
    """
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise damaged(path, error) from None


def read_pickle(path: Path) -> Any:
    """What a file written by ``torch.save`` holds, if it is tensors and plain containers.

    Raises:
        SparsebenchError: the file is damaged, or needs code to be unpickled.
    """
    _refuse_zip_bomb(path)
    try:
        return load_plain(path)
    except SparsebenchError:
        raise
    # A damaged archive surfaces as almost any exception of the unpickler or the reader.
    except Exception as error:
        # Others than these say a byte's number or a name that tells nobody anything.
        told = isinstance(error, RuntimeError | EOFError | OSError)
        raise damaged(path, error if told else "it is not a pickle") from None


def _refuse_zip_bomb(path: Path) -> None:
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            deflated = sum(e.file_size for e in entries if e.compress_type != zipfile.ZIP_STORED)
            stored = sum(e.compress_size for e in entries)
    except Exception as error:  # zipfile raises almost anything for a damaged directory
        raise damaged(path, error) from None
    if stored > path.stat().st_size:
        raise SparsebenchError(
            f"'{path}' lists entries of {stored / 2**20:.0f} MiB, more than the whole file has: "
            "they lie over each other, which torch.save never writes.",
            "Do not trust this file; get it from where it was published.",
        )
    if deflated > _DEFLATED_TIMES * path.stat().st_size + _DEFLATED_BYTES:
        raise SparsebenchError(
            f"'{path}' unpacks to {deflated / 2**20:.0f} MiB of compressed entries, which "
            "torch.save never writes.",
            "Do not trust this file; get it from where it was published.",
        )


def damaged(path: Path, why: object) -> SparsebenchError:
    """The error for a file that cannot be what its name says; `why` in one line."""
    lines = str(why).strip().splitlines()
    first = (lines[0] if lines else type(why).__name__).split(". ")[0].rstrip(".")
    if len(first) > 160:
        first = first[:157] + "..."
    return SparsebenchError(f"The checkpoint '{path}' is damaged: {first}.", _DAMAGED)
