"""A step that several processes take together: what stands around its forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sparsebench.bench.training.distributed.batch_norm import GlobalBatchNorm
from sparsebench.bench.training.distributed.gradients import in_parallel
from sparsebench.bench.training.distributed.group import GLOBAL, Group
from sparsebench.bench.training.network import Network


class SharedStep:
    """One process's side of it.

    Args:
        network: the same in all processes.
        group: the processes.
    """

    def __init__(self, network: Network, group: Group) -> None:
        self.group = group
        self.module = in_parallel(network.module, network.sparse, group)
        self._norms = GlobalBatchNorm(group) if group.batch_norm == GLOBAL else None
        self._steps = 0

    @contextmanager
    def piece(self, count: int, *, last: bool) -> Iterator[None]:
        """Around one piece of a batch: gradients travel with the last, batch norm with each.

        Args:
            count: images of the batch of all processes.
            last: whether it is the last piece.
        """
        self._steps += last
        with ExitStack() as stack:
            if not last:
                stack.enter_context(self.module.no_sync())
            if self._norms is not None and self.group.splits(count):
                stack.enter_context(self._norms)
            yield

    def communication(self) -> dict[str, Any]:
        """What the processes sent each other for batch norm, and how they are joined.

        ``statistics_bytes_per_step`` is what each process gives in a step, forwards and backwards.
        """
        sent = 0 if self._norms is None else 2 * self._norms.sent / max(1, self._steps)
        return {
            "processes": self.group.size,
            "backend": self.group.backend,
            "batch_norm": self.group.batch_norm,
            "statistics_bytes_per_step": round(sent),
        }
