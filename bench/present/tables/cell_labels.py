"""How a cell is named: its engine with whatever differs in the table, and what does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sparsebench.bench.comparisons import CellTimes
from sparsebench.bench.records import Record
from sparsebench.models.cpus import threads_text

_SETTINGS = ("device", "precision", "threads", "batch_size", "size")


def _setting(record: Record, key: str) -> object:
    return record.settings.get("size") if key == "size" else getattr(record.engine, key)


def varying_settings(group: Sequence[Record]) -> list[str]:
    """Settings that are not the same for all records, which a cell's name must then tell."""
    return [key for key in _SETTINGS if len({_setting(record, key) for record in group}) > 1]


def _in_words(key: str, value: object) -> str:
    if key == "threads":
        return threads_text(str(value))
    return {"batch_size": f"batch {value}", "size": f"{value} px"}.get(key, str(value))


def engine_label(record: Record, varying: Sequence[str]) -> str:
    """The engine's name, with those settings that are not the same in the whole table."""
    settings = [_in_words(key, _setting(record, key)) for key in varying]
    return " ".join([record.engine.label, *settings])


def shared_settings(
    group: Sequence[Record], varying: Sequence[str], times: Mapping[str, CellTimes]
) -> str:
    """What is the same in the whole table: settings, blocks, images."""
    first = group[0]
    words = [
        _in_words(key, _setting(first, key))
        for key in _SETTINGS
        if key not in varying and _setting(first, key) is not None
    ]
    counts = sorted({len(times[record.id].blocks) for record in group if record.id in times})
    if counts:
        blocks = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
        words.append(f"{blocks} block" if counts == [1] else f"{blocks} blocks")
    task = first.task
    if task.train is not None and task.test is not None:
        words.append(f"{task.train:,} training and {task.test:,} test images")
    return ", ".join(words)
