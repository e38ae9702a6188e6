"""A tar of images in the ImageFolder layout, read in place; nothing is extracted.

An uncompressed tar is indexed once (name, offset, size); images are then read by offset,
from any thread. A compressed one is first decompressed, as a whole, into the cache folder.
Since names never become paths, a hostile name (absolute, ``..``) can do no harm; such
members, links that leave the archive, devices and sparse files are left out and named.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import tarfile
import tempfile
import weakref
import zlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from PIL import Image

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.decoding import (
    MAX_BYTES,
    UnreadableImageError,
    decode_image,
)
from sparsebench.models.images.endings import HEAD_BYTES, is_image_name
from sparsebench.models.images.folder import changed_image
from sparsebench.models.images.labelled import LabelledImages, ReadOptions
from sparsebench.models.images.layout import find_layout
from sparsebench.models.images.scan import Stamp, readable_images
from sparsebench.models.images.text import printable, shortened

Opener = Callable[[Path], BinaryIO]
_COMPRESSED: dict[bytes, Opener] = {
    b"\x1f\x8b": lambda path: cast(BinaryIO, gzip.GzipFile(path)),
    b"BZh": lambda path: cast(BinaryIO, bz2.BZ2File(path)),
    b"\xfd7zXZ": lambda path: cast(BinaryIO, lzma.LZMAFile(path)),  # noqa: SIM115  (closed below)
}
# Images hardly shrink; what grows a hundredfold beyond a gigabyte is no data set.
_MOST_GROWTH = 100
_ALWAYS_ALLOWED = 2**30
_COPY = 2**20
_MOST_HEADER = 2**20
# What tarfile raises on headers that contradict themselves; chains of them end in recursion.
_HOSTILE = (
    tarfile.TarError, EOFError, OSError, ValueError, ArithmeticError, LookupError, RecursionError,
    MemoryError, TypeError, AttributeError,
)  # fmt: skip


@dataclass(frozen=True)
class Index:
    """Where an archive's members lie.

    Attributes:
        places: name -> (offset, size) in bytes.
        folders: names of folders.
        refused: ``"name: reason"`` of image members that are left out.
        unusable: names of those of them that lie inside the archive.
    """

    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


class TarImages:
    """Images inside an uncompressed tar; items are member names."""

    def __init__(self, path: Path, places: dict[str, tuple[int, int]]) -> None:
        self.path = path
        self.places = places
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def read_bytes(self, name: str) -> bytes:
        """The whole member; reading by offset needs no lock."""
        offset, size = self.places[name]
        if size > MAX_BYTES:
            raise OSError(f"larger than {MAX_BYTES >> 20} MiB")
        data = os.pread(self._descriptor, size, offset)
        if len(data) < size:
            raise OSError("the archive was cut")
        return data

    def read_head(self, name: str) -> bytes:
        """The member's first bytes."""
        offset, size = self.places[name]
        return os.pread(self._descriptor, min(size, HEAD_BYTES), offset)

    def read(self, item: Hashable, at_least: int | None = None) -> Image.Image:
        """One RGB image; see :class:`sparsebench.models.images.labelled.ImageStore`."""
        name = str(item)
        try:
            return decode_image(self.read_bytes(name), at_least)
        except (OSError, UnreadableImageError) as error:
            raise changed_image(self.path, name, error) from error

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "places": self.places}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], state["places"])  # type: ignore[misc]


def open_archive(path: Path, options: ReadOptions) -> LabelledImages:
    """Open a tar (plain, gzip, bzip2 or xz) that holds ``train/CLASS/`` and ``test/CLASS/``.

    Args:
        path: the file.
        options: see :class:`ReadOptions`.

    Raises:
        SparsebenchError: no tar, a truncated one, another layout, and what
            :func:`sparsebench.models.images.folder.open_folder` raises; no room to decompress it.
    """
    return labelled_archive(read_archive(path, options), options)


@dataclass(frozen=True)
class Archive:
    """A tar that is indexed.

    Attributes:
        path: of the file as it was given.
        index: where its members lie.
        store: reads them.
        stamps: name -> numbers that change when the archive or the member's place does.
    """

    path: Path
    index: Index
    store: TarImages
    stamps: dict[str, Stamp]

    @property
    def name(self) -> str:
        """What a data set in it is called."""
        return self.path.name.partition(".tar")[0].removesuffix(".tgz")


def read_archive(path: Path, options: ReadOptions) -> Archive:
    """Index a tar (plain, gzip, bzip2 or xz); a compressed one is decompressed first.

    Raises:
        SparsebenchError: no tar, a truncated one; no room to decompress it; with ``strict``
            members that are left out.
    """
    try:
        stat = path.stat()
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise SparsebenchError(f"The archive {path} cannot be read ({error.strerror}).") from error
    stamp: Stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    opener = next((o for magic, o in _COMPRESSED.items() if head.startswith(magic)), None)
    plain = path if opener is None else _decompressed(path, opener, stamp, options)
    index = _index(plain, path)
    if index.refused and options.strict:
        raise SparsebenchError(
            f"{len(index.refused)} member(s) of '{path}' are left out: "
            f"{shortened(index.refused, 3)}.",
            "Make the archive again without them, or leave out --strict.",
        )
    stamps = {name: [*stamp, *place] for name, place in index.places.items()}
    return Archive(path, index, TarImages(plain, index.places), stamps)


