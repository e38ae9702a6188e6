"""The noise floor: measured for real, stored by fingerprint, shown by doctor."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from scipy import stats

from sparsebench.bench.gate.noise import stored_noise
from sparsebench.bench.gate.refusals import noise_floor
from sparsebench.bench.machine.facts import machine_facts
from tests.bench.conftest import Result

Cli = Callable[..., Result]


def test_noise_is_measured_and_stored_for_this_machine(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path))
    options = ("--blocks", 3, "--batch-size", 2, "--threads", 1, "--min-seconds", 0.01)
    result = cli("noise", *options, "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert 0 < found["log_sd"] < 2
    stored = stored_noise(machine_facts()["fingerprint"])
    assert stored is not None
    assert stored.log_sd == found["log_sd"]
    assert stored_noise("0" * 16) is None
    assert "noise: " in cli("doctor", "--machine").out

    Path(found["stored"]).write_text("{")
    damaged = cli("doctor", "--machine")
    assert damaged.code == 2
    assert "Delete it" in damaged.err


def test_wrong_numbers_are_explained(cli: Cli) -> None:
    for option in (("--blocks", 2), ("--batch-size", 0), ("--threads", 10_000)):
        assert cli("noise", *option).code == 2


def test_the_floor_is_half_of_welchs_interval() -> None:
    quantile = stats.t.ppf(0.975, 3 + 5 - 2)
    expected = math.exp(quantile * 0.02 * math.sqrt(1 / 3 + 1 / 5)) - 1
    assert noise_floor(0.02, 3, 5) == pytest.approx(expected)
    assert noise_floor(0.02, 8, 8) < noise_floor(0.02, 5, 5) < noise_floor(0.02, 3, 3)
