"""The run's folder: nothing finished is lost, nothing torn is believed."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.comparisons import compare_run
from sparsebench.bench.records import RunFolder, Trial
from sparsebench.models.errors import SparsebenchError
from tests.bench.synthetic import SyntheticRun, make_run

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def run() -> SyntheticRun:
    return make_run(blocks=2)


@pytest.fixture
def folder(tmp_path: Path, run: SyntheticRun) -> Path:
    run.write(tmp_path / "run")
    return tmp_path / "run"


def unsealed(text: str) -> str:
    """Lines as an older version wrote them, without checksums."""
    return re.sub(r',"check":"[0-9a-f]{16}"', "", text)


def one_trial(block: int = 0) -> Trial:
    return replace(make_run(blocks=1).trials[0], block=block)


def test_what_was_written_is_read_back(folder: Path, run: SyntheticRun) -> None:
    read = RunFolder.reading(folder)
    assert read.trials() == run.trials
    assert read.records() == run.records
    assert read.name == "run"


def test_every_line_is_one_json_object(folder: Path, run: SyntheticRun) -> None:
    lines = (folder / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["cell"] for line in lines] == [t.cell for t in run.trials]


def test_cell_measured_again_counts_once(folder: Path, run: SyntheticRun) -> None:
    again = replace(run.records[0], reason=None, extra={"second": True})
    with RunFolder.open(folder, resume=True) as writer:
        writer.append_record(again)
    records = RunFolder.reading(folder).records()
    assert len(records) == len(run.records)
    assert records[0] == again


def test_torn_last_line_is_left_out_then_cut_off(
    folder: Path, run: SyntheticRun, caplog: pytest.LogCaptureFixture
) -> None:
    path = folder / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with caplog.at_level(logging.WARNING, "sparsebench"):
        assert RunFolder.reading(folder).trials() == run.trials[:-1]
    assert "torn" in caplog.text
    with RunFolder.open(folder, resume=True) as writer:
        writer.append_trial(run.trials[-1])
    assert path.read_bytes() == whole


def test_whole_line_without_its_newline_is_kept(folder: Path, run: SyntheticRun) -> None:
    path = folder / "trials.jsonl"
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    with RunFolder.open(folder, resume=True) as writer:
        again = replace(run.trials[0], launch="again")
        writer.append_trial(again)
    assert RunFolder.reading(folder).trials() == [*run.trials, again]


def test_zeros_after_a_power_cut_are_a_torn_end(folder: Path, run: SyntheticRun) -> None:
    with (folder / "trials.jsonl").open("ab") as file:
        file.write(b"\0" * 64)
    assert RunFolder.reading(folder).trials() == run.trials


def test_torn_character_is_a_torn_end(folder: Path, run: SyntheticRun) -> None:
    with (folder / "records.jsonl").open("ab") as file:
        file.write('{"reason": "größer"}'.encode()[:14])
    assert RunFolder.reading(folder).records() == run.records


def test_damage_in_the_middle_names_file_and_line(folder: Path) -> None:
    path = folder / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:30] + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(SparsebenchError, match=r"records\.jsonl, line 3 is damaged"):
        RunFolder.reading(folder).records()
    with pytest.raises(SparsebenchError, match=r"records\.jsonl, line 3"):
        RunFolder.open(folder, resume=True)
    lines.pop(2)
    path.write_bytes(b"".join(lines))
    RunFolder.open(folder, resume=True).close()  # the failed attempt has let the lock go


def test_line_of_a_newer_version_is_named(folder: Path) -> None:
    path = folder / "trials.jsonl"
    path.write_text(unsealed(path.read_text()).replace("trial.v1", "trial.v9", 1))
    with pytest.raises(SparsebenchError, match=r"line 1 was written by a newer"):
        RunFolder.reading(folder).trials()


def test_invalid_line_is_never_written(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run") as writer:
        with pytest.raises(SparsebenchError, match="seconds"):
            writer.append_trial(replace(one_trial(), seconds=()))
        assert writer.trials() == []


def test_folder_for_reading_does_not_write(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="reading"):
        RunFolder.reading(folder).append_trial(one_trial())


def test_full_disk_leaves_no_half_line(
    folder: Path, run: SyntheticRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(handle: int, data: bytes) -> int:
        if len(data) > 100:
            return real(handle, bytes(data[:100]))
        raise OSError(28, "No space left on device")

    with RunFolder.open(folder, resume=True) as writer:
        monkeypatch.setattr(os, "write", lambda h, d: full(h, d) if len(d) > 100 else full(h, b""))
        with pytest.raises(SparsebenchError, match="No space left"):
            writer.append_trial(run.trials[0])
        monkeypatch.undo()
        assert writer.trials() == run.trials


def test_comparisons_are_replaced_as_a_whole(folder: Path, run: SyntheticRun) -> None:
    compared = compare_run(run.records, run.trials)
    with RunFolder.open(folder, resume=True) as writer:
        writer.replace_comparisons(compared[:1])
        writer.replace_comparisons(compared)
    assert RunFolder.reading(folder).comparisons() == compared
    assert not list(folder.glob("*.new"))


# --- who may write where


def test_folder_that_is_not_empty_needs_resume(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SparsebenchError, match="--resume"):
        RunFolder.open(folder)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(SparsebenchError, match="no run"):
        RunFolder.open(tmp_path / "photos", resume=True)


def test_resume_of_nothing_starts_anew(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "new" / "deep", resume=True) as writer:
        assert writer.trials() == []


def test_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(SparsebenchError, match="is a file"):
        RunFolder.open(tmp_path / "run")
    with pytest.raises(SparsebenchError, match="cannot be written"):
        RunFolder.open(tmp_path / "run" / "inside")


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(SparsebenchError, match="cannot be written: Permission denied"):
        RunFolder.open(tmp_path / "run")


def test_folder_without_a_run_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(SparsebenchError, match="holds no run"):
        RunFolder.reading(tmp_path)


def test_second_writer_is_refused_until_the_first_ends(folder: Path) -> None:
    refused = pytest.raises(SparsebenchError, match="Another run")
    with RunFolder.open(folder, resume=True), refused:
        RunFolder.open(folder, resume=True)
    RunFolder.open(folder, resume=True).close()


WRITER = textwrap.dedent(
    """
    import sys, time
    from sparsebench.bench.records import RunFolder
    from tests.bench.records.test_folder import one_trial
    folder = RunFolder.open(sys.argv[1])
    for block in range(100_000):
        folder.append_trial(one_trial(block))
        print(block, flush=True)
    """
)


def test_kill_loses_no_finished_trial_and_frees_the_lock(tmp_path: Path) -> None:
    """SIGKILL of the writer in the middle of its work, as in a run that is cut off."""
    path = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    written = [int(process.stdout.readline()) for _ in range(20)]
    with pytest.raises(SparsebenchError, match=f"process {process.pid}"):
        RunFolder.open(path, resume=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written += [int(line) for line in process.stdout.read().split()]
    process.stdout.close()
    with RunFolder.open(path, resume=True) as folder:
        found = [trial.block for trial in folder.trials()]
    assert found[: len(written)] == written
    assert len(found) - len(written) <= 1  # written, but killed before it could say so


def test_importing_records_loads_nothing_heavy() -> None:
    code = (
        "import sys, sparsebench.bench.records;"
        "print([m for m in ('numpy','scipy','jsonschema','pandas','torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
