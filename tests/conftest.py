"""What all tests share: an interrupt that works, and turns for tests that measure."""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sparsebench.exporters.worker.bytecode import keep_bytecode

# A busy machine is slow at everything: that is no fault of a test.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
keep_bytecode()  # tests start processes like the command line does
# Messages name the commands that were typed: the same, however the tests were started.
os.environ.pop("UV_RUN_RECURSION_DEPTH", None)
if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes share the cores: one thread each, and none that spins while it waits.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def pytest_xdist_auto_num_workers() -> int:
    """Two processes for ``-n auto``: what a small machine bears, and what CI was timed with."""
    return 2


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes are named by their number: what they hold may be the time (a gzip header).

    The two processes must agree on every test's name.
    """
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


# They would come last, and one process would wait for the other.
LONG = ("tests/test_wheel.py", "tests/pytest_sparsebench/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests have the machine to themselves come first, then the longest of the last.

    While one process begins with such a test the other is not in the middle of a long one.
    """
    paths = {item.path for item in items if item.get_closest_marker("alone")}

    def place(item: pytest.Item) -> int:
        return 0 if item.path in paths else 1 if item.nodeid.startswith(LONG) else 2

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Ctrl-C works here and in children, also where the tests were started with ``nohup … &``.

    A shell's background jobs ignore the interrupt, and hand that down.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Tests marked ``alone`` wait for the others to end, and keep them waiting."""
    with _turn(item):
        return (yield)


@contextmanager
def _turn(item: pytest.Item) -> Iterator[None]:
    worker = getattr(item.config, "workerinput", None)
    if worker is None:  # one process runs all tests
        yield
        return
    path = Path(tempfile.gettempdir()) / f"sparsebench-tests-{worker['testrunuid']}.lock"
    with path.open("w") as file:
        alone = item.get_closest_marker("alone") is not None
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
