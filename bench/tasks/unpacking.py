"""From archives on a server to a data set's folder, which appears whole or not at all.

Everything happens in a folder of its own inside the data folder, ``.fetching-NAME``: the
archives (and what came of them) stay there when a download breaks, so that the next start
goes on; what was unpacked halfway is thrown away. Only when all is unpacked is it moved to
where it belongs, and the rest is removed.
"""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from sparsebench.bench.tasks.download import Remote, Say, fetch
from sparsebench.models.errors import SparsebenchError

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError),
    *(RuntimeError, ValueError),
)


def fetch_and_unpack(name: str, remotes: Sequence[Remote], folder: Path, say: Say) -> None:
    """Fetch and unpack the archives of a data set.

    Args:
        name: of the data set.
        remotes: its archives; files that are no archives are just put in their place.
        folder: the data folder.
        say: told what is being done.

    Raises:
        SparsebenchError: what :func:`bench.tasks.download.fetch` raises; an archive that
            cannot be unpacked (it is removed, to be fetched again); another process at the
            same work; no room.
    """
    work = folder / f".fetching-{name}"
    try:
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work / "lock", timeout=0):
            archives = [fetch(remote, work / "archives", say) for remote in remotes]
            fresh = work / "unpacked"
            shutil.rmtree(fresh, ignore_errors=True)
            for remote, archive in zip(remotes, archives, strict=True):
                say(f"unpacking {remote.name}")
                _unpack(remote, archive, fresh / remote.into)
            for path in sorted(fresh.iterdir()):
                _move(path, folder / path.name)
            shutil.rmtree(work, ignore_errors=True)
    except Timeout as error:
        raise SparsebenchError(
            f"Another process is fetching '{name}' into {folder}.",
            "Wait for it, or give another --data-dir.",
        ) from error
    except OSError as error:
        raise SparsebenchError(
            f"'{name}' cannot be put into {folder} ({error.strerror or error}; "
            f"{_free(folder) >> 20} MiB free).",
            "Make room or check its permissions, or give another --data-dir.",
        ) from error


def _unpack(remote: Remote, archive: Path, into: Path) -> None:
    from torchvision.datasets.utils import extract_archive

    into.mkdir(parents=True, exist_ok=True)
    if not remote.name.endswith((".tar", ".tgz", ".gz", ".zip", ".xz", ".bz2")):
        shutil.copyfile(archive, into / remote.name)
        return
    try:
        # torchvision's unpacking refuses members that would leave the folder.
        extract_archive(str(archive), str(into))
        for inner in remote.inner:
            extract_archive(str(into / inner), str(into))
        for top in {inner.partition("/")[0] for inner in remote.inner}:
            shutil.rmtree(into / top)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None and not _damage(error):
            raise
        archive.unlink(missing_ok=True)
        raise SparsebenchError(
            f"{remote.name} from {remote.url} cannot be unpacked "
            f"({' '.join(str(error).split()) or type(error).__name__}) and is removed.",
            "Start again to fetch it again.",
        ) from error


def _damage(error: OSError) -> bool:
    """A missing inner archive is the archive's fault; a full disk is not."""
    return isinstance(error, FileNotFoundError | NotADirectoryError)


def _move(path: Path, target: Path) -> None:
    if path.is_dir() and target.is_dir():
        for inner in sorted(path.iterdir()):
            _move(inner, target / inner.name)
    else:
        path.replace(target)


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
