"""Which records may be compared: must-match keys and dense baselines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from sparsebench.bench.records import UNEQUAL, Record
from sparsebench.models.architectures import base_architecture
from sparsebench.models.errors import SparsebenchError

CPU = "cpu"


class Records(tuple[Record, ...]):
    """The records of a run, with the groups of them that are asked for once for each cell.

    A look through all of them for each would cost a minute in a run of a few thousand cells.
    """

    @cached_property
    def by_id(self) -> dict[str, Record]:
        """Record id -> record; the first of equals."""
        return {record.id: record for record in reversed(self)}

    @cached_property
    def _of_backbones(self) -> dict[tuple[str, str], list[Record]]:
        groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
        for record in self:
            groups[record.task.name, record.backbone.name].append(record)
        return groups

    @cached_property
    def _dense(self) -> dict[tuple[str, str, str], list[Record]]:
        groups: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
        for record in self:
            if record.backbone.is_dense:
                groups[record.task.name, record.workload, record.engine.name].append(record)
        return groups

    @cached_property
    def _found(self) -> dict[tuple[str, int], tuple[Record, list[Record]]]:
        return {}

    def once(self, asked: str, of: Record, find: Callable[[], list[Record]]) -> list[Record]:
        """What `find` finds for a record, looked for once.

        Args:
            asked: name of the question.
            of: the record that it is about.
            find: looks through these records.
        """
        key = asked, id(of)
        if key not in self._found:
            self._found[key] = of, find()
        return self._found[key][1]

    def of(self, record: Record, backbone: str | None = None) -> Sequence[Record]:
        """The records of its task and of its backbone, or the one that is named."""
        return self._of_backbones.get((record.task.name, backbone or record.backbone.name), ())

    def dense_beside(self, record: Record) -> Sequence[Record]:
        """The dense records of its task, workload and engine."""
        return self._dense.get((record.task.name, record.workload, record.engine.name), ())


def indexed(records: Sequence[Record]) -> Records:
    """The records with their groups; those that have them already are given back."""
    return records if isinstance(records, Records) else Records(records)


def must_match(record: Record) -> dict[str, Any]:
    """Key -> value that two records must share before their times are compared."""
    task, engine = record.task, record.engine
    keys: dict[str, Any] = {
        "workload": record.workload,
        "division": record.division,
        "task.name": task.name,
        "task.sha256": task.sha256,
        "task.metric": task.metric,
        "backbone.arch": base_architecture(record.backbone.arch),
        "engine.name": engine.name,
        "engine.version": engine.version,
        "engine.runs_itself": engine.runs_itself,
        "engine.device": engine.device,
        "engine.precision": engine.precision,
        "engine.threads": engine.threads,
        "engine.batch_size": engine.batch_size,
        "engine.options": dict(engine.options),
        "machine.fingerprint": record.machine.get("fingerprint"),
    }
    if engine.device != CPU:
        keys["machine.gpus"] = record.machine.get("gpus")
    keys.update({f"settings.{key}": value for key, value in record.settings.items()})
    return keys


def cut_differently(first: Record, second: Record) -> str:
    """Why the features of two ONNX files are not those of one place; empty where they are.

    Heads that are trained on different tensors tell nothing about what pruning changed.
    """
    files = [record.extra.get("onnx_file") or {} for record in (first, second)]
    places: list[Any] = [file.get("place") for file in files]
    if None in places or places[0] == places[1]:
        return ""
    where = [
        f"'{file['features']}' ({place['layers']} layers before it, {place['head']} behind)"
        for file, place in zip(files, places, strict=True)
    ]
    return (
        f"The features are of different places, {where[0]} and {where[1]}: no change of accuracy."
    )


def unequal_budgets(sparse: Record, dense: Record) -> str:
    """What to say where one network had more training than the other; empty where none is known."""
    ours, theirs = sparse.backbone.budget, dense.backbone.budget
    if not ours or not theirs or ours == theirs:
        return ""
    told = [
        f"{side.backbone.name} {budget['epochs']} epochs ({budget['images']:,} images)"
        for side, budget in ((sparse, ours), (dense, theirs))
    ]
    return f"{UNEQUAL} Unequal training: {told[0]}, its dense baseline {told[1]}."


def differing_keys(
    first: Record, second: Record, ignore: Iterable[str] = ()
) -> dict[str, tuple[Any, Any]]:
    """Must-match key -> both values, where they differ; `ignore` leaves keys out."""
    one, other = must_match(first), must_match(second)
    left_out = set(ignore)
    return {
        key: (one.get(key), other.get(key))
        for key in (*one, *(key for key in other if key not in one))
        if key not in left_out and one.get(key) != other.get(key)
    }


def refuse_differences(first: Record, second: Record, ignore: Iterable[str] = ()) -> None:
    """Stop where must-match keys differ.

    Raises:
        SparsebenchError: lists the keys with both values.
    """
    different = differing_keys(first, second, ignore)
    if different:
        listed = "; ".join(
            f"{key}: {one!r} against {two!r}" for key, (one, two) in different.items()
        )
        raise SparsebenchError(
            f"{describe(first)} and {describe(second)} are not comparable: they differ in "
            f"{listed}.",
            "Measure both in one run.",
        )


def describe(record: Record) -> str:
    """Backbone, engine and workload in words, for messages."""
    return f"{record.backbone.name} on {record.engine.label} ({record.workload})"


def find_partner(sparse: Record, records: Sequence[Record]) -> Record:
    """The dense baseline of a sparse record in the same run, whatever its status.

    By the name in `backbone.dense_partner`; without one, by architecture and then by source.
    Of several (two batch sizes, say) the one with the fewest differing must-match keys.

    Raises:
        SparsebenchError: there is none, or it is ambiguous.
    """
    named = sparse.backbone.dense_partner
    near = [
        record
        for record in indexed(records).dense_beside(sparse)
        if base_architecture(record.backbone.arch) == base_architecture(sparse.backbone.arch)
        and record.engine.device == sparse.engine.device
        and named in (None, record.backbone.name)
    ]
    if not near:
        wanted = named or f"{base_architecture(sparse.backbone.arch)}/dense"
        raise SparsebenchError(
            f"{describe(sparse)} has no dense baseline in this run: {wanted} was not measured "
            f"on {sparse.engine.name}.",
            "Add it to the plan.",
        )
    if len({record.backbone.name for record in near}) > 1:
        source = _source(sparse)
        same = [record for record in near if _source(record) == source]
        if len({record.backbone.name for record in same}) != 1:
            names = ", ".join(sorted({record.backbone.name for record in near}))
            raise SparsebenchError(
                f"{describe(sparse)} could be compared with any of {names}.",
                "Name its dense baseline in the card or in the plan.",
            )
        near = same
    return min(near, key=lambda record: len(differing_keys(sparse, record)))


def _source(record: Record) -> str:
    return record.backbone.name.partition("@")[2]
