"""Images that a data set loses: of an ending that is not read, or that cannot be decoded.

A class that silently keeps 3 of 20 images trains a classifier of something else. So what is
left out is counted by class and ending, shown and recorded; a class that would lose most of
its images needs the user's consent. What counts as an image is told by the ending (also with a
web address's query behind it); where the ending says nothing, by the file's first bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.decoding import is_image_name
from sparsebench.models.images.text import printable, shortened

UNDECODABLE = "cannot be decoded"
NO_ENDING = "no ending"
HEAD_BYTES = 32
# Endings of images that are not read: Pillow cannot, or only by starting other programs.
_UNREAD = frozenset(
    f".{ending}"
    for ending in (
        *("jp2", "j2k", "jpf", "jpx", "jpm", "j2c", "jpc", "heic", "heif", "hif", "jxl", "avifs"),
        *("dng", "cr2", "cr3", "crw", "nef", "arw", "orf", "rw2", "raf", "raw", "psd", "svg"),
        *("tga", "ico", "icns", "dds", "exr", "hdr", "pcx", "sgi", "eps", "dcm", "apng"),
    )
)
# Files that lie beside images in many data sets and are none.
_NO_IMAGES = frozenset(
    f".{ending}"
    for ending in (
        *("txt", "md", "rst", "csv", "tsv", "json", "jsonl", "xml", "yaml", "yml", "toml", "ini"),
        *("html", "htm", "url", "db", "log", "py", "npy", "npz", "mat", "pkl", "pt", "pth", "h5"),
        *("zip", "tar", "gz", "tgz", "pdf", "mp4", "mov", "avi", "mp3", "wav", "lnk", "part"),
    )
)
_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"8BPS"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL "),
)
_BRANDS = (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1", b"avif", b"avis")


@dataclass(frozen=True)
class ClassLoss:
    """What one class of one side loses.

    Attributes:
        kept: images that are left.
        left_out: ending -> files; those that cannot be decoded as ``".jpg, cannot be decoded"``.
    """

    kept: int
    left_out: dict[str, int]

    @property
    def lost(self) -> int:
        """Files left out."""
        return sum(self.left_out.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{n} {printable(e)}" for e, n in sorted(self.left_out.items()))
        return f"keeps {self.kept} of {self.kept + self.lost} images (left out: {parts})"


@dataclass(frozen=True)
class Losses:
    """The classes that lose images.

    Attributes:
        classes: ``train/CLASS`` or ``test/CLASS`` -> its loss.
    """

    classes: Mapping[str, ClassLoss] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Files left out of all classes."""
        return sum(loss.lost for loss in self.classes.values())

    def lines(self, most: int = 8) -> list[str]:
        """A sentence for each class, the greatest losses first; at most so many."""
        ordered = sorted(self.classes.items(), key=lambda item: (-item[1].lost, item[0]))
        said = [f"{printable(name)} {loss}" for name, loss in ordered[:most]]
        if rest := ordered[most:]:
            said.append(
                f"{len(rest)} more classes lose {sum(loss.lost for _, loss in rest)} images"
            )
        return said

    def to_json(self) -> dict[str, dict[str, Any]]:
        """For a record."""
        return {
            name: {"kept": loss.kept, "left_out": dict(sorted(loss.left_out.items()))}
            for name, loss in sorted(self.classes.items())
        }

    @classmethod
    def of_json(cls, data: Mapping[str, Mapping[str, Any]]) -> Losses:
        """What :meth:`to_json` made."""
        return cls({n: ClassLoss(int(d["kept"]), dict(d["left_out"])) for n, d in data.items()})

    def refuse_most(self, where: str) -> None:
        """Refuse a data set of which a class loses most of its images.

        Raises:
            SparsebenchError: one does; says which, and how to agree.
        """
        hit = {name: loss for name, loss in self.classes.items() if loss.lost > loss.kept}
        if hit:
            raise SparsebenchError(
                f"'{where}' would lose most images of {len(hit)} class(es): "
                f"{shortened(Losses(hit).lines(), 3)}.",
                "Convert or rename them to JPEG or PNG; or agree with --allow-image-loss "
                "(allow_image_loss = true in a plan).",
            )


def left_out_ending(name: str) -> str | None:
    """The ending of an image that is not read; ``""`` where only its content can tell.

    Args:
        name: of a file that is not read as an image.

    Returns:
        What to count it as, ``""`` for an ending that says nothing, None for no image.
    """
    suffix = ending_of(name)
    bare = name
    for mark in "?#&":
        bare = bare.partition(mark)[0]
    if bare != name and (is_image_name(bare) or ending_of(bare) in _UNREAD):
        return f"{ending_of(bare)}{name[len(bare)]}…"
    if suffix in _UNREAD:
        return suffix
    return None if suffix in _NO_IMAGES else ""


def ending_of(name: str) -> str:
    """``.jpg`` of a file's name, in small letters."""
    return PurePosixPath(name).suffix.lower()


def begins_like_an_image(head: bytes) -> bool:
    """Whether a file's first `HEAD_BYTES` are those of a common image format."""
    if head.startswith(_STARTS):
        return True
    if head[4:8] == b"ftyp":
        return head[8:12] in _BRANDS
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    return head.startswith(b"BM") and head[6:10] == bytes(4)
