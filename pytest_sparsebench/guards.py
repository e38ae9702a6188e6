"""What pytest-benchmark lets pass: vanished benchmarks, another machine, nothing measured.

Also the columns that its table cannot have: speed-up, accuracy, change.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from pytest_sparsebench.runs import STATE, SparseResult, score_word, sparsebench

KEY = "sparsebench"
FIXTURE = "sparse_benchmark"


class Guards:
    """Hooks of one session.

    Args:
        config: of the session.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._wanted = 0
        self._expected: set[str] = set()
        self._problems: list[str] = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Iterator[None]:
        """Count the tests that want a measurement, and let pytest-benchmark see them.

        It knows its tests by its own fixture, which ours asks for only when there is something to
        report: ``--benchmark-only`` would skip them all, ``--benchmark-skip`` none.
        """
        ours = [item for item in items if FIXTURE in getattr(item, "fixturenames", ())]
        self._wanted = len(ours)
        named: list[list[str]] = [getattr(item, "fixturenames") for item in ours]  # noqa: B009
        named = [names for names in named if "benchmark" not in names]
        for names in named:
            names.append("benchmark")
        try:
            return (yield)
        finally:
            for names in named:
                names.remove("benchmark")

    # --- pytest-benchmark's hooks

    def pytest_benchmark_update_machine_info(self, machine_info: dict[str, Any]) -> None:
        """Write the fingerprint of the machine that was measured on."""
        found = {one.info["machine"] for one in self._recorded().values()}
        if found:
            machine_info[KEY] = {"fingerprint": found.pop()}

    @pytest.hookimpl(tryfirst=True)
    def pytest_benchmark_compare_machine_info(
        self, machine_info: dict[str, Any], compared_benchmark: Mapping[str, Any]
    ) -> None:
        """Refuse a comparison with another machine; upstream only warns."""
        ours = [b for b in compared_benchmark["benchmarks"] if KEY in b.get("extra_info", {})]
        self._expected |= {bench["fullname"] for bench in ours}
        then = compared_benchmark["machine_info"].get(KEY)
        if not ours or then is None:
            return
        done = sparsebench(self._config, ["doctor", "--machine", "--json"])
        if done.returncode:
            raise pytest.UsageError(f"sparsebench doctor: {done.stderr}")
        now = {"fingerprint": json.loads(done.stdout)["machine"]["fingerprint"]}
        machine_info[KEY] = now
        across = self._config.getoption("sparsebench_across_machines")
        if now["fingerprint"] != then["fingerprint"] and not across:
            raise pytest.UsageError(
                f"The session to compare with ran on another machine (fingerprint "
                f"{then['fingerprint']}, here {now['fingerprint']}); absolute times of two "
                "machines say nothing. --sparsebench-across-machines compares all the same."
            )

    # --- the end of the session

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that passed because there was nothing to fail."""
        off = ("benchmark_skip", "benchmark_disable", "collectonly")
        if any(self._config.getoption(name, False) for name in off):
            return
        recorded = self._recorded()
        if self._wanted and not recorded:
            self._problems.append("Nothing was measured.")
        gone = self._expected - set(recorded)
        if gone and not self._config.getoption("sparsebench_allow_missing"):
            self._problems.append(
                "Missing or renamed since the session to compare with: "
                f"{', '.join(sorted(gone))} (--sparsebench-allow-missing lets it pass)."
            )
        if self._problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """The columns of each benchmark that pytest-benchmark does not have, and problems."""
        recorded = self._recorded()
        if recorded:
            terminalreporter.section("sparsebench", "-", yellow=True)
            for line in table(recorded):
                terminalreporter.write_line(line)
        for problem in self._problems:
            terminalreporter.write_line(f"sparsebench: {problem}", red=True)

    def _recorded(self) -> dict[str, SparseResult]:
        return self._config.stash[STATE].recorded


def table(recorded: Mapping[str, SparseResult]) -> list[str]:
    """Lines with the median time, speed-up, accuracy and change of each benchmark."""
    words = dict.fromkeys(score_word(one.info.get("metric")) for one in recorded.values())
    title = " or ".join(words) or score_word(None)
    rows = [("name", "median", "speed-up", title, "change", "verdict")]
    for nodeid, result in recorded.items():
        info = result.info
        rows.append(
            (
                nodeid.rpartition("::")[2],
                f"{statistics.median(result.samples) * 1e3:,.2f} ms",
                _ratio(info["speedup"], info["speedup_ci95"]),
                _number(info["accuracy"], 100, "{:.1f} %"),
                _number(info["accuracy_change"], 1, "{:+.1f}"),
                info["verdict"] or "dense",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column in (0, 5) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _ratio(median: float | None, interval: list[float] | None) -> str:
    if median is None:
        return ""
    if interval is None:
        return f"{median:.2f}x (no interval)"
    return f"{median:.2f}x ({interval[0]:.2f}-{interval[1]:.2f})"


def _number(value: float | None, factor: float, form: str) -> str:
    return "" if value is None else form.format(value * factor)
