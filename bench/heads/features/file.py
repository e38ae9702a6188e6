"""One file of features: a JSON header, then float32 rows that can be mapped into memory.

Layout, little endian: 8 bytes magic; uint64 header length; the header (JSON: format
version, key, rows, columns, sha256 of the data); zeros up to byte 4096 x k; the rows.

An entry appears whole or not at all: it is written under another name, synchronised to
disk, and renamed. Whoever opens it reads it through once and compares the checksum (about
1 GB/s; nothing is kept in memory), so a truncated or altered file is noticed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sparsebench.models.errors import SparsebenchError

MAGIC = b"SPBFEAT1"
FORMAT = 1
_PAGE = 4096
_BLOCK = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DamagedEntryError(Exception):
    """A file that is no whole, unaltered entry; the message is the reason."""


class FeatureWriter:
    """Writes an entry row by row; use as a context manager.

    The entry appears with :meth:`publish`; leaving the block without it leaves nothing.
    Memory use does not depend on the number of rows.

    Args:
        path: of the entry.
        key: stored in the header.
        rows: number of rows that will be written.
        columns: values in a row.

    Raises:
        SparsebenchError: no room on the disk (all of it is reserved at the start), or the
            folder cannot be written.
    """

    def __init__(self, path: Path, key: Mapping[str, Any], rows: int, columns: int) -> None:
        self.path = path
        self.shape = (rows, columns)
        self._key = dict(key)
        self._digest = hashlib.sha256()
        self._written = 0
        self._start = len(self._header("0" * 64))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent)
            self._file, self._temporary = _part_file(path)
        except OSError as error:
            raise self._cannot_write(error) from error
        try:
            self._reserve(self._start + rows * columns * 4)
            self._file.seek(self._start)
        except OSError as error:
            self._discard()
            raise self._cannot_write(error) from error

    def write(self, rows: NDArray[np.float32]) -> None:
        """Append rows ``[n, columns]``.

        Raises:
            SparsebenchError: no room on the disk.
            ValueError: rows of another width, or too many.
        """
        if rows.ndim != 2 or rows.shape[1] != self.shape[1]:
            raise ValueError(f"rows {rows.shape} do not fit {self.shape}")
        if self._written + len(rows) > self.shape[0]:
            raise ValueError(f"more than {self.shape[0]} rows")
        data = np.ascontiguousarray(rows, dtype="<f4").data
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise self._cannot_write(error) from error
        self._written += len(rows)

    def publish(self) -> None:
        """Bring the entry safely to disk and give it its name.

        Raises:
            SparsebenchError: no room on the disk.
            ValueError: fewer rows than announced.
        """
        if self._written != self.shape[0]:
            raise ValueError(f"{self._written} rows written, {self.shape[0]} announced")
        try:
            self._file.seek(0)
            self._file.write(self._header(self._digest.hexdigest()))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._temporary.replace(self.path)
        except OSError as error:
            raise self._cannot_write(error) from error
        _sync_folder(self.path.parent)

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._discard()

    def _discard(self) -> None:
        try:
            self._file.close()
        except OSError:
            pass  # unwritten data on a full disk; the file goes anyway
        self._temporary.unlink(missing_ok=True)

    def _reserve(self, size: int) -> None:
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(self._file.fileno(), 0, size)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise
                # Some file systems cannot reserve; then a full disk is found later.

    def _header(self, data_sha256: str) -> bytes:
        return _header(self._key, *self.shape, data_sha256)

    def _cannot_write(self, error: OSError) -> SparsebenchError:
        folder = self.path.parent
        need = (self._start + self.shape[0] * self.shape[1] * 4) / 2**20
        if error.errno in _NO_ROOM:
            try:
                free = f"{shutil.disk_usage(folder).free / 2**20:.0f} MiB free"
            except OSError:
                free = "none free"
            return SparsebenchError(
                f"There is no room for {need:.0f} MiB of features in {folder} ({free}).",
                "Make room, or set SPARSEBENCH_CACHE to a folder on another disk.",
            )
        return SparsebenchError(
            f"Features cannot be written to {folder} ({error.strerror}).",
            "Set SPARSEBENCH_CACHE to a folder you can write.",
        )


def read_features(
    path: Path, key: Mapping[str, Any], rows: int, *, check: bool = True
) -> NDArray[np.float32]:
    """Open an entry and check all of it.

    Args:
        path: of the entry.
        key: that it must have.
        rows: that it must have.
        check: compare the data's checksum too.

    Returns:
        Rows ``[rows, columns]``, float32, mapped read-only.

    Raises:
        FileNotFoundError: there is none.
        DamagedEntryError: it is not whole, was altered, or belongs to something else.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise DamagedEntryError("it is not a valid feature file")
        length = int.from_bytes(file.read(8), "little")
        size = os.fstat(file.fileno()).st_size
        if not 0 < length < size:
            raise DamagedEntryError("its header is cut short")
        try:
            header = json.loads(file.read(length))
            columns, digest = int(header["columns"]), str(header["data_sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedEntryError("its header is damaged") from error
        # What was written for this key, to the byte; so no change of it goes unnoticed.
        expected = _header(key, rows, columns, digest)
        file.seek(0)
        if file.read(len(expected)) != expected:
            raise DamagedEntryError("its header is damaged or belongs to something else")
        whole = len(expected) + rows * columns * 4
        if size != whole:
            raise DamagedEntryError(f"it has {size} bytes, not {whole}")
        if check and checksum(file.fileno(), len(expected)) != digest:
            raise DamagedEntryError("its checksum is wrong")
        shape = (rows, columns)
        return np.memmap(file, dtype="<f4", mode="r", offset=len(expected), shape=shape)


def _header(key: Mapping[str, Any], rows: int, columns: int, data_sha256: str) -> bytes:
    facts = {"rows": rows, "columns": columns, "data_sha256": data_sha256}
    text = json.dumps({"format": FORMAT, "key": dict(key), **facts}, sort_keys=True).encode()
    header = MAGIC + len(text).to_bytes(8, "little") + text
    return header + bytes(-len(header) % _PAGE)


def checksum(descriptor: int, start: int) -> str:
    """sha256 of a file from an offset to its end, a block at a time."""
    digest = hashlib.sha256()
    while block := os.pread(descriptor, _BLOCK, start):
        digest.update(block)
        start += len(block)
    return digest.hexdigest()


def _part_file(path: Path) -> tuple[BinaryIO, Path]:
    """A new unfinished file, locked: what no process holds is somebody's leftover."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
        file = os.fdopen(handle, "wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass  # no locks on this file system; then leftovers stay
        if Path(name).exists():
            return file, Path(name)
        file.close()  # another process swept it up before it was locked


def sweep(folder: Path) -> None:
    """Remove what killed writers left: unfinished files that no process holds."""
    for path in folder.glob("*.part"):
        try:
            with open(path, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except OSError:
            continue  # held by its writer, or gone


def _sync_folder(folder: Path) -> None:
    """Make the rename last through a power cut, where the file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
