"""What several processes did together, in the one answer that the first of them gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sparsebench.bench.training.distributed.gradients import time_message
from sparsebench.bench.training.distributed.group import Group
from sparsebench.bench.training.network import Network
from sparsebench.bench.training.trained import Trained
from sparsebench.models.errors import SparsebenchError


def of_all(
    trained: Trained, memory: dict[str, Any], network: Network, group: Group
) -> tuple[Trained, dict[str, Any]]:
    """Processor time and memory of all processes, and what a step's gradients cost.

    Adds to ``communication``: ``gradient_bytes_per_step`` (what each process gives to a step's
    all-reduce), ``whole_gradient_bytes`` (of all gradients), ``allreduce_seconds`` and
    ``whole_allreduce_seconds`` (of either alone, the least of some rounds that all begin together).

    Args:
        trained: of this process.
        memory: of this process.
        network: after the training.
        group: all processes; each must call this.

    Raises:
        SparsebenchError: the processes ended with different weights.
    """
    _same_weights(network, group)
    spent, waited = trained.process_seconds, trained.run_delay_seconds
    known = group.summed_floats(spent is not None, waited is not None, spent or 0.0, waited or 0.0)
    message = time_message(network.module, network.sparse, group)
    communication = {
        **trained.facts["communication"],
        "gradient_bytes_per_step": message.payload,
        "whole_gradient_bytes": message.whole,
        "allreduce_seconds": message.seconds,
        "whole_allreduce_seconds": message.whole_seconds,
    }
    summed = group.summed_floats(*memory.values())
    return replace(
        trained,
        process_seconds=known[2] if known[0] == group.size else None,
        run_delay_seconds=known[3] if known[1] == group.size else None,
        facts={**trained.facts, "communication": communication},
    ), {name: int(value) for name, value in zip(memory, summed, strict=True)}


def _same_weights(network: Network, group: Group) -> None:
    """Proof that all processes trained one network.

    Raises:
        SparsebenchError: they did not.
    """
    total = sum(float(p.detach().double().abs().sum()) for p in network.module.parameters())
    (summed,) = group.summed_floats(total)
    if summed != total * group.size and abs(summed / group.size - total) > 1e-9 * abs(total):
        raise SparsebenchError("The processes of the training ended with different weights.")
