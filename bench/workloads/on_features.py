"""What the workloads share that train linear heads on features of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from sparsebench.bench.plan.settings import HeadSettings, Settings
from sparsebench.bench.workloads.bases import OnEngine

if TYPE_CHECKING:
    from sparsebench.bench.plan.cells import Cell
    from sparsebench.bench.plan.plan import Plan
    from sparsebench.bench.tasks.kinds import TaskKind


class OnFeatures(OnEngine):
    """A workload with linear heads on features that are extracted once."""

    settings: ClassVar[type[Settings]] = HeadSettings
    seeded = True

    @classmethod
    def identity(cls, plan: Plan) -> dict[str, Any]:
        """As :meth:`Workload.identity`; neither a sweep nor detection is part of older ones."""
        own = plan.section(cls.name, HeadSettings)
        swept = {"weight_decays": [*own.weight_decays, own.validation]}
        return {
            "seeds": list(plan.seeds),
            "solver": own.solver,
            "epochs": own.epochs,
            **(swept if own.weight_decays else {}),
            **_other_epochs(own),
        }

    @classmethod
    def recorded(cls, plan: Plan, cell: Cell) -> dict[str, Any]:
        """As :meth:`Workload.recorded`; L-BFGS has no epochs."""
        own = plan.section(cls.name, HeadSettings)
        said: dict[str, Any] = {"seeds": list(plan.seeds), "solver": own.solver}
        if own.solver == "sgd":
            said["epochs"] = own.epochs
        if own.weight_decays:
            said |= {"weight_decays": list(own.weight_decays), "validation": own.validation}
        return said | _other_epochs(own)

    @classmethod
    def recorded_on(cls, plan: Plan, cell: Cell, kind: TaskKind) -> dict[str, Any]:
        """As :meth:`Workload.recorded_on`: without the settings of linear heads on boxes."""
        return kind.settings_of(cls.recorded(plan, cell))


def head_epochs(recorded: Mapping[str, Any]) -> float:
    """Epochs of a head, by what records say; 1 where its solver has none."""
    if "solver" in recorded:
        return float(recorded.get("epochs", 1))
    return float(recorded.get("detection_epochs", HeadSettings.detection_epochs))


def _other_epochs(own: HeadSettings) -> dict[str, Any]:
    """The epochs of detection heads, where they are not the default."""
    usual = HeadSettings.detection_epochs
    chosen = own.detection_epochs
    return {} if chosen == usual else {"detection_epochs": chosen}
