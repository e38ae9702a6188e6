"""Cells of a session: the product of the chosen backbones, engines and tasks, dense ones too.

All cells are measured in one run at the first test, in turns inside common blocks; each test then
reports its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_sparsebench.fixture import session_options
from pytest_sparsebench.runs import run_once
from sparsebench.bench.plan.cells import with_partners
from sparsebench.bench.plan.plan import Plan, load_plan
from sparsebench.bench.plan.workloads import WORKLOADS, workload_of
from sparsebench.bench.workloads.full import Full
from sparsebench.bench.workloads.inference import Inference

BACKBONES = ("resnet18/gmp-90",)
ENGINES = ("deepsparse", "onnxruntime")
TASKS = ("digits",)
# A session is a look, not a result to quote: full fine-tuning on all digits would take too long.
LIMIT = 600
FILES = {f"test_{name.replace('-', '_')}": name for name in WORKLOADS}
# Sessions that measure no cell but hold the suite to a bar, by the workload they are about.
CHECKS = {"test_gpu": Full.name, "test_two_of_four": Inference.name}


def pytest_xdist_auto_num_workers() -> int:
    """None: sessions are measured one after the other, in pytest's own process."""
    return 0


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the sessions of workloads that were not chosen, or that the suite lacks."""
    workload = (FILES | CHECKS).get(collection_path.stem)
    return True if workload is not None and workload not in _workloads(config) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrise a session over the chosen cells."""
    if "measured" not in metafunc.fixturenames:
        return
    config = metafunc.config
    workload = FILES[metafunc.definition.path.stem]
    cells = [
        (backbone, engine, task)
        for task in _chosen(config, "task", TASKS)
        for backbone in with_partners(_plan(config))
        for engine in _engines(config, workload)
    ]
    ids = [f"{backbone}-{engine}-{Path(task).name}" for backbone, engine, task in cells]
    metafunc.parametrize(("backbone", "engine", "task"), cells, ids=ids)


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Path:
    """The folder of the run that all sessions with the same engines share."""
    config = request.config
    engines = _engines(config, FILES[request.path.stem])
    arguments = ["quick"]
    for name, default in (("backbone", BACKBONES), ("task", TASKS)):
        for value in _chosen(config, name, default):
            arguments += [f"--{name}", value]
    for engine in engines:
        arguments += ["--engine", engine]
    # Only what the selected tests (-k, a single file) ask for is measured.
    for stem in dict.fromkeys(item.path.stem for item in request.session.items):
        if stem in FILES and _engines(config, FILES[stem]) == engines:
            arguments += ["--workload", FILES[stem]]
    for option, number in {"limit": LIMIT, **session_options(config)}.items():
        arguments += [f"--{option.replace('_', '-')}", str(number)]
    return run_once(request, arguments)


def _engines(config: pytest.Config, workload: str) -> tuple[str, ...]:
    """The chosen engines that can do a workload; for training PyTorch where none of them can."""
    able = workload_of(workload).engines
    chosen = _chosen(config, "engine", ENGINES)
    return chosen if able is None else tuple(e for e in chosen if e in able) or able[:1]


def _plan(config: pytest.Config) -> Plan:
    return load_plan("quick").with_changes(backbones=_chosen(config, "backbone", BACKBONES))


def _workloads(config: pytest.Config) -> tuple[str, ...]:
    """The chosen ones, or all that the suite has and a session file is there for."""
    here = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    known = tuple(name for file, name in FILES.items() if file in here)
    return _chosen(config, "workload", known)


def _chosen(config: pytest.Config, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(config.getoption(f"sparsebench_{name}")) or default
