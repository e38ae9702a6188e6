"""The dense baselines of a plan, by name: a run that goes on keeps those that it began with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sparsebench.bench.plan.cells import expand
from sparsebench.bench.plan.plan import Plan
from sparsebench.models.names import DENSE, BackboneName
from sparsebench.models.zoo import find_card


def with_baselines(plan: Plan, measured: Collection[str] = ()) -> Plan:
    """The plan with the dense baseline of every sparse backbone in ``dense``.

    Without, a zoo that grows would change which cells a resolved plan stands for.

    Args:
        plan: checked.
        measured: ids of cells that its folder holds. Where a run of a version that did not write
            baselines down has measured the architecture's plain dense network, that one stays.
    """
    dense = dict(plan.dense)
    for name in plan.backbones:
        card = find_card(name)
        if card.family == DENSE or card.refused or name in dense or not card.dense_partner:
            continue
        plain = str(BackboneName(card.arch, DENSE, 0.0))
        kept = measured and not _cells(plan, name, card.dense_partner) & set(measured)
        older = kept and card.dense_partner != plain and _cells(plan, name, plain) & set(measured)
        dense[name] = plain if older else card.dense_partner
    return replace(plan, dense=dense)


def _cells(plan: Plan, sparse: str, dense: str) -> set[str]:
    """Ids of a dense baseline's cells."""
    alone = replace(plan, backbones=(sparse,), dense={sparse: dense})
    return {cell.id for cell in expand(alone) if cell.backbone == dense}
