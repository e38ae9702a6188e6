"""Workers: arrays go through, partial batches are padded, and no death is fatal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sparsebench.exporters.engines.base import CompileRequest
from sparsebench.exporters.onnx.artifact import Artifact
from sparsebench.exporters.worker.client import EngineWorker, WorkerFailed
from sparsebench.exporters.worker.worker import is_memory_error

ARTIFACT = Artifact("", "", (3, 4, 4), 2, "features")
ROGUES = "tests.exporters.rogue_engines"


def started(name: str) -> EngineWorker:
    # The rogues live in this repository, which a worker does not see by itself.
    environ = {"PYTHONPATH": str(Path(__file__).parents[3])}
    return EngineWorker(f"{ROGUES}:{name}", threads=1, environ=environ, call_timeout=10)


def compiled(name: str, batch: int = 4, **options: float) -> EngineWorker:
    worker = started(name)
    try:
        worker.compile(ARTIFACT, CompileRequest(batch, 1, options=dict(options)))
    except BaseException:
        worker.close()
        raise
    return worker


def some_images(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(count).standard_normal((count, 3, 4, 4), dtype=np.float32)


def test_outputs_are_those_of_the_engine_and_partial_batches_lose_nothing() -> None:
    with compiled("Good") as worker:
        for count in (4, 1, 3):
            images = some_images(count)
            outputs = worker.run(images)
            assert outputs.shape == (count, 2)
            np.testing.assert_allclose(outputs[:, 0], images.mean((1, 2, 3)), rtol=1e-6)


def test_two_batches_may_be_in_flight_and_come_back_in_order() -> None:
    with compiled("Good") as worker:
        first, second = some_images(4), some_images(2)
        worker.submit(first)
        worker.submit(second)
        with pytest.raises(RuntimeError, match="collect first"):
            worker.submit(first)
        np.testing.assert_allclose(worker.collect()[0][:, 1], first.mean((1, 2, 3)), rtol=1e-5)
        np.testing.assert_allclose(worker.collect()[0][:, 1], second.mean((1, 2, 3)), rtol=1e-5)


def test_wrong_shapes_and_too_many_images_are_refused_before_the_engine_sees_them() -> None:
    with compiled("Good") as worker:
        for bad in (some_images(5), np.zeros((1, 3, 5, 4), np.float32), some_images(0)):
            with pytest.raises(ValueError, match="do not fit"):
                worker.submit(bad)


def test_the_clock_is_the_workers_and_returns_every_call() -> None:
    with compiled("Good", sleep=0.02) as worker:
        slot = worker.load(some_images(4))
        samples = worker.time(slot, calls=5, budget=0.0, most=50)
        assert len(samples) == 5
        assert all(0.02 <= sample < 1 for sample in samples)
        assert len(worker.time(slot, calls=1, budget=0.2, most=50)) >= 2


def test_threads_are_bound_in_environment_and_affinity() -> None:
    with started("Good") as worker:
        answer = worker.compile(ARTIFACT, CompileRequest(4, 1))
        assert answer["describe"]["environ"]["OMP_NUM_THREADS"] == "1"
        if answer["affinity"] is not None:
            assert len(answer["affinity"]) == 1


def test_printing_libraries_do_not_disturb_the_protocol() -> None:
    with compiled("Chatty") as worker:
        assert worker.run(some_images(2)).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("Segfaults", "crash", "SIGSEGV"),
        ("Asserts", "crash", r"^ended with exit code 1: Assertion at src/gemm_utils.cpp:68$"),
        ("OutOfMemory", "memory", "out of memory"),
        ("KilledByKernel", "memory", "SIGKILL"),
        ("Refuses", "engine", "unsupported operator Foo"),
        ("Greedy", "engine", "uses 8"),
        ("DoesNotExist", "crash", "DoesNotExist"),
    ],
)
def test_every_way_to_fail_is_an_outcome_with_a_reason(name: str, kind: str, words: str) -> None:
    with pytest.raises(WorkerFailed, match=words) as failure:
        compiled(name)
    assert failure.value.kind == kind


def test_a_hanging_engine_is_stopped() -> None:
    worker = started("Hangs")
    worker.call_timeout = 1.0
    with worker, pytest.raises(WorkerFailed, match="no answer in 1 s") as failure:
        worker.compile(ARTIFACT, CompileRequest(4, 1))
    assert failure.value.kind == "timeout"


def test_a_worker_that_dies_between_calls_is_noticed() -> None:
    with compiled("Good") as worker:
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(WorkerFailed, match="SIGKILL"):
            worker.run(some_images(1))


def test_a_batch_that_does_not_fit_in_memory_names_the_fix() -> None:
    with started("Good") as worker, pytest.raises(WorkerFailed, match="smaller --batch-size"):
        worker.compile(Artifact("", "", (3, 4096, 4096), 2, "features"), CompileRequest(10**6, 1))


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("std::bad_alloc", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_which_errors_mean_that_memory_ran_out(text: str, memory: bool) -> None:
    assert is_memory_error(RuntimeError(text)) == memory


def test_an_unsupported_precision_is_refused_with_the_supported_ones() -> None:
    with started("Good") as worker, pytest.raises(WorkerFailed, match="no precision 'int8'.*fp32"):
        worker.compile(ARTIFACT, CompileRequest(4, 1, precision="int8"))


def test_a_broken_library_is_an_availability_with_cause_and_fix() -> None:
    with started("Broken") as worker:
        found = worker.available()
    assert not found.ok
    assert "libfoo.so.1" in found.reason
    assert "uv pip install foo" in found.fix


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        f"import time, sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "from sparsebench.exporters.worker.client import EngineWorker\n"
        "w = EngineWorker("
        "'sparsebench.exporters.engines.onnxruntime:OnnxRuntimeEngine', threads=1)\n"
        "w.available(); print(w._process.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _alive(pid):
        time.sleep(0.05)
    assert not _alive(pid)


def test_what_a_library_forks_ends_with_its_worker() -> None:
    """OpenVINO's telemetry left a process for every session."""
    with compiled("Forks") as worker:
        child = int(worker.describe["child"])
        assert _alive(child)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _alive(child):
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
