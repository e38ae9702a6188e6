"""Files of a run that anybody may have changed: a typed error or the right value."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sparsebench.bench.present.summaries import write_summaries
from sparsebench.bench.records import RunFolder
from sparsebench.bench.records.checksum import sealed
from sparsebench.bench.records.jsonl import MOST_DEPTH, append_line, read_lines
from sparsebench.models.errors import SparsebenchError
from tests.bench.conftest import Result
from tests.bench.synthetic import make_run

Cli = Callable[..., Result]
FILES = ("trials.jsonl", "records.jsonl", "comparisons.jsonl", "blocks.jsonl")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "run"
    run = make_run(blocks=2, engines=("deepsparse", "onnxruntime"),
                   backbones=("resnet18/dense", "resnet18/acdc-90"))  # fmt: skip
    folder = run.write(path)
    write_summaries(folder)
    for block in range(2):
        clock = {"at": 10.0 * block, "compute_seconds": 1e-3, "memory_seconds": 2e-3}
        line = {
            "block": block,
            "launch": f"launch-{block}",
            "before": clock,
            "after": {**clock, "at": 10.0 * block + 5},
            "disturbed": None,
            "discarded": False,
        }
        append_line(path / "blocks.jsonl", line)  # fmt: skip
    return path


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "run"))


def commands(run: Path, out: Path) -> list[tuple[object, ...]]:
    return [
        ("report", run, "--out", out / "r.md"),
        ("advise", run),
        ("compare", run, run),
        ("plot", run, "--figure", "profile", "--out", out),
        ("history", run.parent, "--out", out),
        ("reproduce", run),
        ("baseline", "update", run, "--out", out / "b.toml", "--reason", "r"),
    ]


def content(run: Path) -> Any:
    folder = RunFolder.reading(run)
    return folder.trials(), folder.records(), folder.comparisons()


def test_a_changed_digit_is_never_read_as_good(folder: Path) -> None:
    """255 random changes of one digit, in every file that carries numbers."""
    rng = random.Random(0)
    for name in FILES[:3]:
        path = folder / name
        whole = path.read_bytes()
        digits = [place for place, byte in enumerate(whole) if chr(byte).isdigit()]
        for place in rng.sample(digits, 85):
            other = rng.choice([d for d in b"0123456789" if d != whole[place]])
            path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
            with pytest.raises(SparsebenchError, match=rf"{name}, line \d+"):
                content(folder)
        path.write_bytes(whole)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_changed_byte_of_a_line_is_noticed(written: Path, data: st.DataObject) -> None:
    """Only white space between lines, or a torn end that is left out, may pass."""
    path = written / "trials.jsonl"
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255))
    before = RunFolder.reading(written).trials()
    path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    try:
        assert RunFolder.reading(written).trials() in (before, before[:-1])
    except SparsebenchError:
        pass
    finally:
        path.write_bytes(whole)


def test_lines_of_older_versions_have_no_checksum_and_are_read(folder: Path) -> None:
    before = content(folder)
    for name in FILES[:3]:
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for line in lines:
            del line["check"]
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert content(folder) == before


def test_white_space_of_another_program_is_no_change(folder: Path) -> None:
    before = content(folder)
    path = folder / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line, separators=(" , ", " : ")) + "\n" for line in lines))
    assert content(folder) == before


def test_a_removed_checksum_is_noticed_after_one_that_is_there(folder: Path) -> None:
    path = folder / "records.jsonl"
    first, second, *rest = path.read_text().splitlines()
    line = json.loads(second)
    del line["check"]
    path.write_text("\n".join([first, json.dumps(line), *rest]) + "\n")
    with pytest.raises(SparsebenchError, match="line 2 is damaged: its checksum is missing"):
        RunFolder.reading(folder).records()


@pytest.mark.parametrize(
    "value",
    ["9" * 400, "-" + "9" * 400, "9" * 5000, "1e999", "NaN", "-Infinity", str(2**63),
     "[" * 500 + "]" * 500, "[" * 100_000, '{"a":' * 200 + "1" + "}" * 200, '"\\ud800"', "true",
     "null", "[]", "{}", '"x"', "-1", "1e308"],
    ids=lambda text: text[:12],
)  # fmt: skip
@pytest.mark.parametrize("name", FILES)
def test_values_that_no_version_writes(
    folder: Path, cli: Cli, tmp_path: Path, name: str, value: str
) -> None:
    """Planted where numbers stand, in a file without checksums: an answer or a typed error."""
    path = folder / name
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["check"]
    spots: dict[str, list[list[Any]]] = {
        "trials.jsonl": [["seconds", 0], ["items"], ["stages"], ["extra"]],
        "records.jsonl": [["extra"], ["machine", "usable_cpus"], ["accuracy"], ["settings"]],
        "comparisons.jsonl": [["speedup"], ["training"], ["p_holm"]],
        "blocks.jsonl": [["before", "at"], ["after"], ["launch"], ["disturbed"]],
    }
    for spot in spots[name][:2] if len(value) > 300 else spots[name]:
        planted: Any = json.loads(json.dumps(lines))
        inner: Any = planted[0]
        for step in spot[:-1]:
            inner = inner[step]
        inner[spot[-1]] = "PLANTED"
        text = "".join(json.dumps(line) + "\n" for line in planted)
        path.write_text(text.replace('"PLANTED"', value))
        for command in commands(folder, tmp_path)[: 2 if name != "records.jsonl" else 4]:
            told = cli(*command)
            assert told.code in (0, 1, 2, 3, 4), (command, told.err)
            assert "Traceback" not in told.err


def test_missing_keys_of_notes_on_blocks(folder: Path, cli: Cli, tmp_path: Path) -> None:
    for line in ({}, {"launch": 3}, {"launch": "a", "before": {"at": "x"}}, {"launch": "a"}):
        (folder / "blocks.jsonl").write_bytes(sealed(line) + sealed(line))
        told = cli("report", folder, "--out", tmp_path / "r.md")
        assert told.code == (0 if line == {"launch": "a"} else 2)
        assert told.code == 0 or "is no note of a launch" in told.err


@pytest.mark.parametrize("name", FILES)
def test_devices_pipes_and_folders_are_no_files(
    folder: Path, cli: Cli, tmp_path: Path, name: str
) -> None:
    for make in (
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: os.mkfifo(path),
        lambda path: path.mkdir(),
        lambda path: path.symlink_to(path),
    ):
        path = folder / name
        path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
        make(path)
        told = cli("report", folder, "--out", tmp_path / "r.md")
        # Comparisons follow from the rest and are made again.
        assert told.code == (0 if name == "comparisons.jsonl" else 2), told.err
        assert "Traceback" not in told.err


def test_nesting_is_bounded_and_brackets_in_names_are_no_nesting(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    deep: Any = 1
    for _ in range(MOST_DEPTH - 1):
        deep = [deep]
    good = {"name": "[" * 500 + '"\\{', "deep": deep}
    append_line(path, good)
    assert read_lines(path)[0].data == good
    append_line(path, {"deep": [deep]})
    append_line(path, {})
    with pytest.raises(SparsebenchError, match="line 2 is damaged: it is nested deeper than 64"):
        read_lines(path)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.binary(max_size=300)
    | st.text(alphabet='{}[]",:0123456789eE+-.\n ntfalse\\u').map(str.encode)
)
def test_any_bytes_are_read_or_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "b.jsonl"
    path.write_bytes(data)
    try:
        assert all(isinstance(line.data, dict) for line in read_lines(path))
    except SparsebenchError:
        pass
