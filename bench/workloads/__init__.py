"""Workloads, one file each; this registry is the one line that adds another."""

from __future__ import annotations

from models.registry import Registry

WORKLOADS = Registry(
    "workload",
    "sparsebench.workloads",
    {
        "inference": "bench.workloads.inference:Inference",
        "full": "bench.workloads.full:Full",
        "linear-cached": "bench.workloads.linear_cached:LinearCached",
        "linear-online": "bench.workloads.linear_online:LinearOnline",
    },
)
