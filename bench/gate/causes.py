"""What moved between a baseline and a run: engine, export, data or head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsebench.bench.comparisons.gated_ratios import GatedCell
from sparsebench.bench.plan.workloads import described

# Which part of the suite a stage belongs to.
AREAS = {
    "extract": "engine",
    "decode": "data",
    "load": "data",
    "read": "data",
    "augment": "data",
    "head": "head",
    "train": "head",
    "evaluate": "head",
}
# A stage is named when it explains at least this share of the whole change.
SHARE = 0.25


def facts_of(cell: GatedCell) -> dict[str, Any]:
    """What a baseline keeps of a cell to explain a later change by."""
    record = cell.record
    proof = record.proof
    facts = {
        "engine_version": record.engine.version,
        "engine_options": dict(record.engine.options) or None,
        "supported_fraction": record.engine.supported_fraction,
        "weights_sha256": record.backbone.sha256,
        "onnx_mask": proof.onnx_mask if proof else None,
        "measured_sparsity": record.backbone.measured_sparsity,
        "torch": record.packages.get("torch"),
        "skipped_pictures": record.extra.get("task_skipped"),
        "stages": dict(cell.stages) or None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def what_moved(before: Mapping[str, Any], cell: GatedCell) -> tuple[str, ...]:
    """Sentences, each beginning with the area that it is about.

    Args:
        before: `facts_of` the baseline's cell.
        cell: of the run.
    """
    now = facts_of(cell)
    found = [
        f"{area}: {words} {before[key]} -> {now[key]}"
        for key, area, words in (
            ("engine_version", "engine", "version"),
            ("engine_options", "engine", "options"),
            ("supported_fraction", "engine", "fraction of operators that it supports"),
            ("measured_sparsity", "export", "measured sparsity"),
            ("torch", "export", "written by torch"),
            ("skipped_pictures", "data", "unreadable images"),
        )
        if key in before and key in now and before[key] != now[key]
    ]
    for key, words in (("weights_sha256", "the weights"), ("onnx_mask", "the zeros in the ONNX")):
        if key in before and key in now and before[key] != now[key]:
            found.append(f"export: {words} are others")
    stages = _grown_stages(before.get("stages", {}), now.get("stages", {}))
    if stages:
        found += stages
    elif described(cell.record.workload).unit == "images/s":
        found.append(f"engine: the time of its calls ({cell.record.workload} times nothing else)")
    return tuple(found) or ("not known: versions, hashes and stages are as before",)


def _grown_stages(before: Mapping[str, float], now: Mapping[str, float]) -> list[str]:
    grown = {name: now.get(name, 0.0) - before.get(name, 0.0) for name in {*before, *now}}
    total = sum(change for change in grown.values() if change > 0)
    if not before or total <= 0:
        return []
    return [
        f"{AREAS.get(name, 'harness')}: stage {name} takes {now.get(name, 0.0):.1%} of the "
        f"reference's whole time, before {before.get(name, 0.0):.1%}"
        for name, change in sorted(grown.items(), key=lambda item: -item[1])
        if change >= SHARE * total
    ]
