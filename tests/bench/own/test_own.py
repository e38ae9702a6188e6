"""CONTRIBUTING's promise: a workload, an engine and a figure are one file each.

`tests/models/sparsify/test_own_method.py` keeps it for a pruning method.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from sparsebench.bench.plan.workloads import WORKLOADS, described
from sparsebench.bench.present.plots.figures import FIGURES
from sparsebench.exporters.worker.launch import ENGINES
from sparsebench.models.registry import Registry
from tests.bench.conftest import Result

Cli = Callable[..., Result]
ROOT = Path(__file__).parents[3]
OWN = (
    (WORKLOADS, "single-call", "tests.bench.own.workload:SingleCall"),
    (ENGINES, "own-engine", "tests.bench.own.engine:OwnEngine"),
    (FIGURES, "own-figure", "tests.bench.own.figure:draw"),
)
PLAN = """
backbones = ["resnet18/uniform-90@generated"]
engines = ["own-engine"]
workloads = ["single-call"]
size = 32
batch_size = 8
threads = 1
repeats = 2
discards = 0
[single-call]
calls = 3
"""


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("SPARSEBENCH_CACHE", str(tmp_path / "cache"))
    for registry, name, target in OWN:
        registry.register(name, target)
    yield
    for registry, name, _ in OWN:
        del registry._targets[name]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("added")
def test_they_run_and_what_is_said_of_them_is_true(cli: Cli, images: Path, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(PLAN)
    command = ("run", tmp_path / "own.toml", "--task", images)
    before = cli(*command, "--dry-run")
    assert before.code == 0, before.err
    assert "How long they take is unknown" in before.out and "0 ms" not in before.out
    told = json.loads(cli(*command, "--dry-run", "--json").out)
    assert (told["seconds"], told["unknown"]) == (None, 2)

    folder = tmp_path / "R"
    done = cli(*command, "--out", folder)
    assert done.code == 0, done.err
    summary = (folder / "summary.md").read_text()
    report = (folder / "report.html").read_text()
    for text in (done.out, summary, report):
        assert "seconds: one engine call on one full batch" in " ".join(text.split())
    for text in (done.out, summary):
        assert "own-engine" in text and "single-call" in text
        for wrong in ("end to end", "images/s", "pictures/s", "first run", "0 ms"):
            assert wrong not in text
    for record in lines(folder / "records.jsonl"):
        assert record["settings"] == {"size": 32, "input": "real pictures", "calls": 3}
        assert record["extra"]["prediction_basis"] == "unknown"
        assert "predicted_seconds" not in record["extra"]
        assert "head" not in {key for key, value in record["extra"].items() if value}
        assert [len(trial["seconds"]) for trial in record["trials"]] == [3, 3]

    after = json.loads(cli(*command, "--dry-run", "--json").out)
    assert [one["basis"] for one in after["cells"]] == ["measured", "measured"]
    changed = cli(*command, "--dry-run", "--json", "--set", "single-call.calls=4")
    assert {one["basis"] for one in json.loads(changed.out)["cells"]} == {"unknown"}
    wrong_key = cli(*command, "--dry-run", "--set", "single-call.call=4")
    assert wrong_key.code == 2 and "Did you mean 'calls'" in wrong_key.err

    assert "single-call" in cli("list", "workloads").out
    drawn = cli("plot", folder, "--figure", "own-figure", "--out", tmp_path / "figures")
    assert drawn.code == 0, drawn.err
    assert (tmp_path / "figures" / "own-figure.png").is_file()


@pytest.mark.parametrize("group", ["workloads", "engines", "figures", "methods"])
def test_another_package_registers_by_an_entry_point(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sparsebench.models.methods import METHODS

    registry = {"workloads": WORKLOADS, "engines": ENGINES, "figures": FIGURES, "methods": METHODS}
    point = EntryPoint("own", "tests.bench.own.workload:SingleCall", f"sparsebench.{group}")
    monkeypatch.setattr(
        "sparsebench.models.registry.entry_points",
        lambda group: [point] if group == point.group else [],
    )
    fresh = Registry("thing", registry[group].group, {})
    assert fresh.names() == ["own"]
    assert fresh.load("own").name == "single-call"


def test_a_record_of_a_workload_that_is_not_installed_is_no_obstacle() -> None:
    unknown = described("somebody-elses")
    assert unknown.unit == "seconds"
    assert unknown.caption == "seconds: one trial, as its workload clocks it."


def test_a_class_that_says_nothing_of_itself_gets_what_every_workload_has() -> None:
    WORKLOADS.register("bare", f"{__name__}:Bare")
    try:
        found = described("bare")
        assert (found.name, found.engines, found.unit) == ("bare", ("torch",), "seconds")
        assert found.settings() == found.settings()
    finally:
        del WORKLOADS._targets["bare"]


class Bare:
    """A workload of before workloads had a class to derive from."""

    name = "bare"
    engines = ("torch",)


# `full` is a plain word too: where it stands for the workload, its name is imported.
NAMES = {"inference", "linear-cached", "linear-online"}
ALLOWED = (
    "bench/workloads/",
    "bench/plan/workloads.py",
    "bench/presets/",
    "bench/sessions/test_",
    "bench/pytest_plugin/",
)


def test_no_workload_is_known_by_its_name_outside_its_file() -> None:
    assert set(WORKLOADS) >= NAMES
    found = []
    for path in sorted([*ROOT.glob("bench/**/*.py"), *ROOT.glob("exporters/**/*.py")]):
        place = str(path.relative_to(ROOT))
        if place.startswith(ALLOWED):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value in NAMES:
                found.append(f"{place}:{node.lineno}")
            if isinstance(node, ast.Compare):
                sides = [node.left, *node.comparators]
                if any(isinstance(s, ast.Constant) and s.value == "full" for s in sides):
                    found.append(f"{place}:{node.lineno}")
    assert found == []
