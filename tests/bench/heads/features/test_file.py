from __future__ import annotations

import fcntl
import logging
import os
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsebench.bench.heads.features.file import DamagedEntryError, FeatureWriter, read_features
from sparsebench.models.errors import SparsebenchError

KEY = {"weights": "abc", "nested": {"a": [1, 2]}}
ROWS = np.random.default_rng(0).normal(size=(37, 11)).astype(np.float32)


def write(path: Path) -> Path:
    with FeatureWriter(path, KEY, 37, 11) as writer:
        for start in range(0, 37, 10):
            writer.write(ROWS[start : start + 10])
        writer.publish()
    return path


def test_what_was_written_is_read_as_a_read_only_map(tmp_path: Path) -> None:
    found = read_features(write(tmp_path / "sub" / "x.features"), KEY, 37)
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, ROWS)
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1


def test_the_rows_are_plain_float32_at_a_page(tmp_path: Path) -> None:
    """Readable without this package: the last rows x columns x 4 bytes, after whole pages."""
    data = write(tmp_path / "x").read_bytes()
    assert (len(data) - ROWS.nbytes) % 4096 == 0
    assert np.array_equal(np.frombuffer(data[-ROWS.nbytes :], "<f4").reshape(37, 11), ROWS)


def test_a_million_rows_take_no_more_memory_than_a_tenth_of_them(tmp_path: Path) -> None:
    """Written and checked piece by piece; the map itself is the system's to keep or to drop."""
    batch = np.ones((1000, 8), np.float32)
    peaks = []
    for rows in (100_000, 1_000_000):
        tracemalloc.start()
        with FeatureWriter(tmp_path / f"{rows}", KEY, rows, 8) as writer:
            for _ in range(rows // 1000):
                writer.write(batch)
            writer.publish()
        assert read_features(tmp_path / f"{rows}", KEY, rows).shape == (rows, 8)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 100_000 < 8_000_000


@settings(max_examples=200, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(
    where: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("flip") / "x")
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(DamagedEntryError):
        read_features(path, KEY, 37)


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_noticed(share: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("cut") / "x")
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(DamagedEntryError):
        read_features(path, KEY, 37)


def test_extra_bytes_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "x")
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DamagedEntryError, match="bytes"):
        read_features(path, KEY, 37)


def test_another_key_or_shape_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x")
    with pytest.raises(DamagedEntryError, match="something else"):
        read_features(path, {**KEY, "weights": "xyz"}, 37)
    with pytest.raises(DamagedEntryError, match="something else"):
        read_features(path, KEY, 36)


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), FeatureWriter(tmp_path / "x", KEY, 37, 11) as writer:
        writer.write(ROWS[:10])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_too_few_too_many_or_wrong_rows_are_no_entry(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="10 rows written, 37"),
        FeatureWriter(tmp_path / "x", KEY, 37, 11) as writer,
    ):
        writer.write(ROWS[:10])
        writer.publish()
    with (
        pytest.raises(ValueError, match="more than 5"),
        FeatureWriter(tmp_path / "x", KEY, 5, 11) as writer,
    ):
        writer.write(ROWS[:10])
    with (
        pytest.raises(ValueError, match="do not fit"),
        FeatureWriter(tmp_path / "x", KEY, 5, 12) as writer,
    ):
        writer.write(ROWS[:5])
    assert list(tmp_path.iterdir()) == []


def test_a_map_outlives_the_replacement_of_its_file(tmp_path: Path) -> None:
    first = read_features(write(tmp_path / "x"), KEY, 37)
    write(tmp_path / "x")
    assert np.array_equal(first, ROWS)


FULL_DISK = """
import sys
import numpy as np
from sparsebench.bench.heads.features.file import FeatureWriter
from sparsebench.models.errors import SparsebenchError
import os, resource
if sys.argv[2] == "late":
    del os.posix_fallocate
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    from pathlib import Path
    with FeatureWriter(Path(sys.argv[1]) / "x", {}, 4000, 1000) as writer:
        for _ in range(40):
            writer.write(np.ones((100, 1000), np.float32))
        writer.publish()
except SparsebenchError as error:
    print(error)
"""


@pytest.mark.parametrize("when", ["reserving", "late"])
def test_a_full_disk_is_one_message_and_no_half_file(tmp_path: Path, when: str) -> None:
    """A limit on the size of files stands for the disk; the kernel's refusal is real."""
    assert resource.RLIMIT_FSIZE >= 0
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), when],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[4],
    )
    assert "no room for 15 MiB of features" in done.stdout
    assert "SPARSEBENCH_CACHE" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SparsebenchError, match="cannot be written") as caught:
        FeatureWriter(tmp_path / "file" / "x", KEY, 37, 11)
    assert "SPARSEBENCH_CACHE" in caught.value.fix


def test_leftovers_of_killed_writers_are_swept_but_not_live_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "dead.part").write_bytes(b"half")
    live = tmp_path / "live.part"
    with live.open("wb") as held, caplog.at_level(logging.WARNING):
        fcntl.flock(held, fcntl.LOCK_EX)
        write(tmp_path / "x")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["live.part", "x"]
