"""What kind of file it is, told by content where the name does not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsebench.models.checkpoints.containers import open_file


@pytest.mark.parametrize("length", [0x80, 0x180, 0x4B50])
def test_a_safetensors_header_whose_length_looks_like_a_pickle(tmp_path: Path, length: int) -> None:
    path = tmp_path / "weights.tmp"
    header = b'{"__metadata__":{}}'.ljust(length)
    path.write_bytes(length.to_bytes(8, "little") + header)
    assert open_file(path).kind == "safetensors"
