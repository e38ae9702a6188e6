from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsebench.bench.tasks import open_task
from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.folder import FolderImages
from tests.bench.tasks.samples import encoded, image_files, sample_image, write_folder


@pytest.fixture
def trees(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "trees", image_files())


def settle() -> None:
    """Wait until files are old enough for checks of them to be remembered."""
    time.sleep(0.12)


def test_it_reads_what_imagefolder_reads(trees: Path, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    task = open_task(str(trees), cache=tmp_path / "c")
    for side in ("train", "test"):
        theirs = ImageFolder(str(trees / side))
        assert list(task.classes) == theirs.classes
        assert task.split(side).labels.tolist() == theirs.targets
        for index in range(len(theirs)):
            assert np.array_equal(np.asarray(task.read(side, index)), np.asarray(theirs[index][0]))


def test_undecodable_images_are_skipped_and_named(trees: Path, tmp_path: Path) -> None:
    clean = open_task(str(trees), cache=tmp_path / "c0")
    good = (trees / "train/ash/000.jpg").read_bytes()
    (trees / "train/ash/cut.jpg").write_bytes(good[: len(good) // 2])
    (trees / "train/oak/empty.png").write_bytes(b"")
    (trees / "test/oak/text.jpg").write_text("no image at all")
    (trees / "test/oak/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    task = open_task(str(trees), cache=tmp_path / "c")
    reasons = dict(line.split(": ", 1) for line in task.skipped)
    assert set(reasons) == {
        "train/ash/cut.jpg",
        "train/oak/empty.png",
        "test/oak/text.jpg",
        "test/oak/gone.jpg",
    }
    assert "truncated" in reasons["train/ash/cut.jpg"].lower()
    assert reasons["train/oak/empty.png"] == "the file is empty"
    assert "No such file" in reasons["test/oak/gone.jpg"]
    assert task.sha256 == clean.sha256  # what is left out does not count


def test_strict_fails_on_the_same_images(trees: Path, tmp_path: Path) -> None:
    (trees / "test/oak/text.jpg").write_text("no image at all")
    with pytest.raises(SparsebenchError, match=r"1 image.*test/oak/text.jpg: no known") as e:
        open_task(str(trees), cache=tmp_path / "c", strict=True)
    assert "--strict" in e.value.fix


def test_a_class_with_only_bad_images_is_an_empty_class(trees: Path, tmp_path: Path) -> None:
    for path in (trees / "test/oak").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(SparsebenchError, match="test/oak keeps 0 of 3 images"):
        open_task(str(trees), cache=tmp_path / "c")
    with pytest.raises(SparsebenchError, match="no test image of oak"):
        open_task(str(trees), cache=tmp_path / "c", allow_image_loss=True)


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "one", image_files(["only"]))
    with pytest.raises(SparsebenchError, match=r"1 class.*two"):
        open_task(str(root), cache=tmp_path / "c")


def test_opening_again_decodes_nothing(
    trees: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle()
    first = open_task(str(trees), cache=tmp_path / "c")

    def refuse(self: FolderImages, name: str) -> bytes:
        raise AssertionError(f"{name} was read again")

    monkeypatch.setattr(FolderImages, "read_bytes", refuse)
    assert open_task(str(trees), cache=tmp_path / "c").sha256 == first.sha256


def test_an_altered_image_is_noticed_even_with_its_old_date(trees: Path, tmp_path: Path) -> None:
    settle()
    before = open_task(str(trees), cache=tmp_path / "c")
    path = trees / "train/ash/000.jpg"
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x5A
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert open_task(str(trees), cache=tmp_path / "c").sha256 != before.sha256


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"decoder": 1}', b"\xff\xfe"])
def test_a_damaged_memory_of_checks_is_made_again(
    trees: Path, tmp_path: Path, damage: bytes
) -> None:
    settle()
    before = open_task(str(trees), cache=tmp_path / "c")
    (memory,) = (tmp_path / "c" / "checked").iterdir()
    memory.write_bytes(damage)
    assert open_task(str(trees), cache=tmp_path / "c").sha256 == before.sha256


def test_the_digest_follows_names_labels_and_bytes(tmp_path: Path) -> None:
    files = image_files()
    renamed = dict(files)
    renamed["train/ash/zzz.jpg"] = renamed.pop("train/ash/000.jpg")
    moved = dict(files)
    moved["train/oak/000b.jpg"] = moved.pop("train/ash/000.jpg")
    other = {**files, "train/ash/000.jpg": encoded(sample_image(77))}
    val = image_files(test_name="val")
    digests = [
        open_task(str(write_folder(tmp_path / str(i), each)), cache=tmp_path / "c").sha256
        for i, each in enumerate((files, renamed, moved, other, val))
    ]
    assert len(set(digests[:4])) == 4
    assert digests[4] == digests[0]  # what the test folder is called is no content


def test_a_folder_that_contains_itself_is_walked_once(trees: Path, tmp_path: Path) -> None:
    (trees / "train/ash/loop").symlink_to(trees / "train/ash", target_is_directory=True)
    (trees / "train/ash/round").symlink_to("round")
    assert len(open_task(str(trees), cache=tmp_path / "c").train) == 8


def test_a_pipe_is_no_image_and_is_not_waited_for(trees: Path, tmp_path: Path) -> None:
    os.mkfifo(trees / "train/ash/pipe.jpg")
    task = open_task(str(trees), cache=tmp_path / "c")
    assert task.skipped == ("train/ash/pipe.jpg: it cannot be read (it is not an ordinary file)",)


@pytest.mark.parametrize("wrap", ["", "wrap/"])
def test_only_the_two_sides_are_walked(trees: Path, tmp_path: Path, wrap: str) -> None:
    """Whatever lies beside them may be huge, or somebody else's."""
    root = tmp_path / "root"
    (root / wrap).mkdir(parents=True)
    for side in ("train", "test"):
        (trees / side).rename(root / wrap / side)
    for name in ("val", "other") if wrap else ("val", "other", ".hidden"):
        write_folder(root / wrap / name, {"ash/1.jpg": b"x", "notes.txt": b"x"})
    task = open_task(str(root), cache=tmp_path / "c")
    assert (len(task.train), len(task.test), task.ignored) == (8, 6, 0)


def test_a_tree_of_anything_is_refused_by_its_top(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "home", {"mail/a/1.txt": b"", "code/b/2.py": b"", "x.txt": b""})

    def refuse(*arguments: object) -> None:
        raise AssertionError("it was walked")

    monkeypatch.setattr("sparsebench.models.images.folder.walk", refuse)
    with pytest.raises(SparsebenchError, match=r"it holds code/, mail/ and 1 loose file"):
        open_task(str(tmp_path / "home"), cache=tmp_path / "c")


def test_classes_with_a_single_image_are_noted(tmp_path: Path) -> None:
    files = image_files(train=2, test=2)
    del files["train/ash/001.jpg"]
    del files["test/oak/000.jpg"]
    task = open_task(str(write_folder(tmp_path / "few", files)), cache=tmp_path / "c")
    assert len(task.notes) == 2
    assert task.notes[0].startswith("1 class(es) with a single train image (ash)")
    assert task.notes[1].startswith("1 class(es) with a single test image (oak)")


def test_linked_images_count(trees: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(encoded(sample_image(5)))
    (trees / "train/ash/linked.jpg").symlink_to(outside)
    assert len(open_task(str(trees), cache=tmp_path / "c").train) == 9


def test_images_of_any_mode_become_rgb(trees: Path, tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P", "1", "LA", "I;16"):
        image = Image.new(mode, (20, 20)) if mode == "I;16" else sample_image(3).convert(mode)
        image.save(trees / f"train/ash/{mode.replace(';', '')}.png")
    sample_image(3).convert("CMYK").save(trees / "train/ash/cmyk.jpg")
    task = open_task(str(trees), cache=tmp_path / "c")
    assert not task.skipped
    assert len(task.train) == 15
    assert {task.read("train", i).mode for i in range(15)} == {"RGB"}


def test_a_image_that_vanishes_later_is_one_clear_message(trees: Path, tmp_path: Path) -> None:
    task = open_task(str(trees), cache=tmp_path / "c")
    (trees / "train/ash/000.jpg").unlink()
    with pytest.raises(SparsebenchError, match=r"train/ash/000.jpg.*can no longer be read"):
        task.read("train", 0)


def test_progress_ends_at_the_number_of_images(trees: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    open_task(str(trees), cache=tmp_path / "c", progress=lambda *step: seen.append(step))
    assert seen[-1] == (14, 14)


def test_a_cache_that_cannot_be_written_costs_no_result(trees: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert len(open_task(str(trees), cache=tmp_path / "file").train) == 8
