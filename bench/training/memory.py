"""Peak memory of one training, without what was tried or compiled before it in its process."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from sparsebench.exporters.worker.usage import peak_resident_bytes

_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets the peak resident set size to the present one


def restart_peak(device: str) -> None:
    """Count peaks from here on, where the system lets one."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:  # no Linux, or a container that forbids it: the peak of the whole process
        pass
    if device.startswith("cuda"):
        import torch

        gc.collect()  # graphs that were tried out hold their images and gradients in a cycle
        torch.cuda.reset_peak_memory_stats()


def peak_memory(device: str) -> dict[str, Any]:
    """``peak_memory_bytes`` of the process, and what PyTorch took on a GPU.

    ``peak_gpu_bytes`` was in use; ``peak_gpu_reserved_bytes`` was kept from others, and holds
    what a graph owns, too.
    """
    facts: dict[str, Any] = {"peak_memory_bytes": peak_resident_bytes()}
    if device.startswith("cuda"):
        import torch

        facts["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
        facts["peak_gpu_reserved_bytes"] = torch.cuda.max_memory_reserved()
    return facts
