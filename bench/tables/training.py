"""Step-by-step training in a table: epochs, time to the target, break-even with caching."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.tables.numbers import DASH
from bench.tables.rows import Row, Section

HEADER = ("backbone", "engine", "s/epoch", "s to target", "missed", "against dense", "break-even")


def training_cells(section: Section) -> list[tuple[str, ...]]:
    """One line a cell under :data:`HEADER`; none where the workload has no epochs."""
    lines: list[tuple[str, ...]] = []
    dense_done: set[tuple[str, str]] = set()
    for row in section.rows:
        told = row.comparison.training if row.comparison is not None else None
        if told is None:
            continue
        dense = str(row.record.backbone.dense_partner)
        if (dense, row.engine) not in dense_done:
            dense_done.add((dense, row.engine))
            lines.append(_cells(dense, row, told, "dense"))
        lines.append(_cells(row.record.backbone.name, row, told, "sparse"))
    return lines


def training_caption(section: Section) -> str:
    """What the table says."""
    told = next(
        (r.comparison.training for r in section.rows if r.comparison and r.comparison.training),
        {},
    )
    words = [f"{told.get('epochs', '?')} epochs a training."]
    if told.get("target") is not None:
        words.append(
            f"The target is the dense partner's mean validation accuracy minus "
            f"{told['margin_points']:g} points (here {told['target']:.1%}); missed: seeds that "
            "never reach it, which count as infinite; against dense: time to target, dense over "
            "sparse."
        )
    if section.workload == "linear-online":
        words.append("Break-even: from so many epochs on, linear-cached is cheaper.")
    return " ".join(words + _determinism(section))


def _determinism(section: Section) -> list[str]:
    """What kernels that give the same bits every time cost, where they were asked for."""
    executions = (row.record.extra.get("execution") or {} for row in section.rows)
    costs = sorted(e["deterministic_cost"] for e in executions if "deterministic_cost" in e)
    if not costs:
        return []
    ends = dict.fromkeys(f"{cost:.2f}" for cost in (costs[0], costs[-1]))
    return [f"Deterministic kernels: {'-'.join(ends)} times a step's time with any kernels."]


def _cells(name: str, row: Row, told: Mapping[str, Any], side: str) -> tuple[str, ...]:
    ratio = told.get("to_target_ratio")
    seeds = row.record.accuracy.per_seed if row.record.accuracy else ()
    return (
        name,
        row.engine,
        _number(told["seconds_per_epoch"][side]),
        _number(_side(told, "seconds_to_target", side)),
        DASH if "missed" not in told else f"{told['missed'][side]} of {len(seeds)}",
        "dense" if side == "dense" else DASH if ratio is None else f"{ratio:.2f}x",
        _number(_side(told, "break_even_epoch", side)),
    )


def _side(told: Mapping[str, Any], key: str, side: str) -> float | None:
    value: float | None = (told.get(key) or {}).get(side)
    return value


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3g}"


def markdown_lines(section: Section) -> Sequence[str]:
    """The table as Markdown; nothing where there is none."""
    cells = training_cells(section)
    if not cells:
        return ()
    rows = [HEADER, ("---", "---", *["---:"] * 5), *cells]
    return ["", *("| " + " | ".join(row) + " |" for row in rows), "", training_caption(section)]
