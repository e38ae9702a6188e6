from __future__ import annotations

import gzip
import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsebench.bench.tasks import open_task
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images import archive
from tests.bench.tasks.samples import encoded, image_files, sample_image, write_folder, write_tar


def with_member(path: Path, member: tarfile.TarInfo, data: bytes = b"") -> Path:
    """A good archive and one more member."""
    write_tar(path, image_files())
    member.size = len(data)
    with tarfile.open(path, "a") as tar:
        tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("name", "linked", "reason"),
    [
        ("/etc/evil.jpg", None, "its name leaves the archive"),
        ("train/ash/../../../evil.jpg", None, "its name leaves the archive"),
        ("train/ash/link.jpg", (tarfile.SYMTYPE, "/etc/passwd"), "it is a link"),
        ("train/ash/hard.jpg", (tarfile.LNKTYPE, "/etc/passwd"), "a link to nothing"),
        ("train/ash/fifo.jpg", (tarfile.FIFOTYPE, ""), "it is not an ordinary file"),
        ("train/ash/device.jpg", (tarfile.CHRTYPE, ""), "it is not an ordinary file"),
    ],
)
def test_hostile_members_are_left_out_and_named(
    tmp_path: Path, name: str, linked: tuple[bytes, str] | None, reason: str
) -> None:
    member = tarfile.TarInfo(name)
    if linked:
        member.type, member.linkname = linked
    path = with_member(tmp_path / "x.tar", member, b"" if linked else encoded(sample_image(9)))
    task = open_task(str(path), cache=tmp_path / "c")
    assert len(task.train) == 8
    (skipped,) = task.skipped
    assert reason in skipped
    assert name in skipped
    with pytest.raises(SparsebenchError, match=r"1 member.*left out"):
        open_task(str(path), cache=tmp_path / "c", strict=True)


def test_nothing_is_written_outside_the_cache(tmp_path: Path) -> None:
    inner = tmp_path / "deep" / "deeper"
    inner.mkdir(parents=True)
    files = {**image_files(), "../../escaped.jpg": encoded(sample_image(1))}
    path = write_tar(inner / "x.tar.gz", files, "w:gz")
    open_task(str(path), cache=inner / "c")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep"]
    assert sorted(p.name for p in inner.iterdir()) == ["c", "x.tar.gz"]
    assert {p.suffix for p in (inner / "c").rglob("*") if p.is_file()} == {".tar", ".json"}


def test_a_hard_link_inside_the_archive_is_its_target(tmp_path: Path) -> None:
    member = tarfile.TarInfo("train/oak/same.jpg")
    member.type, member.linkname = tarfile.LNKTYPE, "train/ash/000.jpg"
    task = open_task(str(with_member(tmp_path / "x.tar", member)), cache=tmp_path / "c")
    assert len(task.train) == 9
    assert not task.skipped
    same = list(task.train.items).index("train/oak/same.jpg")
    assert np.array_equal(np.asarray(task.read("train", same)), np.asarray(task.read("train", 0)))


def test_of_two_members_of_one_name_the_later_counts(tmp_path: Path) -> None:
    path = with_member(
        tmp_path / "x.tar", tarfile.TarInfo("train/ash/000.jpg"), encoded(sample_image(55))
    )
    files = {**image_files(), "train/ash/000.jpg": encoded(sample_image(55))}
    folder = write_folder(tmp_path / "f", files)
    opened = [open_task(str(p), cache=tmp_path / "c") for p in (path, folder)]
    assert opened[0].sha256 == opened[1].sha256


def test_dotted_names_are_the_plain_ones(tmp_path: Path) -> None:
    files = image_files()
    path = write_tar(tmp_path / "x.tar", {f"./{name}": data for name, data in files.items()})
    assert list(open_task(str(path), cache=tmp_path / "c").classes) == ["ash", "oak"]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_a_truncated_archive_is_refused(tmp_path: Path, mode: str, share: float) -> None:
    path = write_tar(tmp_path / "x.tar", image_files(train=30, test=20), mode)
    data = path.read_bytes()
    if mode == "w":  # the zeros at the end may go
        data = data.rstrip(b"\0")
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SparsebenchError, match="ends in the middle or is damaged"):
        open_task(str(path), cache=tmp_path / "c")
    assert not list((tmp_path / "c").rglob("*.tar"))
    assert not list((tmp_path / "c").rglob("*.tmp"))


