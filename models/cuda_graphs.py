"""A network's forward and backward on full batches as a CUDA graph.

Small kernels take a GPU less time than the host needs to order them. A graph orders all of them
at once, forwards with one call and backwards with another. It knows one shape of batch and one
mode of the network, so the smaller last batch and the evaluation run as usual, with the same
weights and buffers. (``torch.cuda.make_graphed_callables``; Paszke et al., PyTorch's notes on
CUDA graphs, "partial-network capture".)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from sparsebench.models.errors import SparsebenchError

Forward = Callable[[Tensor], Tensor]
Capture = Callable[[nn.Module, Tensor], Forward]


class CaptureError(SparsebenchError):
    """A network cannot be captured; says why."""


class GraphedForward:
    """A network that replays a graph where it can.

    Args:
        module: the network; its parameters must stay where they are in memory.
        capture: makes the graph.
    """

    def __init__(self, module: nn.Module, capture: Capture | None = None) -> None:
        self.module = module
        self._capture = capture or captured_on_gpu
        self._graph: Forward | None = None
        self._shape = torch.Size()
        self._training = False

    @property
    def captured(self) -> bool:
        """Whether there is a graph."""
        return self._graph is not None

    def capture(self, images: Tensor) -> None:
        """Capture the network in its present mode; it is left as it was.

        Args:
            images: a batch like those that are replayed later, ``[N, 3, H, W]``, in their memory
                format. Under autocast its cache must be off.

        Raises:
            CaptureError: it is not possible, with the reason.
        """
        # The warm-up before a capture counts as training for batch norm. What is captured are
        # places in memory, so the values are put back into the same ones.
        kept = [(buffer, buffer.detach().clone()) for buffer in self.module.buffers()]
        devices = [images.device] if images.device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices=devices):
                # A copy, since every replay writes its batch there.
                graph = self._capture(_Whole(self.module), images.clone())
        except Exception as error:  # whatever the reason, a training goes without
            raise CaptureError(f"The network cannot be captured ({first_line(error)}).") from error
        finally:
            with torch.no_grad():
                for buffer, value in kept:
                    buffer.copy_(value)
        self._graph, self._shape, self._training = graph, images.shape, self.module.training

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``[N, classes]``; they hold until the next call."""
        if (
            self._graph is None
            or images.shape != self._shape
            or self.module.training != self._training
        ):
            return cast(Tensor, self.module(images))
        return self._graph(images)


def first_line(error: Exception) -> str:
    """What an error says in short."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def captured_on_gpu(module: nn.Module, images: Tensor) -> Forward:
    """The graph of a network.

    Raises:
        RuntimeError: something in it waits for the device, or there is no room.
    """
    # Backward accumulates on the stream of the capture, which is what the warning is about; older
    # PyTorch has none.
    quiet = getattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", None)
    if quiet is not None:
        quiet(False)
    return cast(Forward, torch.cuda.make_graphed_callables(module, (images,)))


class _Whole(nn.Module):
    """A shell, since capturing replaces the forward of what it is given for every shape."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.training = inner.training

    def forward(self, images: Tensor) -> Tensor:
        """Of the network inside."""
        return cast(Tensor, self.inner(images))
