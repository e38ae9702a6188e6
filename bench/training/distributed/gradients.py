"""Only non-zeros travel: what the processes of a training send each other of their gradients.

A mask that stays fixed is the same in every process, so the positions of the non-zeros need not be
sent: a message is the gradients' values there, one after another. The weights outside of the mask
are never updated (:class:`sparsebench.bench.training.optimizer.MaskedSGD`), so nobody reads their
gradients, which stay whatever each process found. Gradients of layers without a mask travel
whole: a dense network's message is the ordinary all-reduce.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel

from sparsebench.bench.training.distributed.group import Group
from sparsebench.bench.training.optimizer import in_memory_order

Masks = Mapping[nn.Parameter, Tensor]

# PyTorch 2.15 renamed it.
_SYNC_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in signature(DistributedDataParallel.__init__).parameters
    else "broadcast_buffers"
)
ROUNDS = 9
"""Messages that are timed alone."""


class NonZeroGradients:
    """A communication hook for ``DistributedDataParallel``: sums the gradients that are read.

    Args:
        group: the processes.
        masks: parameter -> bool tensor of its shape, True where it lives; others are dense.
    """

    def __init__(self, group: Group, masks: Masks) -> None:
        self.group, self._masks = group, masks
        self._layouts: dict[tuple[int, ...], Tensor | None] = {}

    def summed(self, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        """One bucket of gradients, summed; what a hook returns."""
        gradients = bucket.buffer()
        where = self._positions(bucket.parameters(), gradients.numel())
        packed: Tensor = gradients if where is None else gradients.index_select(0, where)
        work = dist.all_reduce(packed, group=self.group.gradients, async_op=True)
        assert work is not None

        def unpacked(future: torch.futures.Future[Any]) -> Tensor:
            summed: Tensor = future.value()[0]
            if where is not None:
                gradients.index_copy_(0, where, summed)
            return gradients

        found: torch.futures.Future[Tensor] = work.get_future().then(unpacked)
        return found

    def _positions(self, parameters: Sequence[Tensor], length: int) -> Tensor | None:
        """Positions in a bucket's memory of what travels, int64; None for all of it."""
        key = tuple(map(id, parameters))
        if key not in self._layouts:
            self._layouts[key] = positions(parameters, self._masks)
            assert sum(p.numel() for p in parameters) == length
        return self._layouts[key]


def positions(parameters: Sequence[Any], masks: Masks) -> Tensor | None:
    """Where the gradients that travel lie, parameter after parameter in the order of the memory.

    Args:
        parameters: one after another, each a dense piece of memory.
        masks: of those that have one.

    Returns:
        ``[kept]``, int64, on the parameters' device; None where everything travels.
    """
    if not any(p in masks for p in parameters):
        return None
    found, start = [], 0
    for parameter in parameters:
        mask = masks.get(parameter)
        if mask is None:
            kept = torch.arange(parameter.numel(), device=parameter.device)
        else:
            kept = in_memory_order(mask, parameter).nonzero().view(-1)
        found.append(kept + start)
        start += parameter.numel()
    return torch.cat(found)


def in_parallel(module: nn.Module, masks: Masks, group: Group) -> DistributedDataParallel:
    """A network whose backward pass sums the gradients of all processes.

    Args:
        module: the network, the same in all processes.
        masks: of its parameters.
        group: the processes.
    """
    # They are the same already, or are given before evaluations.
    buffers: dict[str, Any] = {_SYNC_BUFFERS: False}
    wrapped = DistributedDataParallel(
        module,
        process_group=group.gradients,
        gradient_as_bucket_view=True,
        **buffers,
    )
    # Without annotations: PyTorch compares a hook's with its own classes.
    wrapped.register_comm_hook(
        NonZeroGradients(group, masks), lambda state, bucket: state.summed(bucket)
    )
    return wrapped


@dataclass(frozen=True)
class Message:
    """What one step's gradients cost when nothing else happens.

    Attributes:
        payload: bytes that each process gives to the all-reduce.
        whole: bytes of all gradients.
        seconds: of packing, summing and unpacking the payload, the least of some rounds.
        whole_seconds: of summing all gradients instead, likewise.
    """

    payload: int
    whole: int
    seconds: float
    whole_seconds: float


def time_message(module: nn.Module, masks: Masks, group: Group) -> Message:
    """Time the all-reduce of one step alone, interleaved with that of all gradients.

    All processes begin each round together, so nobody waits for another's computing.

    Args:
        module: the network; nothing of it changes.
        masks: of its parameters.
        group: the processes; all must call this.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    gradients = torch.zeros(sum(p.numel() for p in parameters), device=group.device)
    chosen = positions(parameters, masks)
    taken: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(1 + ROUNDS):
        for whole in (False, True):
            group.summed_floats(0.0)  # all are here
            began = time.perf_counter()
            if whole or chosen is None:
                dist.all_reduce(gradients, group=group.gradients)
            else:
                packed = gradients.index_select(0, chosen)
                dist.all_reduce(packed, group=group.gradients)
                gradients.index_copy_(0, chosen, packed)
            if group.device.startswith("cuda"):
                torch.cuda.synchronize()
            taken[whole].append(time.perf_counter() - began)
    width = gradients.element_size()
    return Message(
        payload=width * (gradients.numel() if chosen is None else chosen.numel()),
        whole=width * gradients.numel(),
        seconds=min(taken[False][1:]),
        whole_seconds=min(taken[True][1:]),
    )
