"""A training's network as a CUDA graph for each side of the images."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from sparsebench.models.cuda_graphs import CaptureError, Forward, GraphedForward

log = logging.getLogger("sparsebench")


class GraphOfEachSide:
    """Replays the network; captures it whenever the images come at a side that is new.

    Small images leave a GPU waiting for the host, which orders some hundred kernels a step.
    Methods may change weights between steps, since they stay where they are in memory.

    Args:
        module: the network, in training mode when it is called.
        device_type: ``"cuda"``; of the autocast.
        bf16: whether it computes in bf16.
    """

    def __init__(self, module: nn.Module, device_type: str, bf16: bool) -> None:
        self._module = module
        self._autocast = (device_type, bf16)
        self._graphs: dict[torch.Size, Forward] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Logits ``[N, classes]``; they hold until the next call."""
        if images.shape not in self._graphs:
            self._graphs[images.shape] = self._captured(images)
        return self._graphs[images.shape](images)

    def _captured(self, images: Tensor) -> Forward:
        device_type, bf16 = self._autocast
        graph = GraphedForward(self._module)
        try:
            # A cache of cast weights would not outlive the capture.
            with torch.autocast(device_type, torch.bfloat16, enabled=bf16, cache_enabled=False):
                graph.capture(images)
        except CaptureError as error:  # a graph is there to save time: it goes without
            log.warning("%s", error)
            return self._module
        return graph
