"""The pytest plugin in a user's repository, which has a `models` folder of its own.

The command ``sparsebench`` is replaced by one that hands out a synthetic run: what is tested is
everything between that run and pytest-benchmark's table and JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_sparsebench.runs import find_cell
from sparsebench.bench.present.summaries import write_summaries
from tests.bench.synthetic import MACHINE, make_run

SPARSE = "resnet18/acdc-90"
BOTH = ["resnet18/dense", SPARSE]
PLUGINS = ("-p", "no:cacheprovider", "-p", "benchmark", "-p", "sparsebench")
FAKE = """
import json, os, shutil, sys
assert "PYTHONPATH" not in os.environ
with open(os.environ["FAKE_CALLS"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + chr(10))
if sys.argv[1] == "doctor":
    print(json.dumps({"machine": {"fingerprint": os.environ["FAKE_FINGERPRINT"]}}))
else:
    print("[3/6] 41 s, about 40 s left: inference", file=sys.stderr)
    shutil.copytree(os.environ["FAKE_RUN"], sys.argv[sys.argv.index("--out") + 1])
"""
MINE = f"""
def test_mine(sparse_benchmark):
    result = sparse_benchmark("{SPARSE}", engine="deepsparse", batch_size=64, LIMITS)
    assert result.speedup > 3
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: acdc-90 is 4x as fast on deepsparse and loses 0.7 points."""
    folder = tmp_path_factory.mktemp("run") / "R"
    written = make_run(
        process=0.004, backbones=["resnet18/dense", SPARSE], engines=["deepsparse", "onnxruntime"]
    ).write(folder)
    write_summaries(written)
    return folder


class Repository:
    """A user's repository."""

    def __init__(self, path: Path, run: Path) -> None:
        self.path = path
        (path / "models").mkdir(parents=True)
        (path / "models" / "__init__.py").write_text("OWN = True\n")
        (path / "fake.py").write_text(FAKE)
        (path / "pytest.ini").write_text(
            f"[pytest]\nsparsebench_command = {sys.executable} {path / 'fake.py'}\n"
        )
        # pytest-benchmark measures nothing in a process that looks like one of pytest-xdist's.
        own = {name: value for name, value in os.environ.items() if "XDIST" not in name}
        self.environment = {
            **own,
            "FAKE_RUN": str(run),
            "FAKE_FINGERPRINT": str(MACHINE["fingerprint"]),
            "FAKE_CALLS": str(path / "calls"),
            "PYTHONPATH": str(path),
            # Finding plugins is pytest's work, and imports all of this environment; that ours is
            # found is stated by tests/test_wheel.py.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }

    def write(self, text: str, limits: str = "") -> None:
        (self.path / "test_mine.py").write_text(text.replace(", LIMITS", limits))

    def pytest(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", *PLUGINS, *options]
        return subprocess.run(
            command, cwd=self.path, env=self.environment, capture_output=True, text=True
        )

    def calls(self) -> list[list[str]]:
        path = self.path / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def repository(run: Path, tmp_path: Path) -> Repository:
    return Repository(tmp_path / "theirs", run)


def saved(repository: Repository) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((repository.path / "b.json").read_text())
    return data


def test_samples_are_the_workers_and_extra_info_carries_the_comparison(
    repository: Repository, run: Path
) -> None:
    repository.write(
        "import models\nfrom models import OWN\n" + MINE, ", max_accuracy_loss=2, min_speedup=3"
    )
    done = repository.pytest("--benchmark-json=b.json")
    assert done.returncode == 0, done.stdout + done.stderr

    (bench,) = saved(repository)["benchmarks"]
    trials = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    info = bench["extra_info"]["sparsebench"]
    raw = [s for t in trials if t["cell"] == info["cell"] for s in t["seconds"]]
    assert bench["stats"]["data"] == pytest.approx(raw)
    assert bench["stats"]["rounds"] == len(raw)
    low, high = info["speedup_ci95"]
    assert low < 4 < high
    assert info["accuracy_change"] == pytest.approx(-0.7, abs=0.2)
    assert info["proof"]["checkpoint_mask"] == info["proof"]["onnx_mask"]
    assert info["comparison"].startswith(info["cell"])
    # The columns that pytest-benchmark's own table cannot have.
    assert "speed-up" in done.stdout
    assert f"{info['speedup']:.2f}x ({low:.2f}-{high:.2f})" in done.stdout
    (call,) = repository.calls()
    assert call[:4] == ["run", "quick", "--backbone", SPARSE]
    assert call[call.index("--batch-size") + 1] == "64"


def test_the_unmodified_tools_read_the_file(repository: Repository) -> None:
    repository.write(MINE)
    assert repository.pytest("--benchmark-json=b.json").returncode == 0
    tool = Path(sys.executable).with_name("pytest-benchmark")
    done = subprocess.run(
        [str(tool), "compare", "b.json"], cwd=repository.path, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "test_mine" in done.stdout
    # What the pytest tool of benchmark-action/github-action-benchmark reads.
    for bench in saved(repository)["benchmarks"]:
        assert isinstance(bench["fullname"], str)
        for key in ("mean", "stddev", "ops", "rounds"):
            assert isinstance(bench["stats"][key], int | float)
    assert saved(repository)["commit_info"] is not None


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (", max_accuracy_loss=0.05", "points of accuracy; 0.05 are allowed"),
        (", min_speedup=9", "at least 9x is asked for"),
    ],
)
def test_limits_fail_their_test_without_a_traceback(
    repository: Repository, limits: str, words: str
) -> None:
    repository.write(MINE, limits)
    done = repository.pytest()
    assert done.returncode == 1
    assert words in done.stdout
    assert "pytest_sparsebench" not in done.stdout.replace("sparsebench-", "")


@pytest.mark.parametrize("limit", ["max_accuracy_loss", "min_speedup"])
def test_a_limit_that_nothing_could_break_fails_before_anything_is_measured(
    repository: Repository, limit: str
) -> None:
    """A test with `max_accuracy_loss=float("nan")` passed, whatever was lost."""
    repository.write(MINE, f", {limit}=float('nan')")
    done = repository.pytest()
    assert done.returncode == 1
    assert f"{limit}=nan is no limit" in done.stdout
    assert repository.calls() == []


def test_switches_and_lists_are_options_too(repository: Repository) -> None:
    """`strict=True` became `--strict True`, which no run takes."""
    repository.write(MINE, ", strict=True, own_head=False, limit=None, seed=[1, 2]")
    assert repository.pytest().returncode == 0
    (call,) = repository.calls()
    assert "True" not in call and call.count("--strict") == 1
    assert "--own-head" not in call and "--limit" not in call
    assert [call[i + 1] for i, word in enumerate(call) if word == "--seed"] == ["1", "2"]


@pytest.mark.parametrize(
    ("option", "outcome"),
    [
        ((), {"errors": 1, "passed": 1}),
        (("--sparsebench-inconclusive=fail",), {"failed": 1}),
        (("--sparsebench-inconclusive=pass",), {"passed": 1}),
    ],
)
def test_a_limit_inside_of_the_interval_is_no_pass(
    repository: Repository, tmp_path: Path, option: tuple[str, ...], outcome: dict[str, int]
) -> None:
    """Seen: `min_speedup=1.0` passed 1.46x (0.36-5.82)."""
    loud = make_run(seed=1, blocks=3, process=0.6, backbones=BOTH, engines=["deepsparse"])
    written = loud.write(tmp_path / "loud")
    write_summaries(written)
    repository.environment["FAKE_RUN"] = str(written.path)
    repository.write(MINE.replace("> 3", "> 0"), ", min_speedup=5.0")
    done = repository.pytest(*option)
    assert done.returncode == (0 if option == ("--sparsebench-inconclusive=pass",) else 1)
    assert "inconclusive, it is" in done.stdout and "at least 5x is asked for" in done.stdout
    for word, count in outcome.items():
        assert f"{count} {word.removesuffix('s') if count == 1 else word}" in done.stdout


@pytest.mark.parametrize("asked", ["nets/mine.pth", "resnet18/mine-50@nets/mine.pth"])
def test_a_checkpoint_is_found_by_its_path_as_by_its_name(tmp_path: Path, asked: str) -> None:
    """The run gives a bare checkpoint a name, and the plugin looked for the path."""
    run = make_run(backbones=["resnet18/dense", "resnet18/magnitude-50"], engines=["torch"])
    run.write(tmp_path / "R")
    records = tmp_path / "R" / "records.jsonl"
    named = records.read_text().replace("resnet18/magnitude-50", "resnet18/mine-50@nets/mine.pth")
    records.write_text(named)
    found = find_cell(tmp_path / "R", asked, "torch", "inference", None)
    assert found.info["backbone"] == "resnet18/mine-50@nets/mine.pth"


def test_two_blocks_show_no_limit(repository: Repository, tmp_path: Path) -> None:
    few = make_run(blocks=2, process=0.004, backbones=BOTH, engines=["deepsparse"])
    written = few.write(tmp_path / "few")
    write_summaries(written)
    repository.environment["FAKE_RUN"] = str(written.path)
    repository.write(MINE, ", min_speedup=1.1")
    done = repository.pytest()
    assert done.returncode == 1
    assert "inconclusive, its speed-up has no interval" in done.stdout


def test_a_cell_that_failed_fails_with_its_reason(repository: Repository, tmp_path: Path) -> None:
    broken = make_run(failed=[("inference", SPARSE, "deepsparse")]).write(tmp_path / "broken")
    write_summaries(broken)
    repository.environment["FAKE_RUN"] = str(broken.path)
    repository.write(MINE)
    done = repository.pytest()
    assert done.returncode == 1
    assert "segmentation fault" in done.stdout


def test_two_tests_of_one_cell_measure_once(repository: Repository) -> None:
    repository.write(MINE + MINE.replace("test_mine", "test_again"))
    assert repository.pytest().returncode == 0
    assert len(repository.calls()) == 1


def test_a_vanished_benchmark_fails_the_comparison(repository: Repository) -> None:
    repository.write(MINE + MINE.replace("test_mine", "test_other"))
    assert repository.pytest("--benchmark-save=first").returncode == 0
    repository.write(MINE)
    done = repository.pytest("--benchmark-compare")
    assert done.returncode == 1
    assert "Missing or renamed" in done.stdout
    assert "test_other" in done.stdout
    assert repository.pytest("--benchmark-compare", "--sparsebench-allow-missing").returncode == 0


def test_another_machine_refuses_the_comparison(repository: Repository) -> None:
    repository.write(MINE)
    assert repository.pytest("--benchmark-save=first").returncode == 0
    repository.environment["FAKE_FINGERPRINT"] = "f" * 16
    done = repository.pytest("--benchmark-compare")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ran on another machine" in done.stderr
    done = repository.pytest("--benchmark-compare", "--sparsebench-across-machines")
    assert done.returncode == 0


def test_nothing_measured_fails(repository: Repository) -> None:
    repository.write(
        "import pytest\n" + MINE.replace("    result", "    pytest.skip()\n    result")
    )
    done = repository.pytest()
    assert done.returncode == 1
    assert "Nothing was measured" in done.stdout
    assert repository.pytest("--benchmark-skip").returncode == 0


def test_a_repository_without_such_tests_is_left_alone(repository: Repository) -> None:
    repository.write("def test_theirs(benchmark):\n    benchmark(lambda: None)\n")
    done = repository.pytest("--benchmark-save=first")
    assert done.returncode == 0
    assert repository.pytest("--benchmark-compare").returncode == 0
    assert repository.calls() == []
    shutil.rmtree(repository.path / ".benchmarks")


def test_processes_beside_each_other_are_refused(repository: Repository) -> None:
    repository.write(MINE)
    done = repository.pytest("-p", "xdist", "-n", "1")
    assert done.returncode == 1
    assert "run these tests with -n 0" in done.stdout
    skipped = repository.pytest("-p", "xdist", "-n", "1", "--benchmark-disable")
    assert skipped.returncode == 0 and "1 skipped" in skipped.stdout
    assert repository.calls() == []


def test_lines_of_progress_are_shown_while_it_measures(repository: Repository) -> None:
    repository.write(MINE)
    assert "sparsebench: [3/6] 41 s" in repository.pytest().stdout


@pytest.mark.parametrize(
    ("option", "outcome", "measured"),
    [
        ("--benchmark-only", "1 passed, 1 skipped", True),
        ("--benchmark-skip", "1 passed, 1 skipped", False),
        ("--benchmark-disable", "1 passed, 1 skipped", False),
    ],
)
def test_options_of_pytest_benchmark_choose_its_tests_too(
    repository: Repository, option: str, outcome: str, measured: bool
) -> None:
    """Nothing is measured before a test is skipped (pytest-benchmark#86, #183)."""
    repository.write(MINE + "\ndef test_other():\n    pass\n")
    told = repository.pytest(option)
    assert told.returncode == 0, told.stdout
    assert outcome in told.stdout
    assert (repository.path / "calls").exists() == measured
