"""What the gate refuses to judge, and what it calls inconclusive."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sparsebench.bench.records import Accuracy
from tests.bench.gate.changed import QUIET, SPARSE, TWO, Cli, again, check
from tests.bench.synthetic import MACHINE, SyntheticRun, make_run


def test_nothing_measured_exits_three(cli: Cli, accepted: Path, tmp_path: Path) -> None:
    cells = [(w, b, e) for w, b, e in _all_cells()]
    result = check(cli, again(failed=cells), accepted)
    assert result.code == 3
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "records.jsonl").write_text("")
    assert cli("check", tmp_path / "empty", "--baseline", accepted).code == 3


@pytest.mark.parametrize("blocks", [1, 2])
def test_too_few_blocks_make_no_baseline(cli: Cli, tmp_path: Path, blocks: int) -> None:
    run = make_run(blocks=blocks, backbones=TWO).write(tmp_path / "R").path
    made = cli("baseline", "update", run, "--out", tmp_path / "b.toml", "--reason", "first")
    assert made.code != 0 and not (tmp_path / "b.toml").exists()
    assert "its speed has no interval (that takes 3 blocks)" in " ".join(made.err.split())


def _all_cells() -> list[tuple[str, str, str]]:
    return [
        (r.workload, r.backbone.name, r.engine.name)
        for r in make_run(blocks=1, backbones=TWO).records
    ]


def test_a_baseline_of_another_machine_is_refused_with_what_differs(
    cli: Cli, accepted: Path
) -> None:
    other = {**MACHINE, "fingerprint": "f" * 16, "cpu": "Other CPU"}
    result = check(cli, again(machine=other), accepted)
    assert result.code == 2
    assert "cpu: 'Test CPU' against 'Other CPU'" in " ".join(result.err.split())
    folder = accepted.parent / "now"
    assert cli("check", folder, "--baseline", accepted, "--across-machines").code == 0


def test_other_settings_are_refused_with_the_keys(cli: Cli, accepted: Path) -> None:
    run = again()
    records = [replace(r, settings={**r.settings, "size": 32}) for r in run.records]
    result = check(cli, SyntheticRun(records, run.trials), accepted)
    assert result.code == 2
    assert "settings.size: 64 against 32" in " ".join(result.err.split())


def test_an_effect_below_the_noise_floor_is_refused(cli: Cli, accepted: Path) -> None:
    from sparsebench.bench.gate.noise import MachineNoise, store_noise

    store_noise(MachineNoise(str(MACHINE["fingerprint"]), 0.05, 8, "onnxruntime", "2026-01-01"))
    result = check(cli, again(), accepted)
    assert result.code == 2
    # t(8 degrees, 97.5 %) = 2.306; 2.306 * 0.05 * sqrt(2/5) = 0.0729 in the logarithm
    assert "noise floor of this machine, 7.6%" in " ".join(result.err.split())
    folder = accepted.parent / "now"
    assert cli("check", folder, "--baseline", accepted, "--effect", "8%").code == 0


def test_a_run_that_could_not_have_shown_the_effect_passes_nothing(
    cli: Cli, accepted: Path
) -> None:
    result = check(cli, make_run(seed=5, blocks=3, process=0.2, backbones=TWO), accepted)
    assert result.code == 4
    assert "inconclusive in 12 of 12 cells" in " ".join(result.out.split())


@pytest.mark.parametrize("blocks", [1, 2])
def test_too_few_blocks_pass_no_limit(cli: Cli, accepted: Path, blocks: int) -> None:
    run = make_run(seed=3, blocks=blocks, backbones=TWO, **QUIET)
    floors = accepted.read_text().replace(
        "[cells.key]", "[cells.limits]\nmin_ratio = 0.1\n\n[cells.key]"
    )
    accepted.write_text(floors)
    result = check(cli, run, accepted, "--across-machines")
    assert result.code == 4
    assert "(no interval) is not shown to reach the least allowed, 0.1×" in " ".join(
        result.out.split()
    )


def test_a_fall_of_three_points_with_noisy_seeds_is_not_passed(cli: Cli, accepted: Path) -> None:
    """Seen: with a limit of 0.5 points it was "no regression", with --strict too."""
    run = again()
    for record in list(run.records):
        if record.backbone.name == SPARSE and record.accuracy is not None:
            noise = (-0.07, -0.03, 0.01)
            lower = [a + b for a, b in zip(record.accuracy.per_seed, noise, strict=True)]
            run = run.replaced(record, accuracy=Accuracy.of("top1", lower, record.accuracy.seeds))
    result = check(cli, run, accepted)
    assert result.code == 4
    assert "that at most 0.5 were lost is not shown" in " ".join(result.out.split())
    again_, code = [accepted.parent / "now", "--baseline", accepted], {"fail": 1, "pass": 0}
    for option, expected in code.items():
        assert cli("check", *again_, "--inconclusive", option).code == expected
    assert cli("check", *again_, "--inconclusive", "perhaps").code == 2


def test_a_loss_within_the_limit_is_passed_only_where_the_interval_is(
    cli: Cli, accepted: Path
) -> None:
    run = again()
    for record in list(run.records):
        if record.backbone.name == SPARSE and record.accuracy is not None:
            noise = (-0.0045, -0.004, -0.0035)  # t(2) * 0.05 / sqrt(3) = 0.12 points
            lower = [a + b for a, b in zip(record.accuracy.per_seed, noise, strict=True)]
            run = run.replaced(record, accuracy=Accuracy.of("top1", lower, record.accuracy.seeds))
    for limit, code in (("0.55", 0), ("0.45", 4), ("0.25", 1)):
        shutil.rmtree(accepted.parent / "now", ignore_errors=True)
        assert check(cli, run, accepted, "--max-accuracy-loss", limit).code == code


def test_a_least_accuracy_is_held_by_the_whole_interval(cli: Cli, accepted: Path) -> None:
    run = again()
    accuracy = run.record("linear-cached", SPARSE, "torch").accuracy
    assert accuracy is not None and accuracy.ci95 is not None
    low, high = accuracy.ci95
    text = accepted.read_text()
    run.write(accepted.parent / "now")
    for least, code in ((low - 1e-4, 0), (accuracy.mean, 4), (high + 1e-4, 1)):
        limits = f"[cells.limits]\nmin_accuracy = {least}\n\n[cells.key]"
        accepted.write_text(text.replace("[cells.key]", limits))
        only = ["--only", f"linear-cached .* {SPARSE} · torch"]
        result = cli("check", accepted.parent / "now", "--baseline", accepted, *only)
        assert result.code == code, result.out


def test_a_cell_too_noisy_to_tell_is_an_outcome_of_its_own(
    cli: Cli, accepted: Path, tmp_path: Path
) -> None:
    """Seen: "no regression in 8 cells; 8 too noisy to tell" was exit code 0."""
    loud = make_run(seed=5, process=0.08, backbones=TWO)
    quiet = again()
    torch = {record.id for record in quiet.records if record.engine.name == "torch"}
    mixed = SyntheticRun(
        quiet.records,
        [t for t in quiet.trials if t.cell not in torch]
        + [t for t in loud.trials if t.cell in torch],
    )
    junit = tmp_path / "check.xml"
    result = check(cli, mixed, accepted, "--junit", junit, "--github")
    assert result.code == 4
    text = " ".join(result.out.split())
    assert "inconclusive in 4 of 12 cells" in text and "no regression in the other 8" in text
    assert "it was too noisy" in text and text.count("::warning") == 5
    suite = ElementTree.parse(junit).getroot().find("testsuite")
    assert suite is not None and (suite.get("errors"), suite.get("failures")) == ("4", "0")
    command = ["check", accepted.parent / "now", "--baseline", accepted]
    assert cli(*command, "--inconclusive", "fail").code == 1
    passed = cli(*command, "--inconclusive", "pass", "--junit", junit)
    assert passed.code == 0 and "inconclusive in 4 of 12 cells" in " ".join(passed.out.split())
    suite = ElementTree.parse(junit).getroot().find("testsuite")
    assert suite is not None and (suite.get("errors"), suite.get("skipped")) == ("0", "4")
    older = cli(*command, "--strict")
    assert older.code == 1 and "--inconclusive fail" in older.err


@pytest.mark.parametrize("effect", ["0", "100%", "five", "-5%"])
def test_an_effect_that_is_no_share_is_explained(cli: Cli, accepted: Path, effect: str) -> None:
    result = cli("check", accepted.parent / "before", "--baseline", accepted, "--effect", effect)
    assert result.code == 2
    assert "is not a valid share" in result.err


def test_damaged_or_missing_baselines_are_one_sentence(cli: Cli, accepted: Path) -> None:
    run = accepted.parent / "before"
    missing = cli("check", run, "--baseline", accepted.parent / "none.toml")
    assert missing.code == 2
    assert "baseline update" in missing.err
    accepted.write_text("schema = [")
    assert "not valid TOML" in cli("check", run, "--baseline", accepted).err
    accepted.write_text('schema = "baseline.v1"\n')
    assert "is not a valid baseline" in cli("check", run, "--baseline", accepted).err
    empty = cli("baseline", "update", run, "--out", accepted.parent / "x.toml", "--reason", " ")
    assert empty.code == 2


@pytest.mark.parametrize("loss", ["nan", "-1", "inf", "101"])
def test_a_loss_that_nothing_could_break_is_refused(cli: Cli, accepted: Path, loss: str) -> None:
    """With nan, no loss of accuracy failed the gate."""
    result = check(cli, again(), accepted, "--max-accuracy-loss", loss)
    assert result.code == 2
    assert "Take a number from 0 to 100" in result.err


@pytest.mark.parametrize(
    "line", ["max_accuracy_loss = nan", "effect = nan", "min_ratio_to = { torch = nan }"]
)
def test_nan_is_no_limit_of_a_cell(cli: Cli, accepted: Path, line: str) -> None:
    text = accepted.read_text(encoding="utf-8")
    first = "[[cells]]"
    assert first in text
    limited = text.replace("[cells.key]", f"[cells.limits]\n{line}\n\n[cells.key]", 1)
    assert limited != text
    accepted.write_text(limited, encoding="utf-8")
    result = check(cli, again(), accepted)
    assert result.code == 2
    assert f"The limit '{line.split()[0]}' of a baseline's cell is not a number" in result.err


def test_what_is_no_baseline_is_told_how_one_is_written(cli: Cli, tmp_path: Path) -> None:
    """The hint was that of a run: to name a folder."""
    (tmp_path / "x.toml").write_text("a = 1\n", encoding="utf-8")
    result = check(cli, again(), tmp_path / "x.toml")
    assert result.code == 2
    assert "sparsebench baseline update RUN" in result.err
