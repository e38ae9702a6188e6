"""What a figure is drawn from: runs as they were read, and what of them to show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparsebench.bench.decide import RunData
from sparsebench.bench.present import escape
from sparsebench.bench.records import Comparison, Record
from sparsebench.models.cpus import threads_text
from sparsebench.models.errors import SparsebenchError, UnknownNameError


@dataclass(frozen=True)
class Selection:
    """Which cells a figure shows; an empty field shows all.

    Args:
        workloads: names.
        tasks: names.
        engines: names.
    """

    workloads: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()

    def holds(self, record: Record) -> bool:
        """Whether a record is shown."""
        return (
            record.workload in (self.workloads or (record.workload,))
            and record.task.name in (self.tasks or (record.task.name,))
            and record.engine.name in (self.engines or (record.engine.name,))
        )

    def check(self, runs: Sequence[RunData]) -> None:
        """Refuse a name that no run has.

        Raises:
            UnknownNameError: with the nearest names.
        """
        records = [record for run in runs for record in run.records]
        present = {
            "workload": {record.workload for record in records},
            "task": {record.task.name for record in records},
            "engine": {record.engine.name for record in records},
        }
        wanted = {"workload": self.workloads, "task": self.tasks, "engine": self.engines}
        for kind, names in wanted.items():
            for name in names:
                if name not in present[kind]:
                    raise UnknownNameError(kind, name, present[kind])


ALL = Selection()


@dataclass
class LeftOut:
    """Cells that a figure may not show, counted by reason.

    A time without an accuracy is incomplete: it enters no figure.
    """

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str) -> None:
        """Count one more cell."""
        self.counts[reason] = self.counts.get(reason, 0) + 1

    def __str__(self) -> str:
        parts = [
            f"{count} {'cell' if count == 1 else 'cells'} {reason}"
            for reason, count in self.counts.items()
        ]
        return f"Not shown: {', '.join(parts)}." if parts else ""


def complete(
    run: RunData, selection: Selection, left_out: LeftOut
) -> Iterator[tuple[Comparison, Record]]:
    """Comparisons with a speed-up and an accuracy change, with their sparse records."""
    by_id = run.by_id
    for comparison in run.comparisons:
        record = by_id[comparison.sparse]
        if not selection.holds(record):
            continue
        if comparison.status != "ok" or comparison.speedup is None:
            left_out.add("without a speed-up")
        elif not comparison.trained:
            left_out.add("with generated weights (speed only)")
        elif comparison.accuracy_delta is None:
            left_out.add("without an accuracy (add --workload linear-cached to the run)")
        else:
            yield comparison, record


def variant(record: Record) -> str:
    """The backbone's name without its architecture and the folders of its file."""
    head, at, source = record.backbone.name.partition("@")
    return escape.visible(head.partition("/")[2] + at + source.rpartition("/")[2])


def engine_label(record: Record) -> str:
    """The engine, with device and precision where they are not cpu and fp32."""
    engine = record.engine
    unusual = [engine.device] if engine.device != "cpu" else []
    unusual += [engine.precision] if engine.precision != "fp32" else []
    return escape.visible(" ".join([engine.label, *unusual]))


def caption(records: Iterable[Record]) -> str:
    """Where and how records were measured: machine, network, engines, batch size and threads.

    What is unknown is left out; several values are all named.
    """
    shown = list(records)
    parts = [
        " / ".join(sorted({_machine(record.machine) for record in shown} - {""})),
        _named({record.backbone.arch for record in shown}),
        _named({f"{r.engine.name} {_version(r.engine.version or '')}".strip() for r in shown}),
        f"batch size {sizes}" if (sizes := _counted({r.engine.batch_size for r in shown})) else "",
        threads_text(threads) if (threads := _counted({r.engine.threads for r in shown})) else "",
    ]  # fmt: skip
    return escape.visible(f"{'; '.join(part for part in parts if part)}.") if any(parts) else ""


def _machine(facts: Mapping[str, Any]) -> str:
    cpus = facts.get("usable_cpus")
    words = [str(facts["cpu"])] if facts.get("cpu") else []
    words += [f"{cpus} CPU{'' if cpus == 1 else 's'}"] if cpus else []
    return ", ".join(words)


def _version(text: str) -> str:
    """Without the commit and the branch that some engines put behind it."""
    number = text.partition("+")[0]
    return number if len(number) < 12 else number.partition("-")[0]


def _named(values: set[str]) -> str:
    """In order; a name alone is left out where it also stands with a version."""
    bare = {value.partition(" ")[0] for value in values if " " in value}
    return ", ".join(sorted(values - bare - {""}))


def _counted(values: Iterable[int]) -> str:
    return ", ".join(map(str, sorted({value for value in values if value})))


def change_words(points: float | None) -> str:
    """An accuracy change as it stands beside a speed-up: "+1.1 pp"."""
    if points is None:
        return "accuracy unknown"
    return f"{points:+.1f} pp".replace("-", "\N{MINUS SIGN}")


def same_machine(runs: Sequence[RunData]) -> None:
    """Refuse runs of several machines.

    Raises:
        SparsebenchError: times of two machines never enter one figure.
    """
    machines = {str(r.machine.get("fingerprint")) for run in runs for r in run.records}
    if len(machines) > 1:
        raise SparsebenchError(
            f"The runs come from {len(machines)} machines, whose times are not comparable.",
            "Draw the runs of one machine.",
        )
