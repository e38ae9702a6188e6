from __future__ import annotations

import pytest

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.layout import find_layout

GOOD = ("train/a/1.jpg", "train/b/1.jpg", "test/a/2.jpg", "test/b/2.jpg")


def test_images_are_sorted_by_class_then_path() -> None:
    layout = find_layout(
        ("test/b/2.jpg", "train/a/9.jpg", "train/a/10.jpg", "train/b/1.jpg", "test/a/2.jpg"),
        (),
        "x",
    )
    assert layout.classes == ("a", "b")
    assert layout.train == (
        ("train/a/10.jpg", "a/10.jpg", 0),
        ("train/a/9.jpg", "a/9.jpg", 0),
        ("train/b/1.jpg", "b/1.jpg", 1),
    )


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation", "Val", "TEST"])
def test_the_test_side_has_several_usual_names(name: str) -> None:
    layout = find_layout([path.replace("test", name) for path in GOOD], (), "x")
    assert [path for path, _, _ in layout.test] == [f"{name}/a/2.jpg", f"{name}/b/2.jpg"]


def test_test_wins_over_val_and_the_rest_is_ignored() -> None:
    layout = find_layout([*GOOD, "val/a/3.jpg", "val/b/3.jpg"], (), "x")
    assert [path for path, _, _ in layout.test] == ["test/a/2.jpg", "test/b/2.jpg"]
    assert layout.ignored == 2


def test_one_wrapping_folder_is_looked_through() -> None:
    layout = find_layout([f"flowers-v2/{path}" for path in GOOD], (), "x")
    assert layout.classes == ("a", "b")


def test_other_files_are_ignored_and_counted() -> None:
    others = ("README.md", "train/labels.csv", "train/a/notes.txt", "train/a/.hidden.jpg")
    mac = ("__MACOSX/train/a/1.jpg", "train/.DS_Store", "train/.cache/x/1.jpg")
    assert find_layout([*GOOD, *others, *mac], (), "x").ignored == 7


def test_images_may_lie_deeper_and_end_in_capitals() -> None:
    layout = find_layout([*GOOD, "train/a/more/x.JPG", "train/b/y.Png"], (), "x")
    assert len(layout.train) == 4


@pytest.mark.parametrize(
    ("files", "folders", "said"),
    [
        ((), (), "no train/ and test/ folder; it holds no folder"),
        (("train/a/1.jpg", "train/b/1.jpg"), (), "no test/ folder; it holds train/"),
        (("test/a/1.jpg", "images/b/1.jpg"), (), "no train/ folder; it holds images/, test/"),
        (("a/1.jpg", "b/1.jpg", "c.jpg"), (), "it holds a/, b/ and 1 loose file"),
        (("train/1.jpg", "test/2.jpg"), (), "no class folder in train/"),
        (GOOD, ("train/c",), "only in train/: c"),
        ((*GOOD, "test/d/1.jpg", "test/e/1.jpg"), (), "only in test/: d, e"),
        (GOOD, ("train/c", "test/c"), "without an image: train/c/"),
        ((*GOOD, "train/c/x.txt", "test/c/1.jpg"), (), "without an image: train/c/"),
    ],
)
def test_a_wrong_layout_is_named_with_what_was_found(
    files: tuple[str, ...], folders: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SparsebenchError, match=".") as caught:
        find_layout(files, folders, "my/data")
    assert said in str(caught.value)
    assert "my/data" in caught.value.cause
    assert caught.value.fix


def test_the_expected_layout_is_shown() -> None:
    with pytest.raises(SparsebenchError, match="train/CLASS/image.jpg and test/CLASS"):
        find_layout((), (), "x")


def test_a_name_cannot_command_the_terminal() -> None:
    with pytest.raises(SparsebenchError) as caught:
        find_layout([*GOOD, "train/\x1b[2Jevil/1.jpg"], (), "x")
    assert "\x1b" not in str(caught.value)
