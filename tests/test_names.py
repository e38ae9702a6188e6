"""Names of tests are the same in every process that collects them."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("content", [b"\x1f\x8b\x08\x00\x00\x00\x00\x00", b"\xff" * 8, b""])
def test_bytes_do_not_get_into_a_name(content: bytes, request: pytest.FixtureRequest) -> None:
    assert f"{len(content)}-bytes" in request.node.name
    assert "\\x" not in request.node.name
