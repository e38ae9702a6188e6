"""How a training runs, as opposed to what it computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

TF32: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)


@dataclass(frozen=True)
class Execution:
    """How the loop runs, as opposed to what it computes.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: ``fp32`` or ``bf16`` (autocast; weights and updates stay float32).
        channels_last: memory format of weights and images.
        products: convolutions over small planes run as matrix products; see
            :mod:`sparsebench.models.matrix_products`.
        kernels: compute with the suite's own sparse kernels instead of PyTorch's layers.
        compile: fuse the network with ``torch.compile``.
        accumulate: pieces a batch is computed in, where it does not fit into memory as one;
            batch norm then sees the pieces.
        threads: of everything on the CPU.
        deterministic: only kernels that give the same bits every time.
        graphs: replay the network on full batches as a CUDA graph; not with `kernels`,
            `compile` or pieces.
        losses_every: steps whose losses are fetched from the device together; see
            :func:`sparsebench.bench.training.losses.steps_between_fetches`.
    """

    device: str = "cpu"
    precision: str = "fp32"
    channels_last: bool = False
    products: bool = False
    kernels: bool = False
    compile: bool = False
    accumulate: int = 1
    threads: int = 1
    deterministic: bool = False
    graphs: bool = False
    losses_every: int = 1

    @property
    def on_gpu(self) -> bool:
        """Whether the device works beside the host, and must be waited for."""
        return self.device.startswith("cuda")

    @property
    def may_have_graphs(self) -> bool:
        """Whether a CUDA graph can replay what this execution does."""
        return not (self.kernels or self.compile) and self.accumulate == 1

    @property
    def memory_format(self) -> torch.memory_format:
        """Of the images."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def autocast(self) -> Any:
        """A context in which a network computes in the precision.

        A cache of cast weights would not outlive the capture of a graph, so graphs have none.
        """
        return torch.autocast(
            torch.device(self.device).type,
            torch.bfloat16,
            enabled=self.precision == "bf16",
            cache_enabled=not self.graphs,
        )


@contextmanager
def strictness(execution: Execution) -> Iterator[None]:
    """PyTorch's determinism as the execution wants it; put back afterwards."""
    strict = torch.are_deterministic_algorithms_enabled()
    if strict == execution.deterministic:  # to say it again would import PyTorch's compiler
        yield
        return
    torch.use_deterministic_algorithms(execution.deterministic)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict)


@contextmanager
def configured(execution: Execution) -> Iterator[None]:
    """PyTorch's threads, determinism and IEEE fp32 for one training; put back afterwards."""
    threads = torch.get_num_threads()
    shortened = [(library, library.allow_tf32) for library in TF32]
    torch.set_num_threads(execution.threads)
    for library in TF32:  # fp32 with 10 bits is another precision
        library.allow_tf32 = False
    try:
        with strictness(execution):
            yield
    finally:
        torch.set_num_threads(threads)
        for library, allowed in shortened:
            library.allow_tf32 = allowed