def labelled_archive(archive: Archive, options: ReadOptions) -> LabelledImages:
    """The images of an archive in the ImageFolder layout; raises as :func:`open_archive`."""
    index, store, path = archive.index, archive.store, archive.path
    layout = find_layout(
        index.places.keys(),
        index.folders,
        str(path),
        head=store.read_head,
        unusable=index.unusable,
    )
    return readable_images(
        archive.name, layout, store, archive.stamps, path, options, index.refused
    )


def _index(path: Path, shown: Path) -> Index:
    """Read the headers of an uncompressed tar.

    A name that occurs twice stands for the later member, as when a tar is unpacked.
    """
    size = path.stat().st_size
    index = Index()
    try:
        with (
            open(path, "rb") as file,
            tarfile.open(fileobj=cast(BinaryIO, _Headers(file)), mode="r:") as tar,
        ):
            for member in tar:
                if member.size < 0:
                    raise tarfile.ReadError(f"a member of {member.size} bytes")
                if member.isfile() and member.offset_data + member.size > size:
                    raise tarfile.ReadError("unexpected end of data")
                _add(index, member)
            # tarfile takes whatever it cannot read for the end; a real end is zeros.
            rest = os.pread(file.fileno(), tarfile.BLOCKSIZE, tar.offset)
            if rest.strip(b"\0"):
                raise tarfile.ReadError("unexpected end of data")
    except _HOSTILE as error:
        if "end of data" in str(error) or "truncated" in str(error):
            raise _truncated(shown) from error
        raise SparsebenchError(
            f"{shown} is not a readable tar archive ({error}).",
            "Give a folder, a .tar or a .tar.gz.",
        ) from error
    return index


class _Headers:
    """An archive's file, of which no header is larger than :data:`_MOST_HEADER`.

    Long names and pax headers state their own size, and tarfile reads what they state.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        """So many bytes."""
        if not 0 <= size <= _MOST_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)


def _add(index: Index, member: tarfile.TarInfo) -> None:
    name = _safe_name(member.name)
    if member.isdir():
        if name:
            index.folders.append(name)
        return
    reason = None
    if name is None:
        reason = "its name leaves the archive"
    elif member.islnk():
        target = index.places.get(_safe_name(member.linkname) or "")
        if target is None:
            reason = "it is a link to nothing in the archive"
        else:
            index.places[name] = target
    elif not member.isreg() or member.issparse():
        reason = "it is a link" if member.issym() else "it is not an ordinary file"
    else:
        index.places[name] = (member.offset_data, member.size)
    if reason and is_image_name(member.name):
        index.refused.append(f"{printable(member.name)}: {reason}")
        if name is not None:
            index.unusable.append(name)


def _safe_name(name: str) -> str | None:
    """A member's name without ``./``; None when it is absolute or climbs out."""
    if name.startswith("/"):
        return None
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or "\0" in name:
        return None
    return "/".join(parts)


def _decompressed(path: Path, opener: Opener, stamp: Stamp, options: ReadOptions) -> Path:
    """The uncompressed twin of an archive, in the cache folder; made when it is missing."""
    key = hashlib.sha256(f"{path.resolve()} {stamp}".encode(errors="surrogateescape"))
    target = options.cache_folder("archives") / f"{key.hexdigest()[:32]}.tar"
    if target.exists():
        return target
    most = max(_ALWAYS_ALLOWED, stamp[0] * _MOST_GROWTH)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as out, opener(path) as source:
            while block := source.read(_COPY):
                out.write(block)
                if out.tell() > most:
                    raise SparsebenchError(
                        f"{path} unpacks to more than {most >> 20} MiB: a decompression bomb?",
                        "Unpack it yourself and give the folder.",
                    )
            out.flush()
            os.fsync(out.fileno())
        Path(name).replace(target)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, ValueError) as error:
        raise _truncated(path) from error
    except OSError as error:
        if error.errno is None:  # bz2 says so that its data make no sense
            raise _truncated(path) from error
        free = shutil.disk_usage(target.parent).free >> 20
        raise SparsebenchError(
            f"{path} cannot be unpacked into {target.parent} "
            f"({error.strerror or error}; {free} MiB free).",
            "Make room, or unpack it yourself and give the folder.",
        ) from error
    finally:
        Path(name).unlink(missing_ok=True)
    return target


def _truncated(path: Path) -> SparsebenchError:
    return SparsebenchError(
        f"The archive {path} ends in the middle or is damaged.", "Copy or download it again."
    )
