"""The gate's judgement: every cell of a baseline against the same cell of a run.

A limit is passed when that is shown, failed when the contrary is shown, else nobody can tell:

- the ratio may not fall by the effect of interest. Passed: its whole interval lies above that.
  Failed: the change is significant over the whole suite (Holm) *and* its point lies beyond.
- a floor of the ratio, and the limits on accuracies: passed or failed when the whole interval lies
  on one side.

A cell that is missing or failed fails the gate; one that the run's processor lacks the
instructions for does not (`sparsebench.bench.gate.not_here`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sparsebench.bench.comparisons.busy import busy
from sparsebench.bench.comparisons.gated_ratios import (
    ENGINES,
    KEY,
    SPEEDUP,
    GatedCell,
    gated_cells,
    key_of,
    name_of,
)
from sparsebench.bench.gate.accuracy_limits import judge_accuracy
from sparsebench.bench.gate.baseline import Baseline, BaselineCell
from sparsebench.bench.gate.causes import what_moved
from sparsebench.bench.gate.limits import Findings
from sparsebench.bench.gate.not_here import not_here, optional_pairs
from sparsebench.bench.gate.ratio_limits import judge_floors, judge_ratio
from sparsebench.bench.gate.refusals import (
    refuse_below_noise,
    refuse_other_machine,
    refuse_other_settings,
)
from sparsebench.bench.gate.report import NOT_HERE, CellVerdict, GateReport, Settings, told_apart
from sparsebench.bench.records import Record, RunFolder, Trial
from sparsebench.bench.statistics import (
    Change,
    change_of,
    holm,
)
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError


def check_run(folder: RunFolder, baseline: Baseline, settings: Settings) -> GateReport:
    """Judge a run's folder by a baseline; see `judge`."""
    optional = optional_pairs(folder)
    records, run = folder.records(), str(folder.path)
    return judge(records, folder.trials(), baseline, settings, run, optional)


def judge(
    records: Sequence[Record],
    trials: Sequence[Trial],
    baseline: Baseline,
    settings: Settings,
    run: str,
    optional: Collection[tuple[str, str]] = (),
) -> GateReport:
    """Judge a run by a baseline.

    Args:
        records: of the run, one a cell.
        trials: of the run.
        baseline: what it must not fall behind.
        settings: how strictly.
        run: its path, for messages.
        optional: engine and precision of what its plan leaves out on a lesser processor.

    Raises:
        NothingMeasuredError: the run has no measured cell.
        SparsebenchError: another machine, other settings, or an effect below the noise floor.
    """
    measured = [record for record in records if record.status == "ok"]
    if not measured:
        raise NothingMeasuredError(
            f"{run} holds no measured cell: nothing was checked.",
            f"The reasons are in {run}/summary.md.",
        )
    if not settings.across_machines:
        refuse_other_machine(baseline, measured[0].machine)
    chosen = _chosen(baseline.cells, settings.only)
    gone = not_here(optional, records, baseline.machine)
    engines = {_id(cell): _peers(cell, gone) for cell in chosen if cell.kind == ENGINES}
    to_engines = {_id(cell): cell.limits.min_ratio_to or () for cell in chosen}
    gated = {
        tuple(key_of(cell.record).values()): cell
        for cell in gated_cells(records, trials, engines, to_engines)
    }
    both = [(cell, gated[_id(cell)]) for cell in chosen if _id(cell) in gated]
    refuse_other_settings([(cell, now.record) for cell, now in both])
    if settings.noise is not None and not settings.across_machines:
        pairs = [(cell, now.ratio) for cell, now in both]
        refuse_below_noise(pairs, settings.effect, settings.noise)
    found = busy(records, trials)
    told = (f"The run: {found.sentence}" if found else "", baseline.busy_words)
    settings = replace(settings, busy=tuple(text for text in told if text))
    verdicts = _judged(chosen, gated, settings, gone)
    if all(verdict.status == NOT_HERE for verdict in verdicts):
        raise NothingMeasuredError(
            f"No cell of the baseline can be judged by {run}: {next(iter(gone.values()))}.",
            "Check it on a processor like the baseline's, or update the baseline here.",
        )
    known = {_id(cell) for cell in baseline.cells}
    new = [
        CellVerdict(key_of(cell.record), "new", cell.kind, cell.against, now=cell.ratio)
        for key, cell in gated.items()
        if key not in known and not settings.only and cell.ratio is not None
    ]
    return GateReport(
        run=run,
        reason=baseline.reason,
        verdicts=told_apart([*verdicts, *new]),
        settings=settings,
        notes=(*_notes(gated, settings), *_left_out(verdicts)),
    )


def _judged(
    cells: Sequence[BaselineCell],
    gated: Mapping[tuple[Any, ...], GatedCell],
    settings: Settings,
    gone: Mapping[tuple[str, str], str],
) -> list[CellVerdict]:
    changes: dict[int, Change] = {}
    for index, cell in enumerate(cells):
        now = gated.get(_id(cell))
        if now is not None and now.ratio is not None and not _fewer(cell, gone):
            changes[index] = change_of(cell.ratio, now.ratio)
    adjusted = dict(zip(changes, holm([change.p for change in changes.values()]), strict=True))
    verdicts = [
        _verdict(
            cell, gated.get(_id(cell)), changes.get(index), adjusted.get(index), settings, gone
        )
        for index, cell in enumerate(cells)
    ]
    # A workload's cells stay together, in the order in which workloads first appear.
    places = {group: place for place, group in enumerate(dict.fromkeys(_group(c) for c in cells))}
    return sorted(verdicts, key=lambda verdict: places[_group(verdict)])


