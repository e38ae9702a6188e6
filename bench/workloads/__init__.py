"""Workloads, one file each; this registry is the one line that adds another."""

from __future__ import annotations

from sparsebench.models.registry import Registry

WORKLOADS = Registry(
    "workload",
    "sparsebench.workloads",
    {
        "inference": "sparsebench.bench.workloads.inference:Inference",
        "full": "sparsebench.bench.workloads.full:Full",
        "linear-cached": "sparsebench.bench.workloads.linear_cached:LinearCached",
        "linear-online": "sparsebench.bench.workloads.linear_online:LinearOnline",
    },
)
