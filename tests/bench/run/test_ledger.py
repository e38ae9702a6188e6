"""What a run has measured is read from its folder once, and is what a reader would find there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import RunFolder
from sparsebench.bench.run.ledger import Ledger
from tests.bench.synthetic import make_run


def test_trials_are_those_of_the_folder_without_reading_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(blocks=2, engines=("torch",), workloads=("inference",))
    with RunFolder.open(tmp_path / "run") as folder:
        for trial in run.trials[:2]:
            folder.append_trial(trial)
        folder.append_record(run.records[0])
        ledger = Ledger(Plan(), folder)
        assert ledger.finished == {run.records[0].id: len(run.records[0].trials)}
        reads = folder.trials
        monkeypatch.setattr(RunFolder, "trials", lambda self: pytest.fail("read again"))
        ledger.begin("launch")
        for trial in run.trials[2:]:
            ledger.add(trial)
        ledger.discard("a busy machine")
        on_disk = reads()
        assert {trial.status for trial in on_disk} == {"ok", "discarded"}
        for name in {trial.cell for trial in on_disk}:
            cell: Any = SimpleNamespace(id=name)
            assert ledger.trials(name) == [trial for trial in on_disk if trial.cell == name]
            assert all(trial.status == "ok" for trial in ledger.good_trials(cell))
            ledger.forget([cell])
            assert ledger.trials(name) == []