def _verdict(
    cell: BaselineCell,
    now: GatedCell | None,
    change: Change | None,
    p: float | None,
    settings: Settings,
    gone: Mapping[tuple[str, str], str],
) -> CellVerdict:
    effect = cell.limits.effect or settings.effect
    if now is None:
        left_out = gone.get((cell.key["engine"], cell.key["precision"]))
        status = NOT_HERE if left_out else "missing"
        why = left_out or "it is in the baseline and not in the run: removed or renamed"
        return CellVerdict(cell.key, status, cell.kind, cell.against, cell.ratio, reasons=(why,))
    fewer = _fewer(cell, gone)
    if fewer and now.ratio is None and not _peers(cell, gone):
        return CellVerdict(
            cell.key, NOT_HERE, cell.kind, cell.against, cell.ratio, reasons=(fewer,)
        )
    if now.ratio is None or (not fewer and (change is None or p is None)):
        return CellVerdict(
            cell.key, "failed", cell.kind, cell.against, cell.ratio,
            reasons=(now.reason or "it has no ratio",),
        )  # fmt: skip
    findings, status = Findings(), "same"
    floors = cell.limits.min_ratio is not None or cell.limits.min_ratio_to
    if why := fewer or ("a machine was busy" if settings.busy else ""):
        if floors or not settings.across_machines:
            findings.unknown.append(f"no ratio was judged: {why}")
    else:
        assert change is not None and p is not None
        if not settings.across_machines:
            status = judge_ratio(change, p, effect, _slower(cell, change), findings)
        judge_floors(cell.limits, now, findings)
    slower = bool(findings.broken)
    loss, of_accuracy = judge_accuracy(cell, now, settings.max_accuracy_loss)
    findings.add(of_accuracy)
    return CellVerdict(
        key=cell.key,
        status=findings.status(status),
        kind=cell.kind,
        against=cell.against,
        before=cell.ratio,
        now=now.ratio,
        change=change,
        p=p,
        effect=effect,
        accuracy_change=loss,
        metric=now.accuracy.metric if now.accuracy else None,
        reasons=tuple(findings.broken),
        unknown=tuple(findings.unknown),
        moved=what_moved(cell.facts, now) if slower else (),
    )


def _peers(cell: BaselineCell, gone: Mapping[tuple[str, str], str]) -> list[str]:
    """The engines that it is judged by here."""
    return [name for name in cell.against if (name, cell.key["precision"]) not in gone]


def _fewer(cell: BaselineCell, gone: Mapping[tuple[str, str], str]) -> str:
    """Why it is judged by fewer engines here than in the baseline, or nothing."""
    lost = [gone.get((name, cell.key["precision"])) for name in cell.against]
    return next(filter(None, lost), "") if cell.kind == ENGINES else ""


def _slower(cell: BaselineCell, change: Change) -> str:
    low, high = change.low, change.high
    what = (
        f"its speed-up over {cell.against[0]}"
        if cell.kind == SPEEDUP
        else f"its speed relative to {', '.join(cell.against)}"
    )
    return f"{what} is {change.ratio:.3f} of what it was (95 % interval {low:.3f} to {high:.3f})"


def _notes(gated: Mapping[tuple[Any, ...], GatedCell], settings: Settings) -> list[str]:
    notes = []
    if settings.across_machines:
        notes.append(
            "Another machine may be meant: ratios are shown, and only accuracies, floors and "
            "missing cells are judged."
        )
    elif settings.noise is None:
        notes.append(
            "The noise of this machine is not known; `sparsebench noise` measures and stores it."
        )
    if len({cell.record.engine.name for cell in gated.values()}) == 1:
        notes.append(
            "One engine only: a slowdown common to dense and sparse cannot be seen. A second "
            "engine in the plan would be the yardstick."
        )
    return notes


def _left_out(verdicts: Sequence[CellVerdict]) -> list[str]:
    counts = Counter(v.reasons[0] for v in verdicts if v.status == NOT_HERE)
    return [f"{why}; cells not judged: {count}." for why, count in counts.items()]


def _chosen(cells: Sequence[BaselineCell], only: str) -> list[BaselineCell]:
    try:
        pattern = re.compile(only)
    except re.error as error:
        raise SparsebenchError(
            f"--only '{only}' is not a valid regular expression: {error}."
        ) from error
    chosen = [cell for cell in cells if pattern.search(name_of(cell.key))]
    if not chosen:
        raise SparsebenchError(
            f"No cell of the baseline matches '{only}'.",
            "The first is called: " + name_of(cells[0].key),
        )
    return chosen


def _group(cell: BaselineCell | CellVerdict) -> tuple[Any, Any]:
    return cell.key["task"], cell.key["workload"]


def _id(cell: BaselineCell) -> tuple[Any, ...]:
    return tuple(cell.key[name] for name in KEY)
