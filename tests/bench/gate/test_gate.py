"""The gate on synthetic runs whose true changes are known, through the command line."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import tomli_w

from sparsebench.bench.records import Accuracy
from tests.bench.conftest import Result
from tests.bench.gate.changed import SPARSE, Cli, again, check, slowed, verdicts
from tests.bench.synthetic import MACHINE, SyntheticRun


def test_the_same_code_measured_twice_is_no_change(cli: Cli, accepted: Path) -> None:
    result = check(cli, again(), accepted)
    assert result.code == 0, result.out
    assert "no regression in 12 cells" in result.out


def test_a_slower_sparse_kernel_is_named_with_interval_cause_and_command(
    cli: Cli, accepted: Path
) -> None:
    run = slowed(
        again(), 1.15, lambda r: r.backbone.name == SPARSE and r.engine.name == "deepsparse"
    )
    result = check(cli, run, accepted)
    assert result.code == 1
    text = " ".join(result.out.split())
    assert "2 of 12 cells failed" in text
    assert f"inference · digits · {SPARSE} · deepsparse" in text
    assert "95 % interval 0.8" in text
    assert "moved: engine: stage extract" in text
    assert f"sparsebench run {accepted.parent}/now/plan.toml --backbone {SPARSE}" in text
    assert "--only" in text


def test_a_slower_engine_is_caught_although_dense_and_sparse_slow_down_alike(
    cli: Cli, accepted: Path
) -> None:
    run = slowed(again(), 1.15, lambda r: r.engine.name == "torch" and r.workload == "inference")
    result = check(cli, run, accepted, "--json")
    assert result.code == 1
    failing = [name for name, line in verdicts(result).items() if line["failing"]]
    assert failing == ["inference · digits · resnet18/dense · torch"]


def test_a_faster_engine_fails_nothing(cli: Cli, accepted: Path) -> None:
    run = slowed(again(), 0.8, lambda r: r.backbone.name == SPARSE)
    result = check(cli, run, accepted, "--json")
    assert result.code == 0
    better = [line for line in verdicts(result).values() if line["status"] == "better"]
    assert {line["key"]["backbone"] for line in better} == {SPARSE}


def test_a_removed_benchmark_fails(cli: Cli, accepted: Path) -> None:
    run = again(backbones=["resnet18/dense"])
    result = check(cli, run, accepted)
    assert result.code == 1
    assert "removed or renamed" in result.out


def test_a_cell_that_failed_fails_the_gate_with_its_reason(cli: Cli, accepted: Path) -> None:
    run = again(failed=[("inference", SPARSE, "deepsparse")])
    result = check(cli, run, accepted)
    assert result.code == 1
    assert "segmentation fault" in result.out


def test_a_reference_engine_that_vanished_is_no_silent_pass(cli: Cli, accepted: Path) -> None:
    result = check(cli, again(engines=["deepsparse", "onnxruntime"]), accepted, "--json")
    assert result.code == 1
    dense = verdicts(result)["inference · digits · resnet18/dense · deepsparse"]
    assert dense["status"] == "failed"
    assert "torch" in dense["reasons"][0]


def test_lost_accuracy_fails_beyond_the_limit_only(cli: Cli, accepted: Path) -> None:
    def worse(points: float) -> SyntheticRun:
        run = again()
        for record in list(run.records):
            if record.backbone.name == SPARSE and record.accuracy is not None:
                lower = [value - points / 100 for value in record.accuracy.per_seed]
                accuracy = Accuracy.of("top1", lower, record.accuracy.seeds)
                run = run.replaced(record, accuracy=accuracy)
        return run

    assert check(cli, worse(0.4), accepted).code == 0
    (accepted.parent / "now").rename(accepted.parent / "first")
    result = check(cli, worse(0.6), accepted)
    assert result.code == 1
    assert "its accuracy fell by 0.60 points" in " ".join(result.out.split())
    assert (
        cli("check", accepted.parent / "now", "--baseline", accepted, "--max-accuracy-loss", 1).code
        == 0
    )


def test_a_time_without_an_accuracy_enters_no_gate(cli: Cli, accepted: Path) -> None:
    run = again(workloads=["inference"])
    result = check(cli, run, accepted, "--only", "inference", "--json")
    assert result.code == 1
    assert all("no accuracy" in line["reasons"][0] for line in verdicts(result).values())


def test_limits_of_a_cell_in_the_file_go_before_those_of_the_command_line(
    cli: Cli, accepted: Path
) -> None:
    run = slowed(
        again(), 1.15, lambda r: r.backbone.name == SPARSE and r.engine.name == "deepsparse"
    )
    text = accepted.read_text()
    head, *cells = text.split("[[cells]]")
    cells = [
        cell.replace("[cells.key]", "[cells.limits]\neffect = 0.3\n\n[cells.key]")
        if f'"{SPARSE}"' in cell and 'engine = "deepsparse"' in cell
        else cell
        for cell in cells
    ]
    accepted.write_text("[[cells]]".join([head, *cells]))
    assert check(cli, run, accepted).code == 0

    # The limits survive an update, and the old reason stays readable.
    now = accepted.parent / "now"
    assert cli("baseline", "update", now, "--out", accepted, "--reason", "new kernels").code == 0
    data = tomllib.loads(accepted.read_text())
    assert data["reason"] == "new kernels"
    assert [entry["reason"] for entry in data["history"]] == ["first"]
    kept = [cell["limits"] for cell in data["cells"] if "limits" in cell]
    assert kept == [{"effect": 0.3}] * 2


def test_a_floor_in_the_file_holds_on_any_machine(cli: Cli, accepted: Path) -> None:
    key = "[cells.key]"
    accepted.write_text(
        accepted.read_text().replace(key, f"[cells.limits]\nmin_ratio = 9\n\n{key}")
    )
    other = again(machine={**MACHINE, "fingerprint": "f" * 16})
    result = check(cli, other, accepted, "--across-machines")
    assert result.code == 1
    assert "below the least allowed, 9×" in " ".join(result.out.split())


def test_a_floor_inside_of_the_interval_is_neither_held_nor_broken(
    cli: Cli, accepted: Path
) -> None:
    """Noise alone fails nothing and passes nothing: the whole interval must lie on one side."""
    other = again(machine={**MACHINE, "fingerprint": "f" * 16})
    before = json.loads(check(cli, other, accepted, "--across-machines", "--json").out)
    data = tomllib.loads(accepted.read_text())
    # of the way from the median to the upper end of the interval
    for share, code in ((-4, 0), (0.5, 4), (1.5, 1)):
        for line in before["verdicts"]:
            (cell,) = [c for c in data["cells"] if c["key"] == line["key"]]
            median, high = line["now"]["median"], line["now"]["high"]
            assert median < high
            cell["limits"] = {"min_ratio": median + share * (high - median)}
        accepted.write_text(tomli_w.dumps(data))
        shutil.rmtree(accepted.parent / "now")
        assert check(cli, other, accepted, "--across-machines").code == code


@pytest.mark.parametrize(
    ("engine", "floor", "code", "says"),
    [
        # the true ratio is 3.64: 1.0 ms on ONNX Runtime against 1.1 ms / 4 on DeepSparse
        ("onnxruntime", 3, 0, ""),
        ("onnxruntime", 4.5, 1, "its ratio to onnxruntime 3."),
        ("tvm", 1, 4, "the run has no time of this backbone on tvm"),
    ],
)
def test_a_floor_may_be_set_on_the_ratio_to_another_engine(
    cli: Cli, accepted: Path, engine: str, floor: float, code: int, says: str
) -> None:
    data = tomllib.loads(accepted.read_text())
    wanted = {"workload": "inference", "backbone": SPARSE, "engine": "deepsparse"}
    (cell,) = [c for c in data["cells"] if wanted.items() <= c["key"].items()]
    cell["limits"] = {"min_ratio_to": {engine: floor}}
    accepted.write_text(tomli_w.dumps(data))
    result = check(cli, again(), accepted, "--across-machines")
    assert result.code == code, result.out
    assert says in " ".join(result.out.split())


def test_junit_markdown_and_annotations_name_the_regressed_cell(
    cli: Cli, accepted: Path, tmp_path: Path
) -> None:
    run = slowed(again(), 1.2, lambda r: r.backbone.name == SPARSE and r.workload == "inference")
    forms = ["--junit", tmp_path / "check.xml", "--markdown", tmp_path / "check.md", "--github"]
    forms += ["--badge", tmp_path / "badge.svg"]
    result = check(cli, run, accepted, *forms)
    assert result.code == 1

    suite = ElementTree.parse(tmp_path / "check.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("12", "3")
    failed = [case for case in suite if case.find("failure") is not None]
    assert {case.get("name") for case in failed} == {
        f"{SPARSE} on {engine}" for engine in ("deepsparse", "onnxruntime", "torch")
    }
    markdown = (tmp_path / "check.md").read_text()
    assert markdown.startswith("### :x: Failed: sparsebench, ")
    assert "**REGRESSED**" in markdown
    assert 'aria-label="sparsebench: failing"' in (tmp_path / "badge.svg").read_text()
    assert "- repeat: `sparsebench run" in markdown
    annotations = [line for line in result.out.splitlines() if line.startswith("::error")]
    assert len(annotations) == 4  # three cells and the headline
    assert all("\n" not in line for line in annotations)
    assert "%25" in annotations[0]


def _on(run: SyntheticRun, *isa: str) -> SyntheticRun:
    machine = {**MACHINE, "isa": list(isa)}
    return SyntheticRun([replace(r, machine=machine) for r in run.records], run.trials)


def _check_with_plan(
    cli: Cli, run: SyntheticRun, baseline: Path, name: str, engines: list[str]
) -> Result:
    run.write(baseline.parent / name)
    plan = f'name = "{name}"\nbackbones = ["resnet18/dense"]\nengines = {engines}\n'
    (baseline.parent / name / "plan.toml").write_text(plan)
    path = baseline.parent / name
    return cli("check", path, "--baseline", baseline, "--across-machines", "--json")


def test_a_cell_that_the_processor_lacks_the_instructions_for_is_not_missing(
    cli: Cli, accepted: Path
) -> None:
    data = tomllib.loads(accepted.read_text())
    data["machine"]["isa"] = ["avx2", "avx512_vnni"]
    for cell in data["cells"]:
        # In the baseline torch ran in int8 beside the others' int8.
        cell["key"]["precision"] = "int8"
    accepted.write_text(tomli_w.dumps(data))
    run = again(engines=["deepsparse", "onnxruntime"])
    run = SyntheticRun(
        [replace(r, engine=replace(r.engine, precision="int8")) for r in run.records], run.trials
    )
    others = ["deepsparse:int8", "onnxruntime:int8"]
    lesser = _on(run, "avx2")
    result = _check_with_plan(cli, lesser, accepted, "lesser", [*others, "torch:int8?"])
    assert result.code == 0, result.out
    found = [(line["key"]["engine"], line["status"]) for line in verdicts(result).values()]
    assert {status for engine, status in found if engine == "torch"} == {"not here"}
    assert {status for engine, status in found if engine != "torch"} == {"same"}
    report = json.loads(result.out)
    assert report["headline"] == "no regression in 8 cells"
    assert (
        "torch:int8 is left out on this processor (the baseline's has avx512_vnni)"
        in (report["notes"][-1])
    )
    # What only torch was the measure of has nothing to be judged by here.
    for cell in data["cells"]:
        if cell["kind"] == "engines" and cell["key"]["engine"] == "onnxruntime":
            cell["against"] = ["torch"]
    accepted.write_text(tomli_w.dumps(data))
    alone = _check_with_plan(cli, lesser, accepted, "alone", [*others, "torch:int8?"])
    assert alone.code == 0, alone.out
    assert json.loads(alone.out)["headline"] == "no regression in 6 cells"
    # On the baseline's processor, or asked for without a question mark, it is missing.
    same = _on(run, "avx2", "avx512_vnni")
    assert _check_with_plan(cli, same, accepted, "same", [*others, "torch:int8?"]).code == 1
    assert _check_with_plan(cli, lesser, accepted, "asked", [*others, "torch:int8"]).code == 1
