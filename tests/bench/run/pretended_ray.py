"""The little of Ray that the driver calls: tasks run where they are asked for, when they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from sparsebench.bench.run import joining


class RayError(Exception):
    """As Ray's: a node or a worker was lost."""


class RayTaskError(RayError):
    """As Ray's: a task raised something."""


class GetTimeoutError(RayError):
    """As Ray's: nothing was back in time."""


@dataclass
class PretendedRay:
    """A module with a cluster behind it.

    Attributes:
        nodes_: what Ray says of them.
        lost: how many of the next leases lose their node.
        leases: options of every lease, in order.
    """

    nodes_: list[dict[str, Any]]
    lost: int = 0
    leases: list[dict[str, Any]] = field(default_factory=list)
    down: bool = False

    exceptions = SimpleNamespace(
        RayError=RayError, RayTaskError=RayTaskError, GetTimeoutError=GetTimeoutError
    )

    def init(self, **options: object) -> None:
        """Joined."""

    def shutdown(self) -> None:
        """Left."""
        self.down = True

    def nodes(self) -> list[dict[str, Any]]:
        """As Ray's."""
        return self.nodes_

    def remote(self, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        """As Ray's, called with options."""
        return lambda function: SimpleNamespace(
            remote=lambda *given: self._submit(options, function, given)
        )

    def _submit(
        self, options: dict[str, Any], function: Callable[..., Any], given: tuple[Any, ...]
    ) -> Callable[[], Any]:
        if "resources" not in options:  # a look
            return lambda: function(*given)
        self.leases.append(options)
        if self.lost:
            self.lost -= 1
            return partial(_lost, len(self.leases))
        return lambda: function(*given)

    def wait(
        self, answers: Sequence[Callable[[], Any]], *, num_returns: int, timeout: float
    ) -> tuple[list[Callable[[], Any]], list[Callable[[], Any]]]:
        """As Ray's."""
        return list(answers[:num_returns]), list(answers[num_returns:])

    def get(self, answer: Callable[[], Any], *, timeout: float = 0) -> Any:
        """As Ray's."""
        try:
            return answer()
        except RayError:
            raise
        except Exception as error:
            raise RayTaskError(f"Traceback\n{error}") from error


def pretend(monkeypatch: pytest.MonkeyPatch) -> PretendedRay:
    """Put a cluster of one node in the place of Ray."""
    made = PretendedRay([node()])
    place = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda name, soft: (name, soft))
    modules: dict[str, Any] = {"ray": made, "ray.util.scheduling_strategies": place}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(joining, "find_spec", lambda name: object())
    return made


def node(cpus: float = 2, **changes: Any) -> dict[str, Any]:
    """A node that can be leased."""
    resources = {"CPU": cpus, "sparsebench_node": 1.0}
    return {"Alive": True, "NodeID": "n", "NodeManagerAddress": "10.0.0.2", **changes} | {
        "Resources": {**resources, **changes.get("Resources", {})}
    }


def _lost(lease: int) -> Any:
    raise RayError(f"the node of lease {lease} is dead")
