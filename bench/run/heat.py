"""A qualifying heat: which dense rivals are worth full blocks.

An expert without zeros has many ways (``dense_engines``), and only the fastest enter "vs best
dense". Each is launched, verified and timed for a moment; those within 25 % of the best, or of the
best in fp32, by either clock, are measured like all other cells. The others become skipped records
that say how fast they were. Compiling counts against the heat's time, not against theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparsebench.bench.comparisons.dense import REFERENCE_PRECISION
from sparsebench.bench.plan.cells import Cell, dense_rivals, engines_for
from sparsebench.bench.plan.plan import Plan
from sparsebench.bench.records import Trial, utc_now
from sparsebench.bench.run.ledger import SKIPPED
from sparsebench.bench.workloads.prepared_backbone import Prepared
from sparsebench.bench.workloads.session import compile_session
from sparsebench.exporters.worker.client import WorkerFailed
from sparsebench.exporters.worker.launch import start_worker

MARGIN = 1.25
HEAT = "heat"
"""Key of a skipped trial's and its record's ``extra``: what the heat saw."""
_WARM_UP = 2
_VISITS, _CALLS, _SECONDS, _MOST = 3, 2, 0.4, 50

Worker = tuple[str | int, ...]


@dataclass(frozen=True)
class Seen:
    """What the heat saw of one rival.

    Attributes:
        cell: one of its cells.
        seconds: the fastest call, by the wall clock; None where there was none.
        process_seconds: processor time of a call, in the visit where it was least.
        reason: why there was none, where it was for lack of time; else empty, and the blocks say.
    """

    cell: Cell
    seconds: float | None
    process_seconds: float = 0.0
    reason: str = ""


def rivals(cells: Sequence[Cell], plan: Plan) -> list[Cell]:
    """The cells that are in the plan as dense rivals only, in its order."""
    found = []
    for cell in cells:
        pair = (cell.engine, cell.precision)
        only_rival = pair not in engines_for(cell.workload, plan)
        if only_rival and pair in dense_rivals(cell.workload, plan):
            found.append(cell)
    return found


def qualify(
    cells: Sequence[Cell],
    plan: Plan,
    prepare: Callable[[Cell], Prepared],
    say: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Run the heat of a group.

    Args:
        cells: of the group.
        plan: with ``heat`` seconds for it.
        prepare: loads and exports a cell's backbone.
        say: told what is being done.

    Returns:
        Id of each cell to be skipped -> ``reason``, ``seconds`` and ``best_seconds`` of a call.
    """
    entered = rivals(cells, plan)
    seen: dict[Worker, Seen] = {}
    over = time.monotonic() + plan.heat
    for cell in entered:
        if cell.worker not in seen:
            say(f"qualifying heat · {cell.label}")
            seen[cell.worker] = _try(cell, plan, prepare, over)
    out = losers(seen)
    return {cell.id: out[cell.worker] for cell in entered if cell.worker in out}


def losers(seen: Mapping[Worker, Seen]) -> dict[Worker, dict[str, Any]]:
    """Who is left out, and what is told of each; rivals of one backbone are compared."""
    out: dict[Worker, dict[str, Any]] = {}
    for key, one in seen.items():
        name = one.cell.engine_label
        if one.seconds is None:
            if one.reason:
                out[key] = {"reason": f"{name}: {one.reason}", "seconds": None}
            continue
        fp32 = one.cell.precision == REFERENCE_PRECISION
        best = min(
            (
                other
                for other in seen.values()
                if other.seconds is not None
                and other.cell.backbone == one.cell.backbone
                and (not fp32 or other.cell.precision == REFERENCE_PRECISION)
            ),
            key=lambda other: other.seconds or 0.0,
        )
        assert best.seconds is not None
        # They run one after another, and whoever else was busy then is seen by one clock alone.
        slower = min(
            one.seconds / best.seconds, one.process_seconds / max(best.process_seconds, 1e-9)
        )
        if slower > MARGIN:
            out[key] = {
                "reason": (
                    f"Qualifying heat: {name} took {slower:.2f} times as long as "
                    f"{best.cell.engine_label}; within {MARGIN:g} it would have been measured."
                ),
                "seconds": one.seconds,
                "best_seconds": best.seconds,
            }
    return out


def skipped_trial(cell: Cell, run: str, told: Mapping[str, Any]) -> Trial:
    """What stands in a run for a cell that is left out: ``reason``, and seconds of a heat."""
    return Trial(
        cell=cell.id,
        run=run,
        workload=cell.workload,
        block=0,
        launch="heat",
        order=-1,
        warmup=(),
        seconds=(),
        items=0,
        stages={},
        started=utc_now(),
        status=SKIPPED,
        reason=told["reason"],
        extra={HEAT: dict(told)},
    )


def _try(cell: Cell, plan: Plan, prepare: Callable[[Cell], Prepared], over: float) -> Seen:
    left = over - time.monotonic()
    if left <= 0:
        return Seen(
            cell, None, reason=f"the qualifying heat's {plan.heat:g} s were over before its turn."
        )
    try:
        prepared = prepare(cell)
        with start_worker(
            cell.engine,
            threads=cell.threads,
            python=cell.settings.python,
            call_timeout=min(left, plan.call_timeout),
        ) as worker:
            worker.ask_available()
            compile_session(worker, cell, prepared)
            slot = worker.load(prepared.images)
            worker.time(slot, calls=_WARM_UP, budget=0, most=_WARM_UP)
            visits = [
                worker.visit(slot, calls=_CALLS, budget=_SECONDS, most=_MOST)
                for _ in range(_VISITS)
            ]
            return Seen(
                cell,
                min(second for visit in visits for second in visit.seconds),
                min(visit.process_seconds / len(visit.seconds) for visit in visits),
            )
    except WorkerFailed as failure:
        if failure.kind == "timeout":
            return Seen(cell, None, reason=f"it had not answered in the heat's last {left:.0f} s.")
    except Exception:  # any network may break in its own way
        pass  # its blocks will say why
    return Seen(cell, None)
