"""The record of a method: the plan that a training follows, as TOML that can be run again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import tomli_w

from sparsebench.models.architectures import find_architecture
from sparsebench.models.sparsify.method import Method
from sparsebench.models.sparsify.settings import changed_recipe, make_method

EPOCHS = 12  # where none are given


def render_recipe(
    settings: dict[str, Any], recipe: dict[str, Any], execution: dict[str, Any]
) -> str:
    """A plan with every setting of the optimizer, and what SparseML would be told.

    Args:
        settings: ``arch``, ``method``, ``sparsity`` and other top-level keys of a plan.
        recipe: what differs from the method's recipe.
        execution: as in a plan.

    Returns:
        TOML that :func:`models.sparsify.plans.read_plan` reads. Its key ``sparseml`` holds the
        SparseML recipe (YAML) where one of its modifiers does the same.

    Raises:
        SparsebenchError: an unknown method or architecture, or a wrong setting.
    """
    find_architecture(settings["arch"])
    method = make_method(
        settings["method"],
        settings["sparsity"],
        settings.get("block", 1),
        settings.get("pattern", ""),
    )
    full = asdict(changed_recipe(method.recipe, recipe))
    plan: dict[str, Any] = {"epochs": EPOCHS, "seed": 0} | settings
    order = (
        "arch", "method", "sparsity", "epochs", "block", "pattern", "size", "seed", "start",
        "teacher",
    )  # fmt: skip
    plan = {k: plan[k] for k in order if k in plan}
    yaml = method.sparseml(plan["epochs"])
    if yaml is not None:
        plan["sparseml"] = yaml
    plan["recipe"] = {k: [list(p) for p in v] if k == "sides" else v for k, v in full.items()}
    if execution:
        plan["execution"] = execution
    return "".join(f"# {line}\n" for line in _head(method)) + tomli_w.dumps(
        plan, multiline_strings=True
    )


def _head(method: Method) -> list[str]:
    lines = (type(method).__doc__ or "").strip().splitlines()
    head = [f"{method.name} ({method.family}): {method.source}", *lines[:1]]
    if method.needs_start:
        head.append("Starts from a trained network: `start`, or dense training comes first.")
    head.append("Learning rate: the peak of the method's own schedule, scaled with a small batch.")
    return [*head, method.sparseml_note]
