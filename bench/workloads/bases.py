"""The two kinds of workloads: on an engine's session, or a training of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsebench.bench.plan.workload import Workload

if TYPE_CHECKING:
    from sparsebench.bench.workloads.block_context import BlockContext, Ready, Running


class OnEngine(Workload):
    """A workload on an engine's session."""

    def run_block(self, running: Sequence[Running], context: BlockContext) -> None:
        """Make one trial of each cell and emit it; a failing cell emits a failed trial."""
        raise NotImplementedError


class Training(Workload):
    """A workload without an engine session: it trains the network itself, in its own process."""

    def train_block(self, ready: Sequence[Ready], context: BlockContext) -> None:
        """Make one trial of each cell and emit it; a failing cell emits a failed trial."""
        raise NotImplementedError
