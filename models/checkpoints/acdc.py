"""AC/DC's own checkpoints: the common format with optimizer and scheduler beside it.

Both are stored as ``{"type": CLASS, "state_dict": ...}``, the class pickled by name
(``optimization.sgd.SGD``). It is never imported: the unpickler puts a placeholder there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.sparse_transfer import is_common_format, read_common_format


def _recognises(opened: OpenedFile) -> bool:
    if opened.kind != "torch" or not is_common_format(opened.payload):
        return False
    return any(_is_pickled(opened.payload.get(key)) for key in ("optimizer", "lr_scheduler"))


def _is_pickled(part: Any) -> bool:
    return isinstance(part, Mapping) and "type" in part and "state_dict" in part


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    return read_common_format(opened.path, opened.payload, ACDC.name)


ACDC = CheckpointFormat(
    "acdc", "AC/DC's original, with its optimizer (not read)", _recognises, _load
)
