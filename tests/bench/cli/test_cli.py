"""The command line: every mistake is one message with its fix, and the right exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench.conftest import Result
from tests.bench.synthetic import make_run

Cli = Callable[..., Result]
LISTS = ("backbones", "engines", "tasks", "workloads", "plans", "methods")
COMMANDS = (
    "run",
    "sparsify",
    "list",
    "doctor",
    "export",
    "inspect",
    "compare",
    "plot",
    "reproduce",
    "report",
    "advise",
    "engines",
    "check",
    "noise",
    "history",
)


def wrong(result: Result, *words: str) -> None:
    assert result.code == 2, (result.out, result.err)
    text = " ".join(result.err.split())
    assert "Traceback" not in text
    for word in words:
        assert word in text


def test_unknown_names_offer_the_nearest(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "R"
    wrong(cli("run", "quik"), "no plan named 'quik'", "Did you mean 'quick'")
    wrong(cli("run", "quick", "--engine", "depsparse", "--out", out), "'deepsparse'")
    wrong(cli("run", "quick", "--workload", "inferense", "--out", out), "'inference'")
    wrong(cli("run", "quick", "--task", "digit", "--out", out), "'digits'")
    gone = cli("run", "quick", "--task", tmp_path / "pictures", "--out", out)
    wrong(gone, "no folder or archive", "train/CLASS/")
    wrong(cli("run", "quick", "--backbone", "resnet81/dense", "--out", out), "'resnet18'")
    wrong(cli("run", "quick", "--precision", "fp23", "--out", out), "'fp32'")
    wrong(cli("list", "engine"), "Did you mean 'engines'")
    wrong(cli("engines", "install", "deepspars"), "'deepsparse'")
    assert not out.exists()  # nothing is made before the plan is known to be good


@pytest.mark.parametrize("name", ["resnet18/erk-190@generated", "resnet18/erk-0.9@generated"])
def test_a_sparsity_that_cannot_be_meant_is_explained(cli: Cli, name: str) -> None:
    wrong(cli("run", "quick", "--backbone", name), "percent")


def test_wrong_usage_is_exit_code_two(cli: Cli) -> None:
    assert cli("run").code == 2
    assert cli("run", "quick", "--no-such-option").code == 2
    wrong(cli("run", "quick", "--batch-size", 0), "must be 1 or more")
    wrong(cli("run", "quick", "--dense", "resnet18"), "SPARSE=DENSE")


def test_a_folder_that_is_no_task_says_what_was_expected(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "only" / "pictures").mkdir(parents=True)
    result = cli("run", "quick", "--task", tmp_path / "only", "--out", tmp_path / "R")
    wrong(result, "train")


def test_an_output_folder_that_cannot_be_used_is_explained(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    wrong(cli("run", "quick", "--task", images, "--out", blocked), "is a file", "--out")
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious").write_text("")
    wrong(cli("run", "quick", "--task", images, "--out", full), "not empty")
    assert (full / "precious").exists()


def test_damaged_files_are_one_sentence(cli: Cli, tmp_path: Path) -> None:
    for name in ("broken.onnx", "broken.pth", "broken.safetensors"):
        path = tmp_path / name
        path.write_bytes(b"\x80\x02not what it says" * 20)
        wrong(cli("inspect", path), name)
    wrong(cli("inspect", tmp_path / "missing.pth"), "no file")
    wrong(cli("plot", tmp_path), "no run")
    wrong(cli("compare", tmp_path, tmp_path), "no run")


def test_a_damaged_checkpoint_in_a_run_costs_only_its_own_cells(
    cli: Cli, images: Path, tmp_path: Path
) -> None:
    path = tmp_path / "broken.pth"
    path.write_bytes(b"\x80\x02not what it says" * 20)
    options = ["--engine", "onnxruntime", "--workload", "inference", "--repeats", 1]
    options += ["--task", images, "--epochs", 2, "--batch-size", 8, "--size", 32]
    options += ["--set", "inference.min_seconds=0.01"]
    backbone = f"resnet18/mine-50@{path}"
    result = cli("run", "quick", "--backbone", backbone, *options, "--out", tmp_path / "R")
    assert result.code == 0, result.err
    records = [json.loads(line) for line in (tmp_path / "R/records.jsonl").read_text().splitlines()]
    status = {r["backbone"]["method"]: (r["status"], r["reason"]) for r in records}
    assert status["dense"] == ("ok", None)
    assert status["mine"][0] == "failed"
    assert "broken.pth" in status["mine"][1]


@pytest.mark.parametrize("what", LISTS)
def test_every_list_has_entries_in_both_forms(cli: Cli, what: str) -> None:
    shown = cli("list", what)
    rows = json.loads(cli("list", what, "--json").out)
    assert shown.code == 0
    assert rows
    for row in rows:
        assert next(iter(row.values())) in shown.out.replace("\n", "")


def test_every_command_has_help_with_examples(cli: Cli) -> None:
    for command in COMMANDS:
        result = cli(command, "--help")
        assert result.code == 0
        if command != "engines":
            assert f"sparsebench {command}" in result.out


def test_inspect_counts_what_is_there(cli: Cli) -> None:
    report = json.loads(cli("inspect", "resnet18/uniform-90@generated", "--json").out)
    first, *others = report["layers"]
    assert first["name"] == "conv1"
    assert first["macs"] == 112 * 112 * 64 * 3 * 49  # by hand: positions x filters x weights
    assert (
        sum(layer["macs"] for layer in report["layers"]) == 1_814_073_344
    )  # torch's own FLOP counter, halved
    assert any(layer["sparsity"] > 0.85 for layer in others)


def test_exported_files_can_be_inspected(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    made = cli("export", "resnet18/uniform-90@generated", "--size", 32, "--out", path)
    assert made.code == 0, made.err
    assert "equal to the checkpoint's" in made.out
    from_file = json.loads(cli("inspect", path, "--json").out)
    from_name = json.loads(cli("inspect", "resnet18/uniform-90@generated", "--json").out)
    zeros = [layer["sparsity"] for layer in from_name["layers"] if layer["name"] != "fc"]
    by_shape = sorted(layer["sparsity"] for layer in from_file["layers"])
    assert by_shape == pytest.approx(sorted(zeros), abs=1e-9)


def test_help_answers_without_loading_heavy_libraries() -> None:
    code = (
        "import sys, sparsebench.bench.cli\n"
        "heavy = {'torch', 'numpy', 'pandas', 'scipy', 'matplotlib', 'onnx', 'sklearn', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_cannot_be_written_is_one_message() -> None:
    command = [sys.executable, "-m", "sparsebench", "list", "plans"]
    with open("/dev/full", "wb") as full:
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert told.returncode == 2
    assert told.stderr.startswith("Error: Standard output cannot be")
    assert "Traceback" not in told.stderr


def test_a_dash_is_standard_output_and_no_file(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: `report --out -` wrote a file of that name."""
    folder = make_run(blocks=3, engines=["torch"]).write(tmp_path / "R").path
    monkeypatch.chdir(tmp_path)
    done = cli("report", folder, "--out", "-", "--format", "csv")
    assert done.code == 0 and "backbone,method" in done.out and "report.csv" not in done.out
    baseline = tmp_path / "ci.toml"
    assert cli("baseline", "update", folder, "--out", baseline, "--reason", "new").code == 0
    checked = cli("check", folder, "--baseline", baseline, "--junit", "-")
    assert "<testsuites" in checked.out
    assert cli("check", folder, "--baseline", baseline, "--junit", "-", "--json").code == 2
    for refused in (
        ("report", folder, "--out", "-"),
        ("plot", folder, "--out", "-"),
        ("run", "quick", "--out", "-"),
        ("history", tmp_path, "--out", "-"),
        ("export", "resnet18/dense", "--out", "-"),
        ("reproduce", "--paper-only", "--out", "-"),
        ("sparsify", "resnet18/dense", "--out", "-"),
    ):
        assert cli(*refused).code == 2, refused
    assert not (tmp_path / "-").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "nothing.pth", "--why"),
        ("inspect", "nothing.pth"),
        ("history", "nothing"),
        ("compare", "nothing", "nothing"),
        ("reproduce", "nothing"),
        ("list", "nothing"),
    ],
)
def test_an_unknown_format_is_refused_before_any_work(cli: Cli, command: tuple[str, ...]) -> None:
    """A minute was measured, or figures written, and then the format refused."""
    done = cli(*command, "--format", "html")
    assert done.code == 2
    assert "There is no format named 'html'" in done.err
