"""Workloads, one file each; the registry is :mod:`sparsebench.bench.plan.workloads`."""
