"""The tiny network as an architecture of the suite."""

from __future__ import annotations

import pytest

from sparsebench.models.architectures import ARCHITECTURES


@pytest.fixture
def tiny_is_an_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ARCHITECTURES, "_targets", dict(ARCHITECTURES._targets))
    ARCHITECTURES.register("tiny", "tests.models.checkpoints.test_state_dict:TINY")
