from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sparsebench.bench.tasks import download
from sparsebench.bench.tasks.download import Remote, fetch, reach
from sparsebench.models.errors import SparsebenchError
from tests.bench.tasks.server import Server, serving

DATA = np.random.default_rng(0).bytes(1_000_000)
MD5 = hashlib.md5(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.01)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({"/set.tar": DATA}) as one:
        yield one


def get(server: Server, folder: Path, md5: str | None = MD5, say: download.Say = print) -> Path:
    return fetch(Remote(f"{server.url}/set.tar", "set.tar", md5), folder, say)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_fetched_whole_and_alone(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path).read_bytes() == DATA
    assert left(tmp_path) == ["set.tar"]


def test_what_is_there_and_whole_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path)
    get(server, tmp_path)
    assert server.asked == ["/set.tar"]


def test_what_is_there_and_damaged_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar").write_bytes(DATA[:-1])
    assert get(server, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize("md5", [MD5, None])
def test_a_broken_connection_is_taken_up_where_it_broke(
    server: Server, tmp_path: Path, md5: str | None
) -> None:
    server.cuts = [300_000, 200_000]
    assert get(server, tmp_path, md5).read_bytes() == DATA
    assert server.asked == [
        "/set.tar",
        "/set.tar bytes=300000-",
        "/set.tar bytes=500000-",
    ]


def test_a_download_given_up_goes_on_at_the_next_start(server: Server, tmp_path: Path) -> None:
    server.cuts = [400_000, 0, 0, 0]
    with pytest.raises(SparsebenchError, match="broke off.*missing") as caught:
        get(server, tmp_path)
    assert "resumes" in caught.value.fix
    assert not (tmp_path / "set.tar").exists()
    assert (tmp_path / "set.tar.part").stat().st_size == 400_000
    server.asked.clear()
    assert get(server, tmp_path).read_bytes() == DATA
    assert server.asked == ["/set.tar bytes=400000-"]
    assert left(tmp_path) == ["set.tar"]


@pytest.mark.parametrize("reason", ["another version", "no ranges", "no mark"])
def test_what_cannot_be_resumed_safely_begins_anew(
    server: Server, tmp_path: Path, reason: str
) -> None:
    if reason == "no mark":
        server.mark = ""
    server.cuts = [400_000, 0, 0, 0]
    with pytest.raises(SparsebenchError):
        get(server, tmp_path, None)
    new = DATA
    if reason == "another version":
        new = server.files["/set.tar"] = DATA[::-1]
        server.mark = '"two"'
    if reason == "no ranges":
        server.ranges = False
    assert get(server, tmp_path, None).read_bytes() == new


def test_a_part_that_is_complete_only_gets_its_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.part").write_bytes(DATA)
    (tmp_path / "set.tar.tag").write_text(server.mark)
    assert get(server, tmp_path).read_bytes() == DATA
    assert left(tmp_path) == ["set.tar"]


def test_a_part_longer_than_the_file_begins_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.part").write_bytes(DATA + b"more")
    (tmp_path / "set.tar.tag").write_text(server.mark)
    assert get(server, tmp_path).read_bytes() == DATA


def test_a_wrong_checksum_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    server.files["/set.tar"] = DATA[::-1]
    with pytest.raises(SparsebenchError, match=f"wrong checksum.*not {MD5}"):
        get(server, tmp_path)
    assert left(tmp_path) == []


def test_a_missing_file_is_not_tried_again(server: Server, tmp_path: Path) -> None:
    server.files.clear()
    with pytest.raises(SparsebenchError, match="says 404") as caught:
        get(server, tmp_path)
    assert server.asked == ["/set.tar"]
    assert str(tmp_path) in caught.value.fix


def test_a_server_that_is_gone_is_given_up(tmp_path: Path) -> None:
    with serving({}) as gone:
        pass
    with pytest.raises(SparsebenchError, match="broke off.*refused"):
        get(gone, tmp_path)


def test_a_disk_too_small_is_said_before_it_is_full(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(free=900_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: free)
    with pytest.raises(SparsebenchError, match="Make room"):
        get(server, tmp_path)
    assert not (tmp_path / "set.tar").exists()


def test_progress_ends_at_the_whole(server: Server, tmp_path: Path) -> None:
    said: list[str] = []
    get(server, tmp_path, say=said.append)
    assert said[-1].startswith("set.tar: 0 of 0 MiB (100%)")


def test_a_server_is_reached_even_if_it_refuses(server: Server) -> None:
    assert reach(server.url) is None
    assert reach(f"{server.url}/nothing") is None


@pytest.mark.alone
def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "REACH_SECONDS", 0.05)
    monkeypatch.setattr(download, "_knock", lambda url: time.sleep(2))
    start = time.monotonic()
    assert reach("https://pictures.invalid") == "no answer"
    assert time.monotonic() - start < 1.5


def test_an_unknown_server_is_told_at_once() -> None:
    start = time.monotonic()
    assert reach("https://pictures.invalid/set.tar")
    assert time.monotonic() - start < 2 * download.REACH_SECONDS + 5