def test_garbage_between_members_is_no_end_of_archive(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", image_files(train=30, test=20))
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[40].offset
    data[offset : offset + 512] = b"\xa5" * 512
    path.write_bytes(data)
    with pytest.raises(SparsebenchError, match="ends in the middle or is damaged"):
        open_task(str(path), cache=tmp_path / "c")


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\x03\x04 a zip", b"just some text", gzip.compress(b"no tar inside")],
    # Named by hand: a gzip header holds the time, and xdist's processes must agree on every name.
    ids=["nothing", "a zip", "text", "gzip without a tar"],
)
def test_what_is_no_tar_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    with pytest.raises(SparsebenchError) as caught:
        open_task(str(path), cache=tmp_path / "c")
    assert caught.value.fix


def test_a_decompression_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_ALWAYS_ALLOWED", 1 << 20)
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(bytes(64 << 20)))
    with pytest.raises(SparsebenchError, match="bomb"):
        open_task(str(path), cache=tmp_path / "c")
    assert not list((tmp_path / "c").rglob("*.t*"))


def test_a_compressed_archive_is_decompressed_once(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar.gz", image_files(), "w:gz")
    open_task(str(path), cache=tmp_path / "c")
    (plain,) = (tmp_path / "c" / "archives").iterdir()
    before = plain.stat().st_mtime_ns
    open_task(str(path), cache=tmp_path / "c")
    assert plain.stat().st_mtime_ns == before
    assert [p.name for p in plain.parent.iterdir()] == [plain.name]


def test_threads_read_members_at_once(tmp_path: Path) -> None:
    files = image_files(train=20)
    task = open_task(str(write_tar(tmp_path / "x.tar", files)), cache=tmp_path / "c")
    folder = open_task(str(write_folder(tmp_path / "f", files)), cache=tmp_path / "c")
    numbers = list(range(40)) * 5
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda i: np.asarray(task.read("train", i)), numbers))
    for number, pixels in zip(numbers, images, strict=True):
        assert np.array_equal(pixels, np.asarray(folder.read("train", number)))


def test_undecodable_members_are_skipped(tmp_path: Path) -> None:
    files = {**image_files(), "train/ash/bad.jpg": b"\xff\xd8 broken", "notes.txt": b"hi"}
    task = open_task(str(write_tar(tmp_path / "x.tar", files)), cache=tmp_path / "c")
    assert len(task.skipped) == 1
    assert task.skipped[0].startswith("train/ash/bad.jpg: ")
    assert task.ignored == 1


def _header(name: bytes, kind: bytes, size: bytes) -> bytes:
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[124:136] = b"0000644\0", size.ljust(12, b"\0")
    block[156:157], block[257:265] = kind, b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _negative(value: int) -> bytes:
    return b"\xff" + (256**11 + value).to_bytes(11, "big")


LONG = _header(b"././@LongLink", b"L", b"00000000144") + b"a" * 100 + bytes(412)
PAX = _header(b"x", b"x", b"00000000017") + b"15 path=aa/b.png\n"[:15].ljust(512, b"\0")
HOSTILE_HEADERS = {
    "negative size": _header(b"train/a/0.png", b"0", _negative(-512)) + bytes(1024),
    "negative size, once around": _header(b"a", b"0", _negative(-1024)) + bytes(1024),
    "negative long name": _header(b"././@LongLink", b"L", _negative(-5)) + bytes(1024),
    "negative pax header": _header(b"x", b"x", _negative(-600)) + bytes(1024),
    "huge long name": _header(b"././@LongLink", b"L", b"\x80" + b"\x7f" * 11) + bytes(1024),
    "huge pax header": _header(b"x", b"x", b"77777777777") + bytes(1024),
    "chain of long names": LONG * 3000,
    "chain of long links": LONG.replace(b"L\0ustar", b"K\0ustar") * 3000,
    "chain of pax headers": PAX * 3000,
    "mixed chain": (LONG + PAX) * 1500,
    "pax size": _header(b"x", b"x", b"00000000013")
    + b"11 size=-5\n".ljust(512, b"\0")
    + _header(b"b.png", b"0", b"0")
    + bytes(1024),
    "pax of digits": _header(b"x", b"x", b"00000010000") + b"9" * 4096,
    "sparse of nothing": _header(b"s", b"S", b"00000000001") + bytes(1024),
}


@pytest.mark.parametrize("name", HOSTILE_HEADERS)
def test_headers_that_contradict_themselves_are_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(HOSTILE_HEADERS[name])
    with pytest.raises(SparsebenchError):
        open_task(str(path), cache=tmp_path / "cache")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_change_of_an_archive_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("tar")
    path = write_tar(folder / "a.tar", image_files(train=1, test=1))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # Mostly in headers, which stand at multiples of 512.
        place = data.draw(st.integers(0, len(raw) // 512 - 1)) * 512 + data.draw(
            st.integers(0, 511)
        )
        raw[place] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        open_task(str(path), cache=folder / "cache")
    except SparsebenchError:
        pass
