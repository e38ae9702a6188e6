"""From a run to a baseline: what is taken, what is left out and why, which limits are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sparsebench.bench.comparisons.busy import busy
from sparsebench.bench.comparisons.gated_ratios import (
    KEY,
    GatedCell,
    gated_cells,
    key_of,
    keys_to_match,
    name_of,
)
from sparsebench.bench.gate.baseline import Baseline, BaselineCell, Limits
from sparsebench.bench.gate.causes import facts_of
from sparsebench.bench.records import Record, RunFolder, Trial, utc_now
from sparsebench.bench.statistics.ratios import LEAST_BLOCKS
from sparsebench.models.errors import NothingMeasuredError, SparsebenchError


@dataclass(frozen=True)
class NewBaseline:
    """A baseline and the cells of the run that are not in it, each with the reason."""

    baseline: Baseline
    left_out: tuple[tuple[str, str], ...]


def baseline_of(folder: RunFolder, reason: str, previous: Baseline | None = None) -> NewBaseline:
    """The baseline that a run makes.

    Args:
        folder: the run.
        reason: why its numbers are accepted, for whoever reads the file later.
        previous: the baseline that it replaces; its limits and reasons are kept.

    Raises:
        SparsebenchError: the reason is empty.
        NothingMeasuredError: the run has no cell that could be gated.
    """
    if not reason.strip():
        raise SparsebenchError(
            "A baseline needs a reason.", "Say with --reason why these numbers are accepted."
        )
    return baseline_from(folder.records(), folder.trials(), reason, folder.name, previous)


def baseline_from(
    records: Sequence[Record],
    trials: Sequence[Trial],
    reason: str,
    run: str,
    previous: Baseline | None = None,
) -> NewBaseline:
    """`baseline_of` records and trials in memory; `run` is the run's name."""
    kept = previous.cells if previous else ()
    limits = {tuple(cell.key[name] for name in KEY): cell.limits for cell in kept}
    cells, left_out = [], []
    for gated in gated_cells(records, trials):
        key = key_of(gated.record)
        why_not = _why_not(gated)
        if why_not:
            left_out.append((name_of(key), why_not))
            continue
        assert gated.ratio is not None and gated.accuracy is not None
        cells.append(
            BaselineCell(
                key=key,
                kind=gated.kind,
                against=gated.against,
                ratio=gated.ratio,
                accuracy_per_seed=gated.accuracy.per_seed,
                seeds=gated.accuracy.seeds,
                trained=gated.record.backbone.trained,
                must_match=keys_to_match(gated.record),
                facts=facts_of(gated),
                limits=limits.get(tuple(key.values()), Limits()),
            )
        )
    if not cells:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out[:3])
        raise NothingMeasuredError(
            f"{run} has no cell that could be gated{': ' + reasons if reasons else ''}.",
            f"A gated cell needs {LEAST_BLOCKS} blocks, a dense baseline or a second engine, "
            "and an accuracy.",
        )
    history = previous.history if previous else ()
    if previous:
        entry = {"created": previous.created, "reason": previous.reason, "run": previous.run}
        history = (*history, entry)
    first = next(record for record in records if record.status == "ok")
    baseline = Baseline(
        created=utc_now(),
        reason=reason.strip(),
        run=run,
        machine=first.machine,
        cells=tuple(cells),
        history=history,
        busy=found.sentence if (found := busy(records, trials)) else "",
    )
    return NewBaseline(baseline, tuple(left_out))


def _why_not(cell: GatedCell) -> str | None:
    if cell.ratio is None:
        return cell.reason or "it has no ratio"
    if cell.ratio.ci95 is None:
        return f"its speed has no interval (that takes {LEAST_BLOCKS} blocks)"
    if cell.accuracy is None:
        return "a time without an accuracy enters no gate"
    return None
