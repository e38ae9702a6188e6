"""Plans: TOML files that say how a backbone was made, so that anyone can make it again.

A plan has the keys ``arch``, ``method``, ``sparsity``, ``epochs``, ``size``, ``seed`` and,
if any, ``start`` and ``teacher`` at its top, a table ``[recipe]`` with what differs from the
method's recipe and a table ``[execution]``. Where the images are and where the file goes
is said when it is run. ``note`` and ``sparseml`` (the equivalent SparseML recipe, see
``--show-recipe``) are for readers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sparsebench.models.errors import SparsebenchError
from sparsebench.models.images.labelled import ReadOptions

REQUIRED = ("arch", "method", "sparsity", "epochs")
OPTIONAL = ("block", "size", "seed", "start", "teacher", "recipe", "execution", "note", "sparseml")
EXECUTION = ("precision", "compile", "checkpoint_seconds", "report_steps")


def read_plan(path: str | Path) -> dict[str, Any]:
    """Read and check a plan.

    Raises:
        SparsebenchError: no such file, no TOML, or keys that are missing or unknown.
    """
    path = Path(path)
    try:
        plan = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SparsebenchError(f"The plan {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SparsebenchError(f"The plan {path} is not valid TOML: {error}.") from error
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


def run_plan(
    path: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    start: str | Path | None = None,
    resume: bool = True,
    overwrite: bool = False,
    device: str = "cpu",
    reading: ReadOptions | None = None,
    progress: Callable[..., None] | None = None,
) -> Any:
    """Run a plan: :func:`sparsebench.models.sparsify.produce.sparsify` with what the plan says.

    Args:
        path: the TOML file.
        data: folder with ``train/CLASS/*`` and ``test/CLASS/*``.
        out: file to write.
        start: checkpoint or backbone to start from instead of the plan's.
        resume: go on from the training's own checkpoint if there is one.
        overwrite: replace ``out`` if it is there.
        device: ``"cpu"`` or ``"cuda"``.
        reading: how images are read, and where decoded ones are kept.
        progress: called every few steps.

    Returns:
        A :class:`sparsebench.models.sparsify.produce.Produced`.

    Raises:
        SparsebenchError: anything that the user can put right.
    """
    from sparsebench.models.sparsify.produce import sparsify
    from sparsebench.models.sparsify.train import Execution

    plan = read_plan(path)
    return sparsify(
        plan["arch"],
        plan["method"],
        plan["sparsity"],
        data,
        plan["epochs"],
        out,
        start=start if start is not None else plan.get("start"),
        teacher=plan.get("teacher"),
        resume=resume,
        overwrite=overwrite,
        device=device,
        block=plan.get("block", 1),
        size=plan.get("size", 64),
        seed=plan.get("seed", 0),
        recipe=plan.get("recipe"),
        execution=Execution(**plan.get("execution", {})),
        reading=reading,
        progress=progress,
    )
