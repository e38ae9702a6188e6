"""Processes that train one network together: who does which part, and what they tell each other.

Every process holds the whole network and takes its part of each batch, in the order in which one
process would see the images. Gradients are summed (:mod:`...distributed.gradients`), batch norm
sees the whole batch (:mod:`...distributed.batch_norm`), so the loss curve is that of one process
within rounding. Networks that draw random numbers in training (dropout, stochastic depth) draw
others in each process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from sparsebench.bench.images import DeviceImages, Source, Subset
from sparsebench.bench.plan.settings import NORMS

GLOBAL, LOCAL = NORMS
"""What batch norm sees in training: the images of all processes, or of its own alone."""


@dataclass(frozen=True, eq=False)
class Group:
    """One process's view of all of them.

    Attributes:
        rank: its number, from 0.
        size: number of processes.
        device: where its network is.
        batch_norm: one of :data:`NORMS`.
        gradients: the connection that gradients travel on.
        statistics: the connection of everything else; a connection of its own, so that batch norm
            need not wait in line behind a gradient.
    """

    rank: int
    size: int
    device: str
    batch_norm: str
    gradients: Any
    statistics: Any

    @property
    def backend(self) -> str:
        """``gloo`` or ``nccl``."""
        return str(dist.get_backend(self.gradients))

    def part(self, count: int) -> slice:
        """Its part of a batch of so many images.

        Parts follow each other in the batch's order and differ by one image at most. A batch with
        fewer images than processes is not split: each computes all of it.
        """
        if not self.splits(count):
            return slice(0, count)
        least, more = divmod(count, self.size)
        start = self.rank * least + min(self.rank, more)
        return slice(start, start + least + (self.rank < more))

    def splits(self, count: int) -> bool:
        """Whether a batch of so many images is split."""
        return count >= self.size

    def computed(self, count: int) -> int:
        """Images that all processes compute of such a batch: what its loss is divided by."""
        return count if self.splits(count) else count * self.size

    def smallest(self, count: int) -> int:
        """Images of the smallest part of such a batch."""
        return count // self.size if self.splits(count) else count

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        dist.all_reduce(tensor, group=self.statistics)
        return tensor

    def gathered(self, tensor: Tensor) -> Tensor:
        """What each process gives, ``[size, ...]``."""
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor, group=self.statistics)
        return torch.stack(found)

    def whole_answers(self, own: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Class numbers of all `count` images, from those of each process's own."""
        array = np.zeros(count, np.int64)
        array[self.own_positions(count)] = own
        summed = self.summed(torch.from_numpy(array).to(self.device))
        found: NDArray[np.int64] = summed.cpu().numpy()
        return found

    def summed_floats(self, *values: float) -> list[float]:
        """Likewise of plain numbers."""
        return self.summed(torch.tensor(values, dtype=torch.float64, device=self.device)).tolist()

    def of_first(self, value: Any) -> Any:
        """What the first process gives; all must call it."""
        held = [value]
        dist.broadcast_object_list(held, 0, group=self.statistics)
        return held[0]

    def same_buffers(self, module: nn.Module) -> None:
        """Give every process the first one's buffers: running statistics of batch norm."""
        if self.batch_norm == LOCAL:
            for buffer in module.buffers():
                dist.broadcast(buffer, 0, group=self.statistics)

    def own_positions(self, count: int) -> NDArray[np.int64]:
        """Positions of the images that this process evaluates, of so many."""
        return np.arange(count)[self.rank :: self.size]

    def own_images(self, source: Source) -> Source:
        """The images of a source that this process evaluates."""
        chosen = self.own_positions(len(source))
        if isinstance(source, DeviceImages):
            return source.subset(chosen)
        return Subset(source, chosen)
