"""The fixture: measure a cell, report it to pytest-benchmark, hold the test's limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_sparsebench.runs import STATE, SparseResult, find_cell, run_once, score_word

KEY = "sparsebench"


@pytest.fixture
def sparse_benchmark(request: pytest.FixtureRequest) -> SparseBenchmark:
    """Measure a sparse backbone against its dense baseline; see `SparseBenchmark`."""
    if not request.config.pluginmanager.hasplugin("benchmark"):
        pytest.fail("sparse_benchmark needs pytest-benchmark: pip install pytest-benchmark", False)
    option = request.config.getoption
    if option("benchmark_disable", False) and not option("benchmark_enable", False):
        # Without its times there is nothing that a test could assert.
        pytest.skip("Nothing is measured (--benchmark-disable was used).")
    if hasattr(request.config, "workerinput"):
        pytest.fail(
            "sparse_benchmark measures, so no other test may run beside it, and pytest-benchmark "
            "records nothing in pytest-xdist's processes: run these tests with -n 0.",
            False,
        )
    return SparseBenchmark(request)


class SparseBenchmark:
    """Callable that measures, reports to pytest-benchmark and holds the limits of a test.

    Args:
        request: of the test.
    """

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._config = request.config

    def __call__(
        self,
        backbone: str | Path,
        *,
        dense: str | Path | None = None,
        engine: str = "native",
        task: str = "digits",
        workload: str = "inference",
        max_accuracy_loss: float | None = None,
        min_speedup: float | None = None,
        **options: Any,
    ) -> SparseResult:
        """Measure one cell and its dense baseline, and hold the limits of the test.

        A limit is passed where the whole 95 % interval lies within it, and fails the test where
        the whole interval lies beyond. What lies between is neither: an error of the test, or
        what ``--sparsebench-inconclusive`` says.

        Args:
            backbone: name, ``ARCH/METHOD-PERCENT@FILE``, or the path of an ONNX file.
            dense: its dense baseline, where not the usual one; an ONNX file names none itself.
            engine: engine name.
            task: task name, or a folder with train/CLASS/*.jpg and test/CLASS/*.jpg.
            workload: workload name.
            max_accuracy_loss: percentage points that may be lost against the dense baseline.
            min_speedup: least speed-up.
            options: further options of ``sparsebench run``: batch_size, size, repeats, ...; a list
                gives one several times, True is a switch.
        """
        refuse_limits(max_accuracy_loss=max_accuracy_loss, min_speedup=min_speedup)
        backbone = str(backbone)
        arguments = ["quick", "--backbone", backbone, "--engine", engine, "--task", str(task)]
        arguments += ["--workload", workload]
        if dense is not None:
            arguments += ["--dense", f"{backbone}={dense}"]
        for name, value in {**session_options(self._config), **options}.items():
            arguments += as_arguments(name, value)
        return self.from_run(
            run_once(self._request, arguments),
            backbone=backbone,
            engine=engine,
            workload=workload,
            max_accuracy_loss=max_accuracy_loss,
            min_speedup=min_speedup,
        )

    def from_run(
        self,
        folder: Path,
        *,
        backbone: str,
        engine: str,
        workload: str,
        task: str | None = None,
        max_accuracy_loss: float | None = None,
        min_speedup: float | None = None,
    ) -> SparseResult:
        """Report one cell of a finished run's folder; arguments as of the call itself."""
        refuse_limits(max_accuracy_loss=max_accuracy_loss, min_speedup=min_speedup)
        result = find_cell(folder, backbone, engine, workload, task)
        self._report(result)
        broken, unknown = judged(result, max_accuracy_loss, min_speedup)
        inconclusive = self._config.getoption("sparsebench_inconclusive")
        if inconclusive == "fail":
            broken, unknown = broken + unknown, []
        if broken:
            pytest.fail("; ".join(broken + unknown), False)
        if unknown and inconclusive == "pass":
            self._request.node.warn(pytest.PytestWarning("; ".join(unknown)))
        elif unknown:
            # Neither passed nor failed: an error of the fixture, which pytest reports as such.
            self._request.addfinalizer(lambda: pytest.fail("; ".join(unknown), False))
        return result

    def _report(self, result: SparseResult) -> None:
        """Hand the samples to pytest-benchmark, whose own timer is replaced by a replay."""
        info = result.info
        group = f"{info['workload']} on {info['task']}"
        mark = pytest.mark.benchmark(timer=Replay(result.samples), group=group)
        self._request.node.add_marker(mark)
        benchmark = self._request.getfixturevalue("benchmark")
        benchmark.extra_info[KEY] = info
        # Flat copies: tools that read the JSON show extra_info as it stands.
        for key in ("accuracy", "accuracy_change", "speedup"):
            benchmark.extra_info[key] = info[key]
        benchmark.pedantic(lambda: None, rounds=len(result.samples))
        self._config.stash[STATE].recorded[self._request.node.nodeid] = result


class Replay:
    """A timer that replays measured seconds: of each pair of calls, the second is a sample."""

    # pytest-benchmark names the timer of each benchmark in its JSON by these.
    __name__ = "worker_clock"
    __module__ = "pytest_sparsebench"

    def __init__(self, samples: Sequence[float]) -> None:
        self._samples: Iterator[float] = iter(samples)
        self._running = False

    def __call__(self) -> float:
        """Seconds since the last start."""
        self._running = not self._running
        return 0.0 if self._running else next(self._samples)


def session_options(config: pytest.Config) -> dict[str, Any]:
    """Options of ``sparsebench run`` that hold for the whole session."""
    names = ("repeats", "threads", "batch_size", "limit", "epochs")
    values = {name: config.getoption(f"sparsebench_{name}") for name in names}
    return {name: value for name, value in values.items() if value is not None}


def as_arguments(name: str, value: Any) -> list[str]:
    """One option of ``sparsebench run``; None and False are as if it was not given."""
    option = f"--{name.replace('_', '-')}"
    if value is None or isinstance(value, bool):
        return [option] if value else []
    values = value if isinstance(value, list | tuple) else [value]
    return [word for one in values for word in (option, str(one))]


def refuse_limits(**limits: float | None) -> None:
    """Fail a test whose limit nothing could break: every comparison with NaN is passed."""
    for name, limit in limits.items():
        if limit is not None and not limit >= 0:
            pytest.fail(f"{name}={limit} is no limit: give a number of 0 or more", False)


def judged(
    result: SparseResult, max_accuracy_loss: float | None, min_speedup: float | None
) -> tuple[list[str], list[str]]:
    """Sentences about the limits that are broken, and about those that the noise leaves open."""
    info = result.info
    broken: list[str] = []
    unknown: list[str] = []
    name = f"{info['backbone']} on {info['engine']['name']}"
    if max_accuracy_loss is not None:
        change, ends = info["accuracy_change"], info["accuracy_change_ci95"]
        word = score_word(info.get("metric"))
        asked = f"{max_accuracy_loss:g} are allowed"
        if change is None:
            broken.append(f"{name}: its {word} change against a dense baseline is not known")
        elif ends is None:
            unknown.append(f"{name}: inconclusive, its {word} change has no interval; {asked}")
        elif ends[1] < -max_accuracy_loss:
            broken.append(f"{name} loses {-change:.2f} points of {word}; {asked}")
        elif ends[0] < -max_accuracy_loss:
            unknown.append(
                f"{name}: inconclusive, its {word} changes by {change:+.2f} points "
                f"({ends[0]:+.2f} to {ends[1]:+.2f}); {asked}"
            )
    if min_speedup is not None:
        speedup, ends = info["speedup"], info["speedup_ci95"]
        asked = f"at least {min_speedup:g}x is asked for"
        if speedup is None:
            broken.append(f"{name}: its speed-up over a dense baseline is not known")
        elif ends is None:
            unknown.append(f"{name}: inconclusive, its speed-up has no interval; {asked}")
        elif ends[0] < min_speedup:
            told = f"{speedup:.2f}x as fast as its dense baseline ({ends[0]:.2f} to {ends[1]:.2f})"
            if ends[1] < min_speedup:
                broken.append(f"{name} is {told}; {asked}")
            else:
                unknown.append(f"{name}: inconclusive, it is {told}; {asked}")
    return broken, unknown
