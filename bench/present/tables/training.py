"""Step-by-step training in tables: epochs, time to the target, what each seed did, memory.

The first table fits a terminal; the details stand in summary.md, the report and summary.csv.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from sparsebench.bench.comparisons.training import ONLINE, best_epochs, curves_of
from sparsebench.bench.present.table import DASH, Entry, Table
from sparsebench.bench.present.tables import numbers
from sparsebench.bench.present.tables.main import change_entry
from sparsebench.bench.present.tables.rows import Row, Section, row_table
from sparsebench.bench.present.tables.wording import CHANGE
from sparsebench.bench.records import Accuracy, Record
from sparsebench.bench.tasks.kinds import worded

HEADER = ("s/epoch", "s to target", "missed", "against dense", "break-even")
DETAILS = (
    "last epoch %", "best epoch %", "best epoch", "missed seeds",
    "peak memory", "pieces of a batch",
)  # fmt: skip
DETAILS_CAPTION = (
    "The accuracy on the test images, after the last epoch and after the one that was best on the "
    "validation images; which one that was: median over seeds, from least to most. Peak memory: "
    "of the training's process. Pieces: a batch that does not fit into memory is split, its "
    "gradients summed."
)
NEVER = "\N{INFINITY}"


def training_table(section: Section) -> Table | None:
    """Epochs, time to the target and break-even; None where the workload has no epochs."""

    def cells(row: Row) -> Sequence[str | Entry] | None:
        return None if row.training is None else (*_cells(row), change_entry(row))

    change = worded(CHANGE, section.word)
    return row_table(section, "training", (*HEADER, change), cells, training_caption(section))


def training_details(section: Section) -> Table | None:
    """What each seed did, best epochs, memory; None where the workload has no epochs."""

    def cells(row: Row) -> Sequence[str | Entry] | None:
        return None if row.training is None else _details(row)

    caption = worded(DETAILS_CAPTION, section.word)
    return row_table(section, "details of the training", DETAILS, cells, caption)


def training_caption(section: Section) -> str:
    """What the table says, and which trainings ran out of memory."""
    told = [row.training for row in section.rows if row.training is not None]
    counts = sorted({int(one["epochs"]) for one in told})
    words = [f"{'-'.join(map(str, counts)) or '?'} epochs a training."]
    targets = sorted({(one["target"], one["margin_points"]) for one in told if "target" in one})
    if targets:
        ends = dict.fromkeys(f"{target:.1%}" for target, _ in (targets[0], targets[-1]))
        shown = " to ".join(ends)  # every engine's dense baseline has its own
        words.append(
            f"The target is the dense baseline's mean validation {section.word} minus "
            f"{targets[0][1]:g} points (here {shown}); missed: seeds that "
            "never reach it, which count as infinite; against dense: time to target, dense over "
            "sparse, of medians over seeds and without an interval."
        )
    if section.workload == ONLINE:
        words.append("Break-even: from so many epochs on, linear-cached is cheaper.")
    return " ".join([*words, *_determinism(section), *_out_of_memory(section)])


def _determinism(section: Section) -> list[str]:
    """What kernels that give the same bits every time cost, where they were asked for."""
    executions = (row.record.extra.get("execution") or {} for row in section.rows)
    costs = sorted(e["deterministic_cost"] for e in executions if "deterministic_cost" in e)
    if not costs:
        return []
    ends = dict.fromkeys(f"{cost:.2f}" for cost in (costs[0], costs[-1]))
    return [f"Deterministic kernels: {'-'.join(ends)} times a step's time with any kernels."]


def _out_of_memory(section: Section) -> list[str]:
    names = [
        f"{row.record.backbone.name} on {row.engine} ({pieces} pieces)"
        for row in section.rows
        if (pieces := accumulated(row.record)) is not None
    ]
    if not names:
        return []
    return [f"Out of memory, again with every batch in pieces: {', '.join(names)}."]


def accumulated(record: Record) -> int | None:
    """Pieces of a batch after running out of memory; None where it never did."""
    pieces = record.extra.get("accumulated_after_out_of_memory")
    return None if pieces is None else int(pieces)


def best_epoch(record: Record) -> float | None:
    """Median over seeds of the best epoch on the validation split, from 1; None without one."""
    found = best_epochs(record)
    return median(found) if found else None


def best_accuracy(record: Record) -> Accuracy | None:
    """Test accuracy after the best epoch; None where nothing was validated."""
    told = record.accuracy
    if told is None or told.best_epoch_per_seed is None or not best_epochs(record):
        return None
    return Accuracy.of(told.metric, told.best_epoch_per_seed, told.seeds)


def _details(row: Row) -> tuple[str | Entry, ...]:
    record = row.record
    last, best = record.accuracy, best_accuracy(record)
    epochs = best_epochs(record)
    missed = row.of_training("missed_seeds")
    memory = record.extra.get("peak_memory_bytes")
    pieces = (record.extra.get("execution") or {}).get("accumulate")
    after = accumulated(record)
    return (
        DASH if last is None else Entry(*numbers.percent(last)),
        DASH if best is None else Entry(*numbers.percent(best)),
        f"{median(epochs):g} ({min(epochs)}{DASH}{max(epochs)})" if epochs else DASH,
        DASH if missed is None else ", ".join(map(str, missed)) or "none",
        DASH if memory is None else f"{memory / 1e9:.3g} GB",
        f"{after}, out of memory" if after else DASH if pieces is None else str(pieces),
    )


def _cells(row: Row) -> tuple[str | Entry, ...]:
    told = row.training or {}
    dense = row.record.backbone.is_dense
    ratio = told.get("to_target_ratio")
    missed = row.of_training("missed")
    return (
        _number(row.of_training("seconds_per_epoch")),
        NEVER if never(row) else _number(row.of_training("seconds_to_target")),
        DASH if missed is None else f"{missed} of {len(curves_of(row.record))}",
        # Of medians over seeds.
        Entry("dense") if dense else Entry(DASH) if ratio is None else Entry(f"{ratio:.2f}×"),
        _number(row.of_training("break_even_epoch")),
    )


def never(row: Row) -> bool:
    """Whether its median time to the target is infinite, most seeds having missed it."""
    missed = row.of_training("missed")
    return bool(missed) and row.of_training("seconds_to_target") is None


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3g}"
