"""From a server to an open task, with everything that can break in between."""

from __future__ import annotations

import fcntl
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.tasks import download, open_task
from sparsebench.bench.tasks.base import Task
from sparsebench.bench.tasks.known import SETS
from sparsebench.models.errors import SparsebenchError
from tests.bench.tasks import miniatures
from tests.bench.tasks.miniatures import OWNERS, PAPER
from tests.bench.tasks.server import Server, serving


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    miniatures.small_facts(monkeypatch)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)
    with serving({}) as one:
        yield one


def tarred(folder: Path, name: str, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        tar.add(folder, name)
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def archives(name: str, made: Path) -> list[bytes]:
    """What the owners' server has, in the order of `SETS`."""
    place = {**PAPER, **OWNERS}[name](made)
    match name:
        case "aircraft":
            return [tarred(place, "fgvc-aircraft-2013b")]
        case "caltech101":
            inner = tarred(place / "101_ObjectCategories", "101_ObjectCategories")
            return [
                zipped(
                    {
                        "caltech-101/101_ObjectCategories.tar.gz": inner,
                        "caltech-101/show_annotation.m": b"",
                        "__MACOSX/caltech-101/._x": b"",
                    }
                )
            ]
        case "caltech256":
            return [tarred(place / "256_ObjectCategories", "256_ObjectCategories", "w")]
        case "dtd":
            return [tarred(place, "dtd")]
        case "flowers102":
            mats = [(place / name).read_bytes() for name in ("imagelabels.mat", "setid.mat")]
            return [tarred(place / "jpg", "jpg"), *mats]
        case "food101":
            return [tarred(place, "food-101")]
        case "pets":
            return [tarred(place / side, side) for side in ("images", "annotations")]
        case _:
            lists = {p.name: p.read_bytes() for p in (place / "Partitions").iterdir()}
            for path in (place / "Partitions").iterdir():
                path.unlink()
            (place / "Partitions").rmdir()
            return [tarred(place, "SUN397"), zipped(lists)]


def serve(server: Server, name: str, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a data set's archives be this server's."""
    remotes = []
    for remote, data in zip(SETS[name].remotes, archives(name, made), strict=True):
        server.files[f"/{remote.name}"] = data
        md5 = hashlib.md5(data).hexdigest() if remote.md5 else None
        remotes.append(replace(remote, url=f"{server.url}/{remote.name}", md5=md5))
    monkeypatch.setitem(SETS, name, replace(SETS[name], remotes=tuple(remotes)))


def opened(name: str, root: Path, **options: object) -> Task:
    return open_task(name, root / "data", cache=root / "cache", **options)  # type: ignore[arg-type]


FETCHED = [name for name, one in SETS.items() if one.remotes]


@pytest.mark.parametrize("name", FETCHED)
def test_a_missing_set_is_fetched_unpacked_and_opened(
    name: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, name, tmp_path / "made", monkeypatch)
    said: list[str] = []
    task = opened(name, tmp_path, say=said.append)
    assert any(text.startswith("unpacking") for text in said)
    again = opened(name, tmp_path, download=False)
    assert again.sha256 == task.sha256
    assert not task.notes
    assert not list((tmp_path / "data").glob(".fetching*"))


def as_torchvision(name: str) -> tuple[tuple[str, str | None], ...]:
    """(URL, md5) by torchvision's own attributes."""
    from torchvision import datasets as tv

    match name:
        case "aircraft":
            return ((tv.FGVCAircraft._URL, None),)
        case "dtd":
            return ((tv.DTD._URL, tv.DTD._MD5),)
        case "flowers102":
            files = tv.Flowers102._file_dict
            return tuple(
                (tv.Flowers102._download_url_prefix + files[key][0], files[key][1])
                for key in ("image", "label", "setid")
            )
        case "food101":
            return ((tv.Food101._URL, tv.Food101._MD5),)
        case "pets":
            return tuple(tv.OxfordIIITPet._RESOURCES)
        case _:
            return ((tv.SUN397._DATASET_URL, tv.SUN397._DATASET_MD5),)


@pytest.mark.parametrize("name", [n for n in FETCHED if not n.startswith("caltech")])
def test_it_is_fetched_from_where_torchvision_fetches_it(name: str) -> None:
    theirs = as_torchvision(name)
    ours = tuple((remote.url, remote.md5) for remote in SETS[name].remotes)
    assert ours[: len(theirs)] == theirs


def test_a_download_that_breaks_goes_on_at_the_next_start(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, "pets", tmp_path / "made", monkeypatch)
    server.cuts = [1000, 0, 0, 0]
    with pytest.raises(SparsebenchError, match="broke off"):
        opened("pets", tmp_path)
    assert not (tmp_path / "data/oxford-iiit-pet").exists()
    server.asked.clear()
    opened("pets", tmp_path)
    assert server.asked[0] == "/images.tar.gz bytes=1000-"


def test_a_damaged_archive_is_removed_and_fetched_anew(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owners of Aircraft state no checksum, so damage shows in unpacking."""
    serve(server, "aircraft", tmp_path / "made", monkeypatch)
    whole = server.files["/fgvc-aircraft-2013b.tar.gz"]
    server.files["/fgvc-aircraft-2013b.tar.gz"] = whole[: len(whole) // 2]
    with pytest.raises(SparsebenchError, match="cannot be unpacked.*is removed"):
        opened("aircraft", tmp_path)
    assert not (tmp_path / "data/fgvc-aircraft-2013b").exists()
    server.files["/fgvc-aircraft-2013b.tar.gz"] = whole
    assert len(opened("aircraft", tmp_path).train) == 9


def test_what_was_unpacked_halfway_by_a_killed_process_is_no_data_set(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, "pets", tmp_path / "made", monkeypatch)
    half = tmp_path / "data/.fetching-pets/unpacked/oxford-iiit-pet"
    miniatures.write(half / "images/Abyssinian_99.jpg", b"half")
    task = opened("pets", tmp_path)
    assert not any("99" in str(item) for item in task.train.items)
    assert not (tmp_path / "data/oxford-iiit-pet/images/Abyssinian_99.jpg").exists()


def test_two_processes_do_not_fetch_the_same_set(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, "pets", tmp_path / "made", monkeypatch)
    lock = tmp_path / "data/.fetching-pets/lock"
    miniatures.write(lock, "")
    with open(lock) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SparsebenchError, match="Another process is fetching 'pets'"):
            opened("pets", tmp_path)
    assert len(opened("pets", tmp_path).train) == 9


def test_archives_that_would_write_elsewhere_are_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, "aircraft", tmp_path / "made", monkeypatch)
    server.files["/fgvc-aircraft-2013b.tar.gz"] = tarred(tmp_path / "made", "../../../escaped")
    with pytest.raises(SparsebenchError, match="cannot be unpacked"):
        opened("aircraft", tmp_path)
    assert not list(tmp_path.rglob("escaped"))


def test_a_data_folder_that_cannot_be_written_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(server, "pets", tmp_path / "made", monkeypatch)
    (tmp_path / "data").write_text("a file in the way")
    with pytest.raises(SparsebenchError, match="cannot be put into"):
        opened("pets", tmp_path)
