"""Whether a run's folder may go on with a plan."""

from __future__ import annotations

from pathlib import Path

from sparsebench.bench.plan.plan import SWEPT, Plan, load_plan
from sparsebench.bench.plan.sections import NO_KEYS
from sparsebench.bench.workloads import WORKLOADS, workload_of
from sparsebench.bench.workloads.stepwise import dealt_over
from sparsebench.models.errors import SparsebenchError


def same_plan(plan: Plan, folder: Path) -> None:
    """Refuse to mix two plans in one folder; more repeats are welcome.

    Unless they deal the seeds of a training again: block 0 of 3 seeds trains two of them with 2
    repeats, and one with 3 or more.

    Args:
        plan: that goes on.
        folder: of the run.

    Raises:
        SparsebenchError: the folder holds another plan.
    """
    path = folder / "plan.toml"
    if not path.exists():
        return
    earlier = load_plan(str(path))
    same = earlier.with_changes(repeats=plan.repeats, call_timeout=plan.call_timeout)
    if same != plan:
        keys = [
            key
            for key in vars(plan)
            if key not in NO_KEYS and getattr(plan, key) != getattr(same, key)
        ]
        keys += [key for key in SWEPT if plan.sweep.get(key) != same.sweep.get(key)]
        keys += [name for name in WORKLOADS if plan.sections.get(name) != same.sections.get(name)]
        raise SparsebenchError(
            f"{folder} holds another plan (different: {', '.join(dict.fromkeys(keys))}).",
            "Resume with the same options, or choose another --out.",
        )
    dealing = [name for name in plan.workloads if workload_of(name).deals_seeds]
    if dealing and dealt_over(plan) != dealt_over(earlier):
        raise SparsebenchError(
            f"{folder} deals the {len(plan.seeds)} seeds of {', '.join(dealing)} over "
            f"{earlier.repeats} repeats; with {plan.repeats} every block would train others.",
            f"Resume with --repeats {earlier.repeats}, or choose another --out.",
        )
