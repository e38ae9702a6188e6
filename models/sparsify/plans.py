"""Plans: TOML files that say how a backbone was made, so that anyone can make it again.

A plan has the keys ``arch``, ``method``, ``sparsity``, ``epochs``, ``size``, ``seed`` and,
if any, ``start`` and ``teacher`` at its top, a table ``[recipe]`` with what differs from the
method's recipe and a table ``[execution]``. Where the images are and where the file goes
is said when it is run. ``note`` and ``sparseml`` (the equivalent SparseML recipe, see
``--show-recipe``) are for readers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.toml_file import read_toml

REQUIRED = ("arch", "method", "sparsity", "epochs")
OPTIONAL = (
    "block",
    "pattern",
    "size",
    "seed",
    "start",
    "teacher",
    "recipe",
    "execution",
    "note",
    "sparseml",
)
EXECUTION = ("precision", "compile", "checkpoint_seconds", "report_steps")


def read_plan(path: str | Path) -> dict[str, Any]:
    """Read and check a plan.

    Raises:
        SparsebenchError: no such file, no TOML, or keys that are missing or unknown.
    """
    path = Path(path)
    plan = read_toml(path)
    missing = [k for k in REQUIRED if k not in plan]
    unknown = [k for k in plan if k not in REQUIRED + OPTIONAL]
    unknown += [f"execution.{k}" for k in plan.get("execution", {}) if k not in EXECUTION]
    if missing or unknown:
        said = [f"lacks {', '.join(missing)}"] if missing else []
        said += [f"has the unknown {', '.join(unknown)}"] if unknown else []
        raise SparsebenchError(
            f"The plan {path} {' and '.join(said)}.",
            f"Keys: {', '.join(REQUIRED + OPTIONAL)}.",
        )
    return plan
