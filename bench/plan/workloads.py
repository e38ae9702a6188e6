"""The registry of workloads: the one line that adds another; each is a file of its own."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

from sparsebench.models.errors import UnknownNameError
from sparsebench.models.registry import Registry

if TYPE_CHECKING:
    from sparsebench.bench.plan.workload import Workload

WORKLOADS = Registry(
    "workload",
    "sparsebench.workloads",
    {
        "inference": "sparsebench.bench.workloads.inference:Inference",
        "full": "sparsebench.bench.workloads.full:Full",
        "linear-cached": "sparsebench.bench.workloads.linear_cached:LinearCached",
        "linear-online": "sparsebench.bench.workloads.linear_online:LinearOnline",
        "serving": "sparsebench.bench.workloads.serving:Serving",
    },
)
USUAL = ("inference", "linear-cached")
"""Those of a plan that names none."""


def workload_of(name: str) -> type[Workload]:
    """The class of a registered workload.

    Raises:
        UnknownNameError: there is none.
    """
    return _whole(WORKLOADS.load(name))


def described(name: str) -> type[Workload]:
    """What is known of a recorded workload: its class, or nothing where it is not installed."""
    try:
        return workload_of(name)
    except (UnknownNameError, ImportError):
        return _unknown(name)


@cache
def _whole(found: Any) -> type[Workload]:
    """A class that says nothing of itself, as those of other packages may, gets the defaults."""
    from sparsebench.bench.plan.workload import Workload

    if issubclass(found, Workload):
        return cast("type[Workload]", found)
    return cast("type[Workload]", type(found.__name__, (found, Workload), {}))


@cache
def _unknown(name: str) -> type[Workload]:
    from sparsebench.bench.plan.workload import Workload

    return type("Unknown", (Workload,), {"name": name})
