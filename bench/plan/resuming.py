"""Whether a run's folder may go on with a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sparsebench.bench.plan.baselines import with_baselines
from sparsebench.bench.plan.downsized import as_begun
from sparsebench.bench.plan.plan import SWEPT, Plan, load_plan
from sparsebench.bench.plan.sections import NO_KEYS
from sparsebench.bench.plan.workloads import WORKLOADS, workload_of
from sparsebench.bench.records import RunFolder
from sparsebench.models.errors import SparsebenchError


def same_plan(plan: Plan, folder: Path) -> Plan:
    """The plan with the baselines of a folder; refuses to mix two plans in one.

    More repeats are welcome.

    Unless they deal the seeds of a training again: block 0 of 3 seeds trains two of them with 2
    repeats, and one with 3 or more.

    Args:
        plan: that goes on.
        folder: of the run; plans of older versions do not name their baselines.

    Returns:
        The plan that goes on.

    Raises:
        SparsebenchError: the folder holds another plan.
    """
    path = folder / "plan.toml"
    if not path.exists():
        return with_baselines(plan)
    measured = {trial.cell for trial in RunFolder(folder).trials()}
    earlier = with_baselines(load_plan(str(path)), measured)
    plan = as_begun(plan, earlier)
    plan = with_baselines(replace(plan, dense={**_shared(earlier, plan), **plan.dense}))
    same = earlier.with_changes(
        repeats=plan.repeats, call_timeout=plan.call_timeout, heat=plan.heat
    )
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
    if dealing and plan.dealt_over != earlier.dealt_over:
        raise SparsebenchError(
            f"{folder} deals the {len(plan.seeds)} seeds of {', '.join(dealing)} over "
            f"{earlier.repeats} repeats; with {plan.repeats} every block would train others.",
            f"Resume with --repeats {earlier.repeats}, or choose another --out.",
        )
    return plan


def _shared(earlier: Plan, plan: Plan) -> dict[str, str]:
    """The earlier plan's baselines of backbones that are in both."""
    return {name: dense for name, dense in earlier.dense.items() if name in plan.backbones}
