"""pytest plugin: the fixture ``sparse_benchmark``, on top of pytest-benchmark.

    def test_mine(sparse_benchmark):
        sparse_benchmark(
            "my.onnx", dense="dense.onnx",
            engine="deepsparse", task="path/to/images", max_accuracy_loss=0.5,
        )

It imports nothing of the suite, whose packages (`models`, ...) would clash with folders of a
user's repository: it runs the command ``sparsebench`` as a process. The times in
pytest-benchmark's table and JSON are those of the worker's clock, taken in turns with the dense
baseline in fresh processes; the speed-up's interval is over those blocks.
"""

from __future__ import annotations

import pytest

from pytest_sparsebench.fixture import SparseBenchmark, sparse_benchmark
from pytest_sparsebench.guards import Guards
from pytest_sparsebench.runs import STATE, SparseResult, State

__all__ = ["SparseBenchmark", "SparseResult", "sparse_benchmark"]

SELECTIONS = ("backbone", "engine", "workload", "task")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the plugin."""
    group = parser.getgroup("sparsebench")
    for name in SELECTIONS:
        group.addoption(
            f"--sparsebench-{name}",
            action="append",
            default=[],
            metavar=name.upper(),
            help=f"{name} of the sessions in bench/sessions; once for each",
        )
    for name, words in (
        ("repeats", "blocks of fresh processes (default: 3)"),
        ("threads", "CPU threads (default: all)"),
        ("batch-size", "images per engine call"),
        ("limit", "at most so many images of a task"),
        ("epochs", "epochs of the linear head"),
    ):
        group.addoption(f"--sparsebench-{name}", type=int, default=None, help=words)
    group.addoption(
        "--sparsebench-inconclusive",
        choices=("fail", "pass"),
        default=None,
        help="a limit that the noise leaves open: fail or pass (default: an error of the test)",
    )
    group.addoption(
        "--sparsebench-allow-missing",
        action="store_true",
        help="with --benchmark-compare: do not fail on benchmarks that this session lacks",
    )
    group.addoption(
        "--sparsebench-across-machines",
        action="store_true",
        help="with --benchmark-compare: compare although the other session ran elsewhere",
    )
    parser.addini(
        "sparsebench_command",
        "the command line that runs sparsebench, such as 'uvx sparsebench'",
        default="",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start with a clean slate; without pytest-benchmark there is nothing to guard."""
    config.stash[STATE] = State()
    if config.pluginmanager.hasplugin("benchmark"):
        config.pluginmanager.register(Guards(config), "sparsebench-guards")
