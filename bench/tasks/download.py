"""Fetching a file: with a checksum, news of progress, and resumption where it broke off.

What has come so far is kept as ``FILE.part`` beside the file to be, with the server's mark
of that version in ``FILE.tag``; the next attempt asks for the rest of the same version. A
file appears under its own name only when it is whole and its checksum is right.

pooch 1.9 and torchvision's own `download_url` begin again where a connection broke;
huggingface_hub resumes, but from its own hub alone.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sparsebench.models.errors import SparsebenchError

REACH_SECONDS = 5.0
"""How long a server may take to answer at all, so that an offline machine is told soon."""
STALL_SECONDS = 60.0
"""How long a download may stand still."""
ATTEMPTS = 3
"""How often in a row a connection may bring nothing before a person is asked."""
PAUSE_SECONDS = 1.0

_BLOCK = 2**18
_NEWS_SECONDS = 1.0
_AGENT = {"User-Agent": "sparsebench"}
_BROKEN = (OSError, http.client.HTTPException)
_OUR_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EFBIG)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        url: where.
        name: what it is called here.
        md5: of its content, in hexadecimal; None where its owner states none.
        into: folder, below the data folder, that it is unpacked into; "" for the data
            folder itself.
        inner: archives inside it, which are unpacked into the same folder.
    """

    url: str
    name: str
    md5: str | None = None
    into: str = ""
    inner: tuple[str, ...] = ()


def reach(url: str) -> str | None:
    """Find out within seconds whether a server can be had at all.

    Returns:
        None when it answers, else why not.
    """
    outcome: list[object] = []
    # In a thread, because looking up a name obeys no timeout.
    thread = threading.Thread(target=lambda: outcome.append(_knock(url)), daemon=True)
    thread.start()
    thread.join(2 * REACH_SECONDS)
    reason = outcome[0] if outcome else "no answer"
    return None if reason is None else str(reason)


def _knock(url: str) -> object:
    """None when a server answers, else why not."""
    try:
        request = urllib.request.Request(url, method="HEAD", headers=_AGENT)
        urllib.request.urlopen(request, timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # it answers; some servers do not know HEAD
    except _BROKEN as error:
        return getattr(error, "reason", error)
    return None


def fetch(remote: Remote, folder: Path, say: Say) -> Path:
    """Fetch a file into a folder; nothing is done when it is there and whole.

    Args:
        remote: what to fetch.
        folder: where to; made if it is missing.
        say: told how far it is, about once a second.

    Returns:
        The file.

    Raises:
        SparsebenchError: the connection brought nothing `ATTEMPTS` times (what came is kept), the
            server has no such file, the checksum is wrong (what came is removed), the disk
            is too small.
        OSError: the file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / remote.name
    if target.exists() and (remote.md5 is None or _md5(target) == remote.md5):
        return target
    part = folder / f"{remote.name}.part"
    failures = 0
    while True:
        before = _size(part)
        try:
            _receive(remote, part, say)
            break
        except urllib.error.HTTPError as error:
            raise SparsebenchError(
                f"{remote.url} cannot be had: the server says {error.code} {error.reason}.",
                f"Put the file into {folder} yourself, or the data set where it is looked for.",
            ) from error
        except _BROKEN as error:
            if getattr(error, "errno", None) in _OUR_FAULT:
                raise
            failures = 0 if _size(part) > before else failures + 1
            if failures == ATTEMPTS:
                raise SparsebenchError(
                    f"The download of {remote.url} broke off ({_why(error)}); "
                    f"{_size(part) >> 20} MiB are kept.",
                    "Start again: it resumes from there.",
                ) from error
            say(f"{remote.name}: the connection broke, going on")
            time.sleep(PAUSE_SECONDS)
    if remote.md5 is not None and (found := _md5(part)) != remote.md5:
        _forget(part)
        raise SparsebenchError(
            f"{remote.url} came with a wrong checksum ({found}, not {remote.md5}) and is removed.",
            "Start again; if it happens again, the file has changed: fetch the data set yourself.",
        )
    part.replace(target)
    _forget(part)
    return target


def _receive(remote: Remote, part: Path, say: Say) -> None:
    """Append what is missing to the part; returns when the server says that is all."""
    have, tag = _size(part), _tag_file(part)
    headers = dict(_AGENT)
    if have and tag.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text()}
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(remote.url, headers=headers), timeout=STALL_SECONDS
        )
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing is left to send, or the file has shrunk: the total tells which.
        if _total_of(error.headers.get("Content-Range", "")) == have:
            return
        _forget(part)
        raise ConnectionError("the server has another version of it") from error
    with answer:
        resumed = answer.status == 206 and _start_of(answer.headers) == have
        if answer.status == 206 and not resumed:
            _forget(part)
            raise ConnectionError("the server sent another part than was asked for")
        start = have if resumed else 0
        if not resumed:
            mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
            _write_tag(tag, mark)
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        _room(remote, part.parent, (total or 0) - start)
        with open(part, "ab" if resumed else "wb") as out:
            _copy(answer, out, start, total, lambda text: say(f"{remote.name}: {text}"))
            if total is not None and out.tell() < total:
                raise ConnectionError(f"{total - out.tell()} bytes are missing")


def _copy(source: BinaryIO, out: BinaryIO, start: int, total: int | None, say: Say) -> None:
    began = last = time.monotonic()
    done = start
    while block := source.read(_BLOCK):
        out.write(block)
        done += len(block)
        now = time.monotonic()
        if now - last >= _NEWS_SECONDS or done == total:
            last = now
            rate = (done - start) / max(now - began, 1e-3) / 2**20
            share = f" of {total >> 20} MiB ({done / total:.0%})" if total else " MiB"
            say(f"{done >> 20}{share}, {rate:.1f} MiB/s")


def _room(remote: Remote, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise SparsebenchError(
            f"{remote.name} needs {needed >> 20} MiB more, but {folder} has {free >> 20} MiB.",
            "Make room (unpacking needs as much again), or give another --data-dir.",
        )


def _start_of(headers: http.client.HTTPMessage) -> int | None:
    """The first byte of ``Content-Range: bytes 5-9/10``."""
    first = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else None


def _total_of(content_range: str) -> int | None:
    total = content_range.rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _tag_file(part: Path) -> Path:
    return part.with_suffix(".tag")


def _write_tag(path: Path, mark: str | None) -> None:
    """Without a mark of the version nothing can be resumed safely. Weak marks are none."""
    if mark and not mark.startswith("W/"):
        path.write_text(mark)
    else:
        path.unlink(missing_ok=True)


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _why(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, OSError) and reason.errno is not None:
        return os.strerror(reason.errno)
    return " ".join(str(reason).split()) or type(reason).__name__
