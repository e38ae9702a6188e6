"""For real: processes, clocks and files, with a sleep planted in one engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsebench.exporters.worker.launch import ENGINES
from tests.bench.conftest import Result

Cli = Callable[..., Result]
HERE = "tests.bench.gate.steady_engine"
BACKBONE = "resnet18/dense@generated"


def measure(cli: Cli, images: Path, out: Path) -> Path:
    plan = out.parent / "plan.toml"
    plan.write_text(
        f'backbones = ["{BACKBONE}"]\nengines = ["steady", "other-steady"]\n'
        f'workloads = ["inference"]\ntasks = ["{images}"]\nsize = 32\nbatch_size = 4\n'
        f"threads = 1\nepochs = 2\nrepeats = 3\nmin_seconds = 0.2\ndiscards = 0\n"
    )
    result = cli("run", plan, "--out", out)
    assert result.code == 0, result.err
    return out


@pytest.mark.alone
def test_a_planted_sleep_of_ten_percent_is_caught_and_an_a_a_run_passes(
    cli: Cli, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES._targets, "steady", f"{HERE}:SteadyEngine")
    monkeypatch.setitem(ENGINES._targets, "other-steady", f"{HERE}:OtherSteadyEngine")
    # Its engines sleep: what else this machine does is no matter of the planted sleep.
    for user in ("check", "update"):
        monkeypatch.setattr(f"sparsebench.bench.gate.{user}.busy", lambda *_: None)
    baseline = tmp_path / "baseline.toml"
    before = measure(cli, images, tmp_path / "before")
    assert cli("baseline", "update", before, "--out", baseline, "--reason", "A").code == 0

    same = cli("check", measure(cli, images, tmp_path / "same"), "--baseline", baseline)
    assert same.code == 0, same.out

    monkeypatch.setenv("STEADY_SLOW", "steady=1.1")
    slow = measure(cli, images, tmp_path / "slow")
    caught = cli("check", slow, "--baseline", baseline, "--json")
    assert caught.code == 1, caught.out
    failing = [line for line in json.loads(caught.out)["verdicts"] if line["failing"]]
    # The other engine is the yardstick; a slowdown of dense and sparse alike has no other.
    (slowed,) = failing
    assert (slowed["key"]["engine"], slowed["kind"]) == ("steady", "engines")
    assert slowed["change"]["low"] - 0.02 < 1 / 1.1 < slowed["change"]["high"] + 0.02
