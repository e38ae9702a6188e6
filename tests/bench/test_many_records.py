"""What a command costs grows with the records, not with their square."""

from __future__ import annotations

import cProfile
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sparsebench.bench.comparisons import compare_folders
from sparsebench.bench.decide import RunData
from sparsebench.bench.decide.answers import Limits
from sparsebench.bench.decide.study import Study
from sparsebench.bench.gate import Settings, baseline_of, check_run
from sparsebench.bench.gate.machines import github_annotations, junit_xml, report_json
from sparsebench.bench.gate.render import markdown_report, terminal_report
from sparsebench.bench.gate.report import CellVerdict
from sparsebench.bench.present.report import build_report
from sparsebench.bench.present.tables import sections
from sparsebench.bench.records import RunFolder
from tests.bench.synthetic import many_tasks

FEW, MANY = 2, 8
LINEAR = MANY / FEW


def _report(path: Path) -> object:
    return build_report([path])


def _compare(path: Path) -> object:
    return compare_folders(RunFolder.reading(path), RunFolder.reading(path))


def _tables(path: Path) -> object:
    folder = RunFolder.reading(path)
    data = RunData.of("run", folder.records(), folder.trials())
    return sections(data.records, data.trials, data.comparisons)


def _answers(path: Path) -> object:
    folder = RunFolder.reading(path)
    return Study([RunData.of("run", folder.records(), folder.trials())]).answers(Limits(0.5))


def _check(path: Path) -> object:
    folder = RunFolder.reading(path)
    return check_run(folder, baseline_of(folder, "as it is").baseline, Settings())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        root = tmp_path_factory.mktemp("many")
        for count in (FEW, MANY):
            many_tasks(count).write(root / str(count))
    return {count: root / str(count) for count in (FEW, MANY)}


def _calls(what: Callable[[Path], object], path: Path) -> int:
    """Function calls, which no busy machine makes more."""
    profile = cProfile.Profile()
    profile.runcall(what, path)
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize("what", [_report, _compare, _tables, _answers, _check])
def test_four_times_the_records_cost_four_times_the_calls(
    what: Callable[[Path], object], folders: dict[int, Path]
) -> None:
    what(folders[FEW])  # imports and caches
    few, many = (_calls(what, folders[count]) for count in (FEW, MANY))
    assert many < 1.25 * LINEAR * few  # a look through all records for each: 16 times


class _Counted(tuple[CellVerdict, ...]):
    """Verdicts that count how often somebody goes through them."""

    times = 0

    def __iter__(self) -> Iterator[CellVerdict]:
        _Counted.times += 1
        return super().__iter__()


def test_what_a_check_writes_goes_through_the_cells_a_few_times(folders: dict[int, Path]) -> None:
    """JUnit, annotations, JSON and tables went through all cells for each cell."""
    folder = RunFolder.reading(folders[MANY])
    found = check_run(folder, baseline_of(folder, "as it is").baseline, Settings())
    report = replace(found, verdicts=_Counted(found.verdicts))
    _Counted.times = 0
    accepted = Path("ci.toml")
    for write in (junit_xml, lambda *args: list(github_annotations(*args)), markdown_report):
        write(report, accepted)
    report_json(report)
    terminal_report(report, accepted)
    assert len(found.verdicts) > 100 > 2 * _Counted.times > 0
