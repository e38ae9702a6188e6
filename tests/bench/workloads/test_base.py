"""What goes wrong with one cell costs that cell; what is wrong with the suite is seen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sparsebench.bench.records import Trial
from sparsebench.bench.workloads.block_context import failures_become_trials
from sparsebench.exporters.worker.client import WorkerFailed


def failed_with(error: Exception) -> tuple[list[Trial], set[str]]:
    emitted: list[Trial] = []
    dead: set[str] = set()
    running: Any = SimpleNamespace(cell=SimpleNamespace(id="c", workload="linear-online"), facts={})
    context: Any = SimpleNamespace(run="r", block=0, launch="l", emit=emitted.append)
    with failures_become_trials(running, context, 0, dead):
        raise error
    return emitted, dead


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (WorkerFailed("crash", "the engine died"), "the engine died"),
        (OSError("no room"), "no room"),
        (MemoryError(), "out of memory: MemoryError"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes.\nframe"),
            "out of memory: DefaultCPUAllocator: can't allocate memory: you tried 9 bytes.",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), "out of memory: CUDA out of memory."),
    ],
)
def test_a_cell_that_fails_is_one_failed_trial(error: Exception, reason: str) -> None:
    """Seen: PyTorch's own out-of-memory error in a head ended the whole run."""
    (trial,), dead = failed_with(error)
    assert (trial.status, trial.reason, dead) == ("failed", reason, {"c"})


def test_what_pytorch_really_says_without_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.float32)
    (trial,), _ = failed_with(caught.value)
    assert trial.reason is not None and trial.reason.startswith("out of memory: ")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        failed_with(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
