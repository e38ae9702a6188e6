"""What a file's name and first bytes say of it: an image that is read, one that is not, or none.

The ending tells, also with a web address's query behind it; where it says nothing, the file's
first bytes do.
"""

from __future__ import annotations

from pathlib import PurePosixPath

_ENDINGS = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "bmp", "gif"),
    *("ppm", "pgm", "pbm", "pnm", "tif", "tiff", "avif"),
)
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS)
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


def is_image_name(name: str) -> bool:
    """Whether a file's name says that it holds an image."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES


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
