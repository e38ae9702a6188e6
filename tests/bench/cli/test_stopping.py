"""A command that is stopped from outside says how to go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sparsebench.bench.run.execute as running
from tests.bench.conftest import Result


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_says_how_to_go_on(
    cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), number)
        signal.sigtimedwait([], 5)  # the handler runs here
        raise AssertionError("the signal did not arrive")

    monkeypatch.setattr(running, "execute", stopped)
    before = signal.getsignal(signal.SIGTERM)
    result = cli("run", "quick", "--out", tmp_path / "R")
    assert result.code == 130
    assert f"--out {tmp_path / 'R'} --resume" in result.err.replace("\n", " ")
    assert signal.getsignal(signal.SIGTERM) == before
