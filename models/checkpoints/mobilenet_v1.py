"""MobileNet v1 as a bare state dict, in any of its published layouts.

Distiller's and AC/DC's (``model.N``, ``fc`` a matrix), STR's (the same with ``fc`` a 1x1
convolution without bias; with thresholds it is read by ``str``) and AMC's (``conv1``,
``features.N``, ``classifier.0``).
"""

from __future__ import annotations

from sparsebench.models.checkpoints import CheckpointFormat, LoadedCheckpoint
from sparsebench.models.checkpoints.containers import OpenedFile
from sparsebench.models.checkpoints.layouts import in_our_layout
from sparsebench.models.checkpoints.sparse_transfer import unwrapped
from sparsebench.models.errors import SparsebenchError

ARCH = "mobilenet_v1"


def _recognises(opened: OpenedFile) -> bool:
    try:
        return in_our_layout(unwrapped(opened.path, opened.tensors))[1] == ARCH
    except SparsebenchError:
        return False


def _load(opened: OpenedFile) -> LoadedCheckpoint:
    tensors = unwrapped(opened.path, opened.chosen.tensors)
    return LoadedCheckpoint(in_our_layout(tensors)[0], {"arch": ARCH}, MOBILENET_V1.name)


MOBILENET_V1 = CheckpointFormat(
    "mobilenet_v1", "MobileNet v1 in the layout of Distiller, STR or AMC", _recognises, _load
)
