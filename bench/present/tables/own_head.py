"""What networks get right, or find, with their own last layers, said below a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparsebench.bench.present.tables.numbers import signed_points
from sparsebench.bench.records import DETECTION, OWN_HEAD, Record

FIRST = "top-1"


def own_head_notes(records: Sequence[Record]) -> list[str]:
    """A sentence for each network that knows the classes by itself, dense ones first.

    Args:
        records: of one workload and task; several of a network tell the same.
    """
    told: dict[str, Mapping[str, Any]] = {}
    finders: dict[str, Sequence[str]] = {}
    for record in sorted(records, key=lambda one: not one.backbone.is_dense):
        if OWN_HEAD in record.extra:
            told.setdefault(record.backbone.name, record.extra[OWN_HEAD])
        if (record.extra.get("head") or {}).get("kind") == "own":
            finders[record.backbone.name] = list(record.extra[DETECTION]["ap_per_class"])
    notes = [f"{name} with its own classifier: {_said(facts)}." for name, facts in told.items()]
    if finders:
        notes.append(
            f"No head was trained for {', '.join(finders)}: what they find by themselves is "
            "scored, their outputs taken for the task's classes in this order: "
            f"{', '.join(next(iter(finders.values())))}."
        )
    return notes


def _said(facts: Mapping[str, Any]) -> str:
    if "reason" in facts:
        return str(facts["reason"]).rstrip(".")
    one = facts[FIRST]
    low, high = one["ci95"]
    words = f"{one['value']:.1%} right ({low:.1%} to {high:.1%}, {one['images']} images)"
    if FIRST not in facts.get("change", {}):
        return words
    change = facts["change"][FIRST]
    ends = " to ".join(signed_points(end) for end in change["ci95"])
    return (
        f"{words}, {signed_points(change['value'])} pp ({ends}) against {facts['against']}, image "
        "by image"
    )
