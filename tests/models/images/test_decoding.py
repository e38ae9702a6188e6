from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sparsebench.models.images.decoding import (
    FORMATS,
    MAX_PIXELS,
    UnreadableImageError,
    check_image,
    decode_image,
)
from sparsebench.models.images.endings import is_image_name
from tests.bench.tasks.samples import encoded, sample_image


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image)


def test_an_rgb_image_is_what_pillow_decodes() -> None:
    data = encoded(sample_image(1))
    assert np.array_equal(
        pixels(decode_image(data)), pixels(Image.open(io.BytesIO(data)).convert("RGB"))
    )


@pytest.mark.parametrize("kind", [k for k in FORMATS if k in Image.SAVE or k == "JPEG"])
def test_every_accepted_format_is_read(kind: str) -> None:
    data = encoded(sample_image(2), kind)
    assert check_image(data) is None
    assert decode_image(data).size == (24, 20)


def test_sixteen_bit_greys_keep_their_high_byte() -> None:
    values = np.array([[0, 255, 256, 1000], [32768, 40000, 65279, 65535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        red = pixels(decode_image(encoded(Image.fromarray(values), kind)))[:, :, 0]
        assert red.tolist() == [[0, 0, 1, 3], [128, 156, 254, 255]]


def test_transparency_is_dropped_as_torchvision_drops_it() -> None:
    image = sample_image(3).convert("RGBA")
    image.putalpha(7)
    assert np.array_equal(pixels(decode_image(encoded(image, "PNG"))), pixels(sample_image(3)))


def test_orientation_flags_are_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    data = encoded(sample_image(4), "PNG", exif=exif)
    assert np.array_equal(pixels(decode_image(data)), pixels(sample_image(4)))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("P", "PNG"), ("1", "PNG"), ("LA", "PNG"), ("P", "GIF")],
)
def test_other_modes_convert_as_pillow_converts(mode: str, kind: str) -> None:
    data = encoded(sample_image(5).convert(mode), kind)
    expected = Image.open(io.BytesIO(data)).convert("RGB")
    assert check_image(data) is None
    assert np.array_equal(pixels(decode_image(data)), pixels(expected))


def test_floating_point_images_are_refused() -> None:
    data = encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")
    assert "floating-point" in str(check_image(data))
    with pytest.raises(UnreadableImageError, match="floating-point"):
        decode_image(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_truncation_anywhere_is_found(kind: str, share: float) -> None:
    data = encoded(sample_image(6, 200, 150), kind)
    cut = data[: int(len(data) * share)]
    assert check_image(cut) is not None
    with pytest.raises(UnreadableImageError):
        decode_image(cut)


def test_a_bomb_is_refused_by_its_header() -> None:
    """A PNG of 60,000 x 60,000 pixels in a few hundred bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    bomb += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    assert "bomb" in str(check_image(bomb))
    side = int(MAX_PIXELS**0.5) + 100  # above our limit, below where Pillow itself refuses
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    suspicious = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    suspicious += chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    assert "bomb" in str(check_image(suspicious))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_less_than_four_times_too_large_are_decoded_whole(kind: str) -> None:
    data = encoded(sample_image(7, 260, 199), kind)
    assert np.array_equal(pixels(decode_image(data, at_least=50)), pixels(decode_image(data)))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("short", "at_least", "expected"), [(400, 100, 200), (799, 100, 267), (1600, 100, 200)]
)
def test_far_larger_images_shrink_to_no_less_than_twice_the_size(
    kind: str, short: int, at_least: int, expected: int
) -> None:
    data = encoded(sample_image(8, short + 120, short), kind)
    small = decode_image(data, at_least=at_least)
    assert 2 * at_least <= min(small.size) < 4 * at_least
    # JPEG decoders know halves, quarters and eighths only.
    if kind == "PNG":
        assert min(small.size) == expected
    whole = decode_image(data).resize(small.size, Image.Resampling.BOX)
    difference = np.abs(pixels(small).astype(int) - pixels(whole).astype(int))
    assert difference.mean() < 2


def test_formats_that_start_programs_are_not_opened() -> None:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    assert check_image(script) == "no known image format"


@pytest.mark.parametrize("name", ["a.jpg", "b.JPEG", "c.x.png", "d.tif", "e.webp", "f.avif"])
def test_image_names(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.txt", "jpg", "b.jpg.part", "Thumbs.db", "c.eps", "d.svg"])
def test_other_names(name: str) -> None:
    assert not is_image_name(name)


def outcome(data: bytes) -> Any:
    """What decoding gives: a size, or the word that it is unreadable."""
    try:
        return decode_image(data).size
    except UnreadableImageError as error:
        assert str(error)
        return "unreadable"


SAMPLES = [encoded(sample_image(9), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")]


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=200))
def test_garbage_is_unreadable_and_nothing_else(data: bytes) -> None:
    outcome(data)
    check_image(data)


@settings(max_examples=300, deadline=None)
@given(
    sample=st.sampled_from(SAMPLES),
    where=st.floats(0, 1, exclude_max=True),
    change=st.binary(min_size=1, max_size=6),
)
def test_altered_files_are_decoded_or_unreadable(
    sample: bytes, where: float, change: bytes
) -> None:
    place = int(where * len(sample))
    data = sample[:place] + change + sample[place + len(change) :]
    readable = check_image(data) is None
    assert readable == (outcome(data) != "unreadable")
